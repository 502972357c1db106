"""The exercises of notebook 10: a test that kills, which test sees which change, and the end of an old release."""

import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import Any

from widget_store.course import parcels
from widget_store.course.checks import Wrong, on_answer, on_file
from widget_store.course.judging import function_in, must_be_equal
from widget_store.crashtest import Plan, Report, Verdict, Workload, crash_test
from widget_store.crashtest.crash_map import describe, what_is_wrong
from widget_store.crashtest.replay import replay
from widget_store.crashtest.workload import find_workload
from widget_store.lab.own_tests import outcome_of_tests
from widget_store.lab.releases import Releases
from widget_store.plain_text import failure_in_words

_TIME_LIMIT_SECONDS = 8.0
_PATIENCE_SECONDS = 15.0
_LOOK_AGAIN_SECONDS = 0.02
_TIME_TO_STOP_SECONDS = 1.5
_BOOKING = ("*.book/effect/after",)
_UNDISTURBED_ONLY = ()
_UNDER_WAY = ("PENDING", "ENQUEUED", "DELAYED")
_NOT_YET_SERVED = "later"


@on_file(
    "10",
    asks="write a crash test that fails for faults, and only for faults",
    hint="In drive: start the workflow, send it the message, wait for its end. In check: count the bookings of the "
    "parcel, and yield a sentence unless there is exactly one.",
)
def write_the_crash_test(file: Path) -> str:
    """The learner's workload, with an application that is correct, one that does nothing, and two that book twice.

    A test is known by what it lets through.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _must_let_it_pass(_tried(file, parcels.written(folder, "correct"), _BOOKING))
        nothing = parcels.written(folder, "nothing", parcels.BOOKS_NOTHING)
        if _tried(file, nothing, _UNDISTURBED_ONLY).is_safe:
            raise Wrong(
                "An application that books nothing passes your test. Say in check what must be true in the end."
            )
        twice = parcels.written(folder, "twice", parcels.BOOKS_TWICE)
        if _tried(file, twice, _UNDISTURBED_ONLY).is_safe:
            raise Wrong(
                "An application that books twice, also without a crash, passes your test. Only check can see that."
            )
        again = parcels.written(folder, "again", parcels.BOOKS_AGAIN)
        if _tried(file, again, _BOOKING).is_safe:
            raise Wrong("An application that books twice after a crash passes your test.")
    return (
        "The correct application passed, also when it was killed after it had booked. The two that book nothing, or "
        "always twice, failed without a crash. The one that books twice after a crash failed with one."
    )


def _tried(file: Path, app: Path, points: tuple[str, ...]) -> Report:
    """A learner's workload, with an application that is in no file of theirs."""
    workload = find_workload(str(file))
    vars(workload)["app"] = app
    return crash_test(Plan((workload,), points, time_limit=_TIME_LIMIT_SECONDS, to_the_end=False))


def _must_let_it_pass(report: Report) -> None:
    for failure in report.failures:
        when = f"killed {describe(failure.points[-1])}" if failure.points else "without a crash"
        if failure.verdict == Verdict.HUNG:
            raise Wrong(
                f"Your test of a correct application came to no end, {when}: {'; '.join(what_is_wrong(failure))}. The "
                "workflow waits for the driver."
            )
        raise Wrong(f"A correct application fails your test, {when}: {'; '.join(what_is_wrong(failure))}.")
    if not report.results:
        raise Wrong("Your test never came to the step book, so nothing was killed there. Start the workflow in drive.")


_UNIT, _CRASH, _REPLAY, _NONE = "unit test", "crash test", "replay", "none"
_CHANGES: dict[str, tuple[str, str]] = {
    "tell_customer names no parcel": parcels.NAMES_NO_PARCEL,
    "book inserts without a look at what is there": parcels.BOOKS_AGAIN,
    "weigh is called before book": parcels.WEIGHS_FIRST,
    "weigh is called after tell_customer": parcels.WEIGHS_LAST,
}


