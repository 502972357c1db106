"""Write again what names the place of .venv: `make` calls this in a folder that was moved or copied.

The scripts in `.venv/bin`, `activate`, and the path to this project name the folder in which they were made. The
packages themselves do not. They are not installed again, and no network is needed.
"""

import re
import shlex
import subprocess
import sys
import venv
from pathlib import Path

# How a script says which Python runs it; the second way is for a path with a blank, or a long one.
SAYS = re.compile(rb"#!.*python.*\n|#!/bin/sh\n'''exec' .*python.*\n' '''\n")

print(f"This folder was moved or copied: setting up {sys.prefix}")
pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile"]
subprocess.run([*pip, "--no-deps", "--no-build-isolation", "-e", "."], check=True)
says = f"#!/bin/sh\n'''exec' {shlex.quote(sys.executable)} \"$0\" \"$@\"\n' '''\n".encode()
for script in Path(sys.executable).parent.iterdir():
    if script.is_file() and not script.is_symlink() and SAYS.match(content := script.read_bytes()):
        script.write_bytes(says + SAYS.sub(b"", content, count=1))
venv.EnvBuilder(symlinks=True).create(sys.prefix)  # activate; last, the place in pyvenv.cfg, which make looks at
