"""What Windows lacks, in one place: fork, SIGKILL, and sockets that are files.

With `WIDGET_STORE_AS_ON_WINDOWS=1` in the environment any system does without them. Then the code for Windows runs in
the tests on Linux, too. It is a stand-in: it shows that this code works, not that Windows does.
"""

import os
import sys

SWITCH = "WIDGET_STORE_AS_ON_WINDOWS"
"""The name of the variable, for whoever starts a process without our other variables."""
AS_ON_WINDOWS = sys.platform == "win32" or os.environ.get(SWITCH) == "1"
"""Whether to start processes as new interpreters, end them without signals, and connect by TCP only."""
