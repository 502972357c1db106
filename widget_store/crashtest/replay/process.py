"""The process that replays: it loads the new code, copies what is stored, and runs one workflow after the other."""

import importlib
import json
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from widget_store.crashtest.replay.difference import compare
from widget_store.crashtest.replay.harmless import HarmlessApplication, let_databases_be_read_only
from widget_store.crashtest.replay.stored import copy_into, read_stored
from widget_store.errors import AppFileError, WidgetStoreError
from widget_store.plain_text import failure_in_words
from widget_store.system.python_file import load_python_file

ANSWERS = "answers.jsonl"
_LOADED_WITHIN_SECONDS = 60.0

Answer = Callable[..., None]


@dataclass(frozen=True)
class Order:
    """What to replay: the arguments of `replay`, and a folder for the throw-away database and the answers."""

    app: str
    folder: str
    database_url: str | None
    schema: str | None
    finished: bool
    limit: int
    time_limit: float
    loader: str | None


def main() -> None:
    """Carry out the order that is the one argument, and end at once: stopped workflows never do."""
    order = Order(**json.loads(sys.argv[1]))
    _end_with_standard_input(order.folder)
    with Path(order.folder, ANSWERS).open("a", encoding="utf-8") as file:

        def answer(**said: Any) -> None:
            file.write(json.dumps(said) + "\n")
            file.flush()

        try:
            _replay(order, answer)
        except WidgetStoreError as error:
            answer(error=str(error), kind=type(error).__name__)
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stderr.flush()
            os._exit(0)


def _end_with_standard_input(folder: str) -> None:
    """End when the process that gave the order does, and leave no copy; the application finds no standard input."""
    sys.stdout.flush()
    os.dup2(2, 1)  # what the application prints is not the answer
    ours = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def follow() -> None:
        while os.read(ours, 1):
            pass
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _replay(order: Order, answer: Answer) -> None:
    folder = Path(order.folder)
    let_databases_be_read_only(folder)
    application = HarmlessApplication(folder / "throwaway.sqlite")
    _load(order, answer)
    name, schema, url = application.name, order.schema or application.schema, order.database_url or application.url
    if url is None:
        answer(unnamed=True)
        return
    watch = application.launched()
    stored = read_stored(url, schema=schema, application=name, finished=order.finished, limit=order.limit)
    copy_into(folder / "throwaway.sqlite", stored)
    for workflow in stored.workflows():
        compared, difference = compare(watch, workflow, order.time_limit)
        answer(
            name=workflow.name,
            workflow_id=workflow.workflow_id,
            status=workflow.status,
            steps=len(workflow.steps),
            compared=compared,
            difference=difference and asdict(difference),
        )
    answer(left_out=stored.left_out)


def _load(order: Order, answer: Answer) -> None:
    """Import the application, as Python would when it runs it, but not as the main program."""
    late = threading.Timer(_LOADED_WITHIN_SECONDS, _give_up, [order.app, answer])
    late.daemon = True
    late.start()
    try:
        if order.loader is not None:
            module, _, function = order.loader.partition(":")
            getattr(importlib.import_module(module), function)(Path(order.app))
        elif order.app.endswith(".py"):
            sys.path.insert(0, str(Path(order.app).resolve().parent))
            # As the main program, it has pickled its own classes by this name.
            sys.modules["__main__"] = load_python_file(Path(order.app))
        else:
            sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
            importlib.import_module(order.app)
    except AppFileError as failure:
        raise AppFileError(f"{failure}{_hint(failure)}") from failure
    except (Exception, SystemExit) as failure:
        raise AppFileError(f"{order.app} can't be run: {failure_in_words(failure)}{_hint(failure)}") from failure
    finally:
        late.cancel()


def _hint(failure: BaseException) -> str:
    if "read-only transaction" not in str(failure) and "readonly database" not in str(failure):
        return ""
    return "\nIt writes to a database while it is imported, and a replay writes to none. Do that in a function."


def _give_up(app: str, answer: Answer) -> None:
    answer(
        error=f"{app} is not imported within {_LOADED_WITHIN_SECONDS:.0f} s.\n"
        'If it serves or waits at once, put that under `if __name__ == "__main__":`.',
        kind=AppFileError.__name__,
    )
    os._exit(0)


if __name__ == "__main__":
    main()
