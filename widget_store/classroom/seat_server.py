"""A seat's own server: the learner's copy of the course, brought up to date, and JupyterLab on it, for the Hub.

Run as a program, under the seat's account.
"""

import os
import sys
from pathlib import Path

from widget_store.course import files, learners_copy
from widget_store.course.jupyterlab import jupyterlab_arguments


def main(address: str, port: str) -> None:
    """Run the server in this process's place.

    Args:
        address: Where it listens.
        port: Where it listens.
    """
    folder = Path.home() / learners_copy.FOLDER
    learners_copy.update(folder)
    where = [f"--ServerApp.ip={address}", f"--ServerApp.port={port}"]
    arguments = jupyterlab_arguments(folder, folder / files.FIRST_LESSON, where)
    # -P: a learner's random.py is not imported
    os.execv(sys.executable, [sys.executable, "-P", "-m", "jupyterhub.singleuser", *arguments])  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:3])
