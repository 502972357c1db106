"""The life of a process that runs an application for the crash test, as that process sees it."""

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from widget_store.crashtest.application import Application, Line, Place
from widget_store.crashtest.faults import Fault, Kill
from widget_store.crashtest.points import CrashPoints
from widget_store.errors import WidgetStoreError
from widget_store.plain_text import failure_in_words
from widget_store.system.processes import Connection, end_with_parent, print_into, stand_apart


@dataclass(frozen=True)
class Errand:
    """What a process is for."""

    application: Application
    place: Place
    printed_into: Path
    armed: str | None = None
    fault: Fault = field(default_factory=Kill)


def live(errand: Errand, pipe: Connection) -> None:
    """The whole life of a process that is to be killed."""
    stand_apart()
    end_with_parent()
    print_into(errand.printed_into)
    line = Line(pipe)
    points = CrashPoints(
        errand.armed,
        tell=lambda point: line.tell("reached", point),
        otherwise=errand.application.otherwise,
        strike=errand.fault.strike(line),
    )
    try:
        errand.application.serve(errand.place, points, line)
    except WidgetStoreError as failure:
        line.tell("failed", str(failure))
    except (Exception, SystemExit) as failure:  # noqa: BLE001 - whatever it was, it is the verdict
        line.tell("failed", failure_in_words(failure))
    os._exit(1)


def prepare(errand: Errand, pipe: Connection) -> None:
    """The whole life of a process that fills the database of which each run gets a copy."""
    stand_apart()
    end_with_parent()
    print_into(errand.printed_into)
    line = Line(pipe)
    try:
        errand.application.prepare(errand.place, line)
    except WidgetStoreError as failure:
        line.tell("failed", str(failure))
    except (Exception, SystemExit) as failure:  # noqa: BLE001 - whatever it was, it is told
        line.tell("failed", failure_in_words(failure))
    threading.Event().wait()  # to be killed with everything committed
