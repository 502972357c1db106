"""That the benchmarks run and say what they measured; how fast the store is, is no business of a test."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.support import Books, eventually
from widget_store.benchmarks.figures import Figure
from widget_store.benchmarks.picture import bench_picture
from widget_store.benchmarks.served import served
from widget_store.benchmarks.tables import Tables
from widget_store.databases import Database
from widget_store.settings import Settings


@pytest.mark.nightly("measures everything once")
@pytest.mark.slow("starts, kills and stops several stores", weight=10)
def test_a_quick_run_gives_every_figure_its_unit_and_floor() -> None:
    command = [sys.executable, "-m", "widget_store.benchmarks", "--json", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr

    figures = json.loads(done.stdout)
    names = [figure["name"] for figure in figures]
    assert len(set(names)) == len(names) >= 24
    for call in ("buy", "pay"):  # with nothing else going on, and as a busy store answers
        assert {f"{call}, one customer, store at rest", f"{call}, one customer, dispatching"} <= set(names)
    assert "buy, 16 customers, --workers 2, 99th percentile" in names
    for figure in figures:
        assert set(figure) == {"name", "value", "unit", "floor", "ratio"}
        assert figure["value"] > 0
        assert figure["unit"] in {"s", "ms", "MB", "/s"}
        assert (figure["floor"] is None) == (figure["ratio"] is None)


def test_a_figure_is_the_median_or_another_quantile() -> None:
    samples = list(map(float, range(1, 101)))
    assert Figure("all", "ms", samples).value == 50.5
    assert Figure("slow ones", "ms", samples, quantile=0.99).value == 100
    assert Figure("all", "ms", samples).middle_half == (26, 75)


def test_the_ratio_says_how_many_times_its_floor_it_costs() -> None:
    assert Figure("a time", "ms", [30.0], floor=10.0).ratio == 3
    assert Figure("a rate", "/s", [10.0], floor=30.0).ratio == 3
    assert Figure("a time", "ms", [30.0]).ratio is None


def test_the_picture_shows_the_figures_that_are_asked_for_and_says_them(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    measured = [
        Figure("buy, one", "ms", [10.0]),
        Figure("buy, many", "ms", [40.0]),
        Figure("checkouts, many", "/s", [20.0], floor=800.0),
        Figure("start", "s", [0.8]),
    ]
    file.write_text(json.dumps([figure.as_json() for figure in measured]))
    table = ET.fromstring(f"<div>{bench_picture(file, 'checkouts', 'buy').data}</div>").find("table")  # noqa: S314 - our own
    assert table is not None
    rows = [[str(cell.text) for cell in row] for row in table]
    assert [(name, told) for name, _, told in rows] == [
        ("checkouts, many", "20/s, 40 times its floor"),
        ("buy, one", "10 ms"),
        ("buy, many", "40 ms"),
    ]
    bars = [len(bar) for _, bar, _ in rows]
    assert bars[2] == 30
    assert bars[1] in {7, 8}, "bars of one unit can be compared"
    with pytest.raises(ValueError, match=r"no figure whose name begins with sell"):
        bench_picture(file, "sell")


def test_the_figures_of_the_course_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "<table" in str(bench_picture("images/bench.json").data)


@pytest.mark.slow("starts a store")
def test_copies_of_a_finished_order_are_such_orders(database: Database) -> None:
    settings = Settings.model_construct().model_copy(update={"database_url": database.url, "dispatch_interval": 0.001})
    books = Books(database)
    with served(settings) as store, closing(Tables(database)) as tables:
        for path in ("/checkout/first", "/payment_webhook/first/paid"):
            store.post(path)
        eventually(lambda: tables.dispatched() == 1, "the dispatch")
        tables.copy_finished_order("first", range(1, 4))
        tables.copy_finished_order("first", range(4, 6))
        assert tables.dispatched() == 6
        assert store.post("/checkout/first-5") == "first", "it has ended, with the answer that was copied"
        assert tables.dispatched() == 6
        workflows = books.system(
            "SELECT workflow_uuid, status FROM {dbos}workflow_status WHERE workflow_uuid LIKE 'first%'"
        )
        assert {status for _, status in workflows} == {"SUCCESS"}
        assert {f"first-{copy}.dispatch" for copy in range(1, 6)} <= {name for name, _ in workflows}
        steps = books.system(
            "SELECT workflow_uuid, count(*) FROM {dbos}operation_outputs WHERE workflow_uuid LIKE 'first%' GROUP BY 1"
        )
        assert len(set(dict(steps).values())) == 2, "as many steps in each checkout, and in each dispatch"


@pytest.mark.slow("starts a store, twice")
def test_no_dispatch_that_slept_goes_on_sleeping_in_the_next_part(database: Database) -> None:
    settings = Settings.model_construct().model_copy(update={"database_url": database.url, "dispatch_interval": 3600})
    with closing(Tables(database)) as tables:
        with served(settings) as store:
            store.checkouts(0, 2)
        assert not tables.at_rest()
        tables.cancel_what_sleeps()
        with served(settings):
            assert tables.at_rest()
