"""`python -m widget_store` is the `widget-store` command. Ctrl-C waits until its `main` can answer it in words."""

import signal
import sys

if sys.platform != "win32":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

from widget_store.cli import main

if __name__ == "__main__":
    sys.exit(main())
