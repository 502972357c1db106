"""Write again what names the place of .venv: `make` calls this in a folder that was moved or copied.

The scripts in `.venv/bin`, `activate`, and the path to this project name the folder in which they were made. The
packages themselves do not. They are not installed again, and no network is needed.
"""

import subprocess
import sys
import venv
from pathlib import Path

print(f"This folder was moved or copied: setting up {sys.prefix}")
pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile"]
subprocess.run([*pip, "--no-deps", "--no-build-isolation", "-e", "."], check=True)
subprocess.run([sys.executable, str(Path(__file__).with_name("scripts.py"))], check=True)
venv.EnvBuilder(symlinks=True).create(sys.prefix)  # activate; last, the place in pyvenv.cfg, which make looks at
