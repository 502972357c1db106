"""The map of a crash test: in the terminal, and in a notebook."""

import io
import shlex
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import ipywidgets as widgets
import pytest
from rich.console import Console

from tests.support import ROOT, eventually
from widget_store.crashtest.crash_map import LETTERS, MEANINGS, describe, show, timeline
from widget_store.crashtest.results import Report, Result, Verdict
from widget_store.databases import Database
from widget_store.errors import DatabaseUnavailable
from widget_store.lab import CrashMap, crash_panel, try_every_crash_point
from widget_store.lab.checkout_points import checkout_points
from widget_store.lab.crash_panel import draw
from widget_store.lab.crash_test import Plan
from widget_store.lab.crash_test_command import _parser
from widget_store.settings import Settings

CREATE, RESERVE = "checkout_workflow/1.create_order", "checkout_workflow/2.reserve_inventory"
STOCK = "stock: 100 widgets were put on the shelf; 99 are there and 0 are held by orders, which makes 99"
GAP = f"{RESERVE}/effect/after"
SIDES = ("before", "after")
APP = ROOT / "tests" / "mutants" / "plain_steps.py"


def a_run(scenario: str, *points: str, verdict: Verdict = Verdict.SAFE, says: str = "") -> Result:
    return Result(scenario, points, verdict, [says] if says else [], [], 1.0)


def a_report(app: Path | None = APP) -> Report:
    """One scenario with a cell of each verdict, one in which all is safe, and one that fails without a crash."""
    end = "checkout_workflow/end/status/after"
    return Report(
        [
            a_run("declined"),
            a_run("paid"),
            a_run("sold out", verdict=Verdict.BROKEN, says="stock: [bold]1 too few"),
        ],
        [
            a_run("declined", f"{CREATE}/effect/before"),
            a_run("declined", f"{CREATE}/effect/after", verdict=Verdict.HUNG, says="not finished within 30 s"),
            a_run("declined", f"{RESERVE}/effect/before"),
            a_run("declined", GAP, verdict=Verdict.BROKEN, says=STOCK),
            a_run("declined", end, verdict=Verdict.NOT_REACHED),
            *(a_run("paid", f"dispatch_order_workflow/{n}.update/effect/{side}") for n in (2, 4) for side in SIDES),
        ],
        seconds=18.0,
        target="" if app is None else f'--app "{app}"',
    )


