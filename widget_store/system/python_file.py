"""A Python file that somebody names, loaded as a module."""

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

from widget_store.errors import AppFileError
from widget_store.plain_text import failure_in_words


def load_python_file(file: Path) -> ModuleType:
    """Run a Python file, and keep it as the module of its name.

    Raises:
        AppFileError: When there is none, its name is that of another module, or it can't be run.
    """
    other = PathFinder.find_spec(file.stem)
    if file.stem in sys.stdlib_module_names or (other is not None and other.origin != str(file.resolve())):
        raise AppFileError(f"{file} has the name of another Python module, and would replace it. Rename the file.")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise AppFileError(f"There is no Python file {file}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # so that what it defines can be pickled by name
    try:
        spec.loader.exec_module(module)
    except Exception as failure:
        raise AppFileError(f"{file} can't be run: {failure_in_words(failure)}") from failure
    return module
