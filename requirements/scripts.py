"""Write again how the scripts in `.venv/bin` name their Python: `make` calls this after pip.

A path with a blank can't stand after `#!`, so pip has a shell read it. It puts the path in double quotes, in which
the shell takes `$` and others for its own.
"""

import re
import shlex
import sys
from pathlib import Path

# How a script says which Python runs it; the second way is for a path with a blank, or a long one.
SAYS = re.compile(rb"#!.*python.*\n|#!/bin/sh\n'''exec' .*python.*\n' '''\n")
LONGEST = 127  # bytes that every system reads of such a line

says = f"#!{sys.executable}\n".encode()
if len(says) > LONGEST or len(says.split()) > 1:
    says = f"#!/bin/sh\n'''exec' {shlex.quote(sys.executable)} \"$0\" \"$@\"\n' '''\n".encode()
for script in Path(sys.executable).parent.iterdir():
    if script.is_file() and not script.is_symlink() and SAYS.match(content := script.read_bytes()):
        script.write_bytes(says + SAYS.sub(b"", content, count=1))
