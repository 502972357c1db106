"""The capstone's aside: a workflow that is enqueued in the transaction that gives the reason for it."""

from pathlib import Path

import nbformat
import pytest

from tests.support import ROOT
from widget_store.crashtest.results import Verdict
from widget_store.databases import Database
from widget_store.lab.crash_test import Plan, crash_test
from widget_store.lab.scenarios import CANCELLED, Customer, Scenario
from widget_store.settings import Settings

FILE = ROOT / "tests" / "apps" / "refund_in_transaction.py"
CAPSTONE = ROOT / "notebooks" / "13_capstone.ipynb"


def changes_her_mind(customer: Customer) -> None:
    customer.expect(customer.buy("anna"), 200, "buying")
    customer.post("/payment_webhook/anna/paid")
    customer.expect(customer.post("/refund/1"), 200, "asking for a refund")


def test_the_lesson_shows_the_file() -> None:
    docstring, program = FILE.read_text(encoding="utf-8").split('"""\n\n', 1)
    assert docstring.startswith('"""')
    cells = nbformat.read(CAPSTONE, as_version=4).cells
    assert any(f"```python\n{program}```" in cell.source for cell in cells if cell.cell_type == "markdown")


@pytest.mark.slow("kills a store at each commit of a refund", weight=2)
@pytest.mark.thorough("it depends on DBOS more than on the kit")
def test_no_widget_is_lost_wherever_the_refund_is_killed(postgresql: Database) -> None:
    scenario = Scenario("refunded", changes_her_mind, {CANCELLED: 1}, dispatch_interval=0.2)
    points = ("http/cancel_paid_order/*", "*dequeue give_back/*", "give_back/*")
    report = crash_test(Plan(Path(FILE), (scenario,), points), Settings(database_url=postgresql.url))
    assert report.failures == []
    assert report.never_met == []
    assert {result.verdict for result in report.results} == {Verdict.SAFE}