def printed(report: Report, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    show(report, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def rows(text: str) -> dict[str, list[str]]:
    """The map's rows by their first column, which ends with two spaces."""
    lines = (line.strip().split("  ") for line in text.splitlines())
    return {first: [part.strip() for part in rest if part.strip()] for first, *rest in lines}


# --- in the terminal


def test_the_map_has_a_letter_for_each_crash_point_step_by_step() -> None:
    found = rows(printed(a_report()))
    assert found["declined"] == ["2 of 5"]
    assert found["checkout: create_order"] == ["·H"]
    assert found["checkout: reserve_inventory"] == ["·X"]
    assert found["checkout: end"] == ["?"]


def test_a_scenario_in_which_all_is_safe_is_one_row() -> None:
    assert rows(printed(a_report()))["paid"] == ["·· ··", "4 of 4"]


def test_a_scenario_that_fails_without_a_crash_says_so() -> None:
    text = printed(a_report())
    assert rows(text)["sold out"] == ["X even without a crash", "0 of 0"]
    assert "stock: [bold]1 too few" in text, "and what it says is no markup"


def test_each_failure_is_told_in_words_with_its_violations_and_the_command_that_makes_it_again() -> None:
    text = " ".join(printed(a_report()).split())
    assert (
        f"X declined: {GAP} killed right after the commit of the work of reserve_inventory (step 2) {STOCK} "
        f'widget-store crash-test --app "{APP}" --scenario "declined" --point "{GAP}"'
    ) in text
    assert "no process came to this crash point, so nothing was tried" in text
    assert "X broken: an invariant is broken, or a customer was told something false" in text


def test_the_command_is_one_that_the_command_line_takes() -> None:
    (line,) = [line for line in printed(a_report()).splitlines() if GAP in line and "crash-test" in line]
    options = _parser().parse_args(shlex.split(line)[2:])
    assert (options.app, options.scenario, options.point, options.pairs) == (APP, ["declined"], [GAP], False)


def test_the_store_itself_needs_no_file_in_the_command() -> None:
    assert "--app" not in printed(a_report(app=None))


def test_the_last_line_sums_it_up() -> None:
    assert printed(a_report()).splitlines()[-1] == "6 of 9 crash points safe; 18.0 s, 2.00 s for each point"


def test_the_map_fits_80_columns_and_only_commands_do_not() -> None:
    report = a_report()
    many = [a_run("paid", f"dispatch_order_workflow/{n}.update_order_progress/effect/{SIDES[0]}") for n in range(99)]
    broken = a_run("paid", f"{CREATE}/checkpoint/after", verdict=Verdict.BROKEN, says=f"{STOCK}, {STOCK}")
    text = printed(Report(report.recorded, [*report.results, *many, broken], 1.0, f'--app "{APP}"'))
    assert text.count("·") == 2 + 4 + 99 + 1, "each point, and the legend"
    too_long = [line for line in text.splitlines() if len(line) > 80]
    assert all("widget-store crash-test" in line for line in too_long), too_long


def test_pairs_are_summed_up_at_their_first_crash() -> None:
    pairs = [
        a_run("declined", GAP),
        a_run("declined", GAP, f"{CREATE}/effect/before"),
        a_run("declined", GAP, f"{RESERVE}/effect/before", verdict=Verdict.BROKEN, says=STOCK),
    ]
    text = printed(Report([a_run("declined")], pairs, 3.0))
    assert rows(text)["checkout: reserve_inventory"] == ["X"]
    assert "0 of 1 crash points safe (3 runs with pairs)" in text
    assert text.count(f'--point "{GAP}" --pairs') == 1


def test_one_run_is_shown_as_its_timeline() -> None:
    text = printed(Report([a_run("declined")], [A_STORY], 2.0))
    assert text.startswith(f"declined: {GAP}\n\nprocess 1\n")
    assert "crash points, step by step" not in text
    assert max(map(len, text.splitlines())) <= 80


# --- one run

A_STORY = Result(
    "declined",
    (GAP,),
    Verdict.BROKEN,
    [STOCK],
    [],
    1.0,
    [
        [
            f"{CREATE}/effect/before",
            f"{CREATE}/effect/after",
            f"{RESERVE}/body/before",
            f"{RESERVE}/effect/before",
            GAP,
        ],
        [
            *("recovery/requeue checkout_workflow/status/before", "recovery/requeue checkout_workflow/status/after"),
            *(f"{RESERVE}/body/before", f"{RESERVE}/body/after", f"{RESERVE}/checkpoint/before"),
        ],
    ],
)


def test_a_timeline_tells_of_each_process_its_death_and_the_verdict() -> None:
    assert timeline(A_STORY).splitlines() == [
        f"declined: {GAP}",
        "",
        "process 1",
        "    commits the work of create_order (step 1)",
        "    begins the body of reserve_inventory (step 2)",
        "  X killed right after the commit of the work of reserve_inventory (step 2)",
        "",
        "process 2, which recovers the workflows",
        "    commits DBOS's record that checkout_workflow waits for its recovery",
        "    begins the body of reserve_inventory (step 2)",
        "    ends the body of reserve_inventory (step 2)",
        "    is about to commit DBOS's record of reserve_inventory (step 2)",
        "    has nothing left to do",
        "",
        "X broken",
        f"    {STOCK}",
    ]


def test_a_death_that_was_not_ordered_is_told_as_such() -> None:
    run = Result("paid", (GAP,), Verdict.HUNG, ["not finished within 3 s"], [], 3.0, [[f"{CREATE}/body/before"], []])
    told = timeline(run)
    assert "X killed" not in told
    assert "  X died by itself: the test did not kill it\n" in told
    assert "    still runs\n" in told


@pytest.mark.parametrize(
    ("point", "words"),
    [
        (f"{CREATE}/body/after", "as the body of create_order (step 1) ends"),
        ("checkout_workflow/outside of a step/effect/before", "the work of checkout_workflow, outside of a step"),
        ("dispatch_order_workflow/2.tick/checkpoint/after#3", "tick (step 2 of dispatch_order_workflow) (3rd time)"),
        ("checkout_workflow/4.recv/checkpoint/after", "DBOS's record of recv (step 4)"),
        ("dispatch_order_workflow/1.recv/checkpoint/after", "recv (step 1 of dispatch_order_workflow)"),
        ("checkout_workflow/3.set_event payment_id/checkpoint/after", "of set_event payment_id (step 3)"),
        ("checkout_workflow/7.dispatch_order_workflow/checkpoint/after", "of dispatch_order_workflow (step 7)"),
        ("http/start checkout_workflow/status/after", "that checkout_workflow was started"),
        ("http/send payment_status/message/before", "the commit of a message to a workflow (topic payment_status)"),
        ("http/restock/effect/before", "the work of restock, an HTTP call"),
        ("recovery/dequeue a+b/status/after", "that a and b runs again"),
        ("checkout_workflow/fail/status/after", "that checkout_workflow has failed"),
        ("checkout_workflow/end/cleanup/before", "DBOS's clean-up after checkout_workflow"),
    ],
)
def test_a_crash_point_in_words(point: str, words: str) -> None:
    assert words in describe(point)


def test_every_crash_point_that_can_be_chosen_by_hand_has_words() -> None:
    assert all("right" in describe(point.replace("*", "1")) for point in checkout_points())


# --- in a notebook


def picture_of(report: Report) -> ET.Element:
    return ET.fromstring(f"<body>{draw(report)}</body>")  # noqa: S314 - our own


def test_each_cell_of_the_picture_has_a_letter_and_says_what_it_is_when_pointed_at() -> None:
    found = {cell.get("title", "").partition("\n")[0]: cell for cell in picture_of(a_report()).iter("b")}
    assert found[GAP].text == "X"
    assert found[GAP].get("title") == (
        f"{GAP}\nbroken when killed right after the commit of the work of reserve_inventory (step 2)\n{STOCK}"
    )
    assert len([point for point in found if point]) == 9


def test_the_picture_is_told_to_those_who_do_not_see_it() -> None:
    labels = [each.get("aria-label") for each in picture_of(a_report()).iter() if each.get("role") == "img"]
    assert labels[1] == "checkout: reserve_inventory: 1 broken, 1 safe"
    assert [each.text for each in picture_of(a_report()).iter("th")] == ["declined", "paid", "sold out"]


def test_every_verdict_has_a_letter_and_is_in_the_legend() -> None:
    assert set(LETTERS) == set(Verdict)
    assert set(MEANINGS) == set(Verdict)
    legend = "".join(next(each for each in picture_of(Report()).iter("p")).itertext())
    assert legend.startswith("·safe: every invariant holds in the end?not reached: ")
    assert "Hhung: " in legend
    assert "Xbroken: " in legend
    assert "outlined" in legend


def test_what_a_report_says_is_escaped() -> None:
    evil = a_run("<script>", "a/<script>/effect/after", verdict=Verdict.BROKEN, says='"><script>')
    assert "<script>" not in draw(Report([a_run("<script>")], [evil]))


def test_the_map_is_represented_by_what_does_not_change() -> None:
    assert repr(CrashMap(a_report())) == "CrashMap: declined broken, paid safe, sold out broken"


def test_what_failed_first_is_chosen_and_marked_and_another_point_can_be() -> None:
    the_map = CrashMap(a_report())
    assert (the_map.scenario.value, the_map.point.value) == ("sold out", "")
    the_map.scenario.value = "declined"
    assert the_map.point.value == f"{CREATE}/effect/after"
    the_map.point.value = GAP
    cells = ET.fromstring(f"<body>{the_map.picture.value}</body>").iter("b")  # noqa: S314 - our own
    (chosen,) = [cell for cell in cells if "chosen" in str(cell.get("class"))]
    assert str(chosen.get("title")).startswith(GAP)


def test_every_control_has_a_name() -> None:
    controls = CrashMap(a_report()).children[1].children
    assert [control.description for control in controls] == ["Scenario", "Killed at", "Run again", "Refresh"]
    assert all(isinstance(control, (widgets.Dropdown, widgets.Button)) for control in controls)


def test_an_empty_report_is_a_map_too() -> None:
    assert repr(CrashMap(Report())) == "CrashMap: "


@pytest.mark.parametrize("error", [DatabaseUnavailable("nobody there"), ZeroDivisionError("a fault of ours")])
def test_an_error_of_a_run_is_shown_where_the_learner_looks(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Report:
        raise error

    monkeypatch.setattr(crash_panel, "crash_test", fails)
    the_map = CrashMap(a_report())
    the_map.again.click()
    eventually(lambda: str(error) in the_map.message.value, "the error")
    assert 'role="alert"' in the_map.message.value
    eventually(lambda: not the_map.again.disabled, "a button for the next try")


@pytest.mark.slow("kills a store")
def test_a_cell_is_run_again_by_a_click_and_its_timeline_shown(new_database: Callable[[str], Database]) -> None:
    plan = Plan(APP).workloads()
    the_map = CrashMap(a_report(), plan, Settings(database_url=new_database("sqlite").url))
    the_map.scenario.value, the_map.point.value = "declined", GAP
    the_map.again.click()
    assert the_map.again.disabled
    eventually(lambda: "X broken" in the_map.message.value, f"the verdict: {the_map.message.value}")
    eventually(lambda: not the_map.again.disabled, "a button for the next try")
    assert "stock: " in the_map.message.value, "and what is wrong, where one looks first"
    told = the_map.story.value
    assert "process 1\n" in told
    assert "  X killed right after the commit of the work of reserve_inventory (step 2)\n" in told
    recovered = told.partition("process 2")[2]
    assert "commits the work of reserve_inventory (step 2)" in recovered, "the step ran again: that is what is wrong"
    assert "which makes 99" in recovered


def test_a_point_that_a_changed_checkout_no_longer_has_is_not_called_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = Report([a_run("declined")], [], 1.0, never_met=[GAP])
    monkeypatch.setattr(crash_panel, "crash_test", lambda *_: fixed)
    the_map = CrashMap(a_report())
    the_map.again.click()
    eventually(lambda: "? Not reached" in the_map.message.value, f"what became of it: {the_map.message.value}")
    assert "safe" not in the_map.message.value


@pytest.mark.slow("kills a store")
def test_a_lesson_tries_every_crash_point_in_one_line(
    new_database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDGET_STORE_DATABASE_URL", new_database("sqlite").url)
    shown: list[widgets.Label] = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    the_map = try_every_crash_point(APP, ["declined"], points=[f"{RESERVE}/effect/*"])
    assert repr(the_map) == "CrashMap: declined broken"
    assert [run.verdict for run in the_map.report.results] == [Verdict.SAFE, Verdict.BROKEN]
    assert the_map.report.target == f'--app "{APP}"'
    (progress,) = shown
    assert progress.value == "3 of 3 runs done", "it is shown meanwhile"
    assert repr(progress) == "", "and a stored notebook keeps nothing of it"