@on_answer(
    "10",
    asks="predict which test is the first to see a change",
    hint="The unit test sees results. The crash test kills the new code, and compares what is left. The replay asks "
    "whether new code fits the steps of a parcel that waits for its driver. Which checkpoints does that parcel have?",
)
def who_sees_it(answer: Any) -> str:
    """All three tests, with each change: the first that fails is the answer."""
    must_be_equal(answer, _first_to_fail(), "the tests say")
    return (
        "Correct. The unit test sees a wrong result, the crash test an effect that is repeated, and the replay a step "
        "that old parcels do not have. A step behind the last checkpoint disturbs nobody."
    )


@cache
def _first_to_fail() -> dict[str, str]:
    """For each change, the first test that fails. That depends on no answer, so the next check is quick."""
    with tempfile.TemporaryDirectory() as folder:
        unseen = {
            change: parcels.written(Path(folder), str(number), texts)
            for number, (change, texts) in enumerate(_CHANGES.items())
        }
        truth = dict.fromkeys(unseen, _NONE)
        for test, failing in ((_UNIT, _failing_in_unit_test), (_CRASH, _failing_in_crash_test), (_REPLAY, _differing)):
            for change in failing(unseen):
                truth[change] = test
                del unseen[change]
    return truth


def _failing_in_unit_test(apps: dict[str, Path]) -> list[str]:
    with ThreadPoolExecutor(2) as both:
        return [
            change for change, fails in zip(apps, both.map(_fails_its_unit_test, apps.values()), strict=True) if fails
        ]


def _fails_its_unit_test(app: Path) -> bool:
    test = app.with_name(f"test_{parcels.APPLICATION}.py")
    test.write_text(parcels.UNIT_TEST, encoding="utf-8")
    return outcome_of_tests(test)[0] != 0


def _failing_in_crash_test(apps: dict[str, Path]) -> list[str]:
    workloads: tuple[Workload, ...] = tuple(map(parcels.OneParcel, apps.values()))
    report = crash_test(Plan(workloads, _BOOKING, time_limit=_TIME_LIMIT_SECONDS))
    failing = {failure.scenario for failure in report.failures}
    return [change for change, app in apps.items() if app.parent.name in failing]


def _differing(apps: dict[str, Path]) -> list[str]:
    """What does not fit a parcel that the correct application has begun."""
    with tempfile.TemporaryDirectory() as folder, closing(Releases(parcels.APPLICATION, parcels.TABLES)) as releases:
        releases.start(parcels.written(Path(folder), "old"), "old")
        _send(releases, "p-1")
        releases.wait_for_step("p-1", "book")
        releases.stop("old")
        return [change for change, app in apps.items() if not replay(app, database_url=releases.system_url).same]


@on_file(
    "10",
    asks="end an old release without a parcel that is left behind",
    hint="First client.set_latest_application_version(new). Then look with client.list_workflows(app_version=old, "
    "status=[…]) until there is nothing, and call stop(old). A workflow that has not begun has another status than "
    "PENDING: ENQUEUED, or DELAYED.",
)
def switch_and_drain(file: Path) -> str:
    """Two releases. The old one has a parcel that waits for its driver, one that begins later, and a cancelled one."""
    function = function_in(file, "switch_and_drain")
    with tempfile.TemporaryDirectory() as name, closing(Releases(parcels.APPLICATION, parcels.TABLES)) as releases:
        app = parcels.written(Path(name), "app")
        for version in ("blue", "green"):
            releases.start(app, version)
        releases.client.set_latest_application_version("blue")
        _send(releases, "p-1")
        _send(releases, "p-2", app_version="blue", delay_seconds=3600.0, queue_name=_NOT_YET_SERVED)
        _send(releases, "p-4", app_version="blue", delay_seconds=3600.0)
        releases.client.cancel_workflow("p-4")
        releases.wait_for("p-1", "PENDING")
        _Switch(releases, function).play()
    return (
        "A parcel that came after the switch went to green. Blue finished the parcel that waited for its driver, and "
        "the one that began later. Only then it was stopped."
    )


class _Switch:
    """One call of the learner's function, and what happens meanwhile."""

    def __init__(self, releases: Releases, function: Callable[..., Any]) -> None:
        self._releases = releases
        self._function = function
        self._left_behind: dict[str, str] | None = None
        self._failure = ""

    def play(self) -> None:
        thread = threading.Thread(target=self._call, daemon=True)
        thread.start()
        _wait(
            lambda: self._latest() == "green" or not thread.is_alive(),
            "Parcels of blue are under way, and blue is still the latest version: new parcels go to blue. Switch "
            "first, and wait then. That is so",
            within=2.0,
        )
        self._must_be_well()
        _send(self._releases, "p-3")
        self._let_end("p-3", "green", thread)
        self._let_end("p-1", "blue", thread)
        self._must_wait(thread)
        self._releases.client.set_workflow_delay("p-2", delay_seconds=0.0)
        self._releases.wait_for("p-2", "ENQUEUED")
        self._must_wait(thread)
        self._releases.client.register_queue(_NOT_YET_SERVED, polling_interval_sec=0.05)
        self._let_end("p-2", "blue", thread)
        _wait(lambda: not thread.is_alive(), "All parcels of blue have ended, and your function has not")
        self._must_be_well()
        if self._left_behind is None:
            raise Wrong("Your function has ended, and blue still runs. Call stop(old) in the end.")

    def _must_wait(self, thread: threading.Thread) -> None:
        thread.join(_TIME_TO_STOP_SECONDS)  # whoever overlooks a parcel that has not begun stops blue now
        self._must_be_well()

    def _let_end(self, parcel: str, version: str, thread: threading.Thread) -> None:
        """Let the driver pick up a parcel, which must end in that version."""
        _deliver(self._releases, parcel)
        _wait(partial(self._is_over, parcel, thread), f"{parcel} has not ended")
        self._must_be_well()
        if (actual := self._version(parcel)) != version:
            raise Wrong(f"{parcel} went to {actual}, and not to {version}. Switch to new first.")

    def _call(self) -> None:
        try:
            self._function(self._releases.client, "blue", "green", self._stop)
        except Exception as failure:  # noqa: BLE001 - whatever it was, it is the learner's
            self._failure = failure_in_words(failure)

    def _stop(self, version: str) -> None:
        under_way = self._releases.workflows()
        mine = under_way[(under_way["version"] == version) & under_way["status"].isin(_UNDER_WAY)]
        self._left_behind = dict(mine["status"])
        self._releases.stop(version)

    def _must_be_well(self) -> None:
        if self._failure:
            raise Wrong(f"Your function ended with {self._failure}.")
        if self._left_behind:
            left = ", ".join(f"{parcel} was {status}" for parcel, status in self._left_behind.items())
            raise Wrong(f"Blue was stopped too early: {left}. No process of that version goes on with it.")
        if self._latest() != "green":
            raise Wrong("Your function has ended, and green is not the latest version. New parcels still go to blue.")

    def _latest(self) -> str:
        return self._releases.client.get_latest_application_version()["version_name"]

    def _is_over(self, parcel: str, thread: threading.Thread) -> bool:
        return str(self._releases.workflows().loc[parcel, "status"]) == "SUCCESS" or not thread.is_alive()

    def _version(self, parcel: str) -> str:
        return str(self._releases.workflows().loc[parcel, "version"])


def _send(releases: Releases, parcel: str, **options: Any) -> None:
    enqueued: Any = {
        "queue_name": parcels.APPLICATION,
        "workflow_name": "send_parcel",
        "workflow_id": parcel,
        **options,
    }
    releases.client.enqueue(enqueued, parcel)


def _deliver(releases: Releases, parcel: str) -> None:
    releases.client.send(parcel, True, parcels.PICKED_UP)


def _wait(is_so: Callable[[], bool], otherwise: str, within: float = _PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + within
    while not is_so():
        if time.monotonic() > deadline:
            raise Wrong(f"{otherwise} after {within:g} s.")
        time.sleep(_LOOK_AGAIN_SECONDS)
