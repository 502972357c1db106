"""What learners click in a lesson, and what they read then: the same in every front end."""

import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.browser.jupyter import run_to_panel


def buy_crash_and_pay(page: Page, lesson: Locator) -> None:
    """Lesson 00: one order that nothing happens to, and one whose store dies."""
    run_to_panel(page, "00_start_here", "Lab:")
    page.get_by_role("button", name="Buy a widget").click()
    expect(lesson.get_by_text("Now pay, or decline.")).to_be_visible()
    page.get_by_role("button", name="Pay").click()
    expect(lesson.get_by_text("You paid, and the store answered: order 1.")).to_be_visible()
    expect(lesson.get_by_role("img", name=re.compile("Order 1: DISPATCHED.* No crash"))).to_be_visible()

    page.get_by_role("button", name="Buy a widget").click()
    expect(lesson.get_by_text("Now pay, or decline.")).to_be_visible()
    page.get_by_role("button", name="Crash").click()
    expect(lesson.get_by_text("You killed the serving process.")).to_be_visible()
    page.get_by_role("button", name="Pay").click()
    expect(lesson.get_by_text("You paid, and the store answered: order 2.")).to_be_visible()
    expect(lesson.get_by_role("img", name=re.compile("Order 2: DISPATCHED.* One crash"))).to_be_visible()


def predict_and_crash(page: Page, lesson: Locator) -> None:
    """Lesson 04: a prediction, half of which is wrong."""
    run_to_panel(page, "04_crash_lab", "CrashLab:")
    lesson.get_by_label("Scenario").select_option("declined")
    lesson.get_by_label("Kill it").select_option("in reserve_inventory: its work committed, DBOS's record of it not")
    lesson.get_by_label("Order").select_option("PENDING")
    lesson.get_by_label("On the shelf").fill("100")
    lesson.get_by_label("On the shelf").press("Tab")
    page.get_by_role("button", name="Crash here").click()
    said = lesson.get_by_role("status").filter(has_text="predictions were right")
    expect(said).to_have_text("1 of 2 predictions were right. Every invariant holds in the end.")
    timeline = lesson.get_by_role("region", name="process 2")
    expect(timeline).to_be_visible()
    expect(timeline).to_have_css("word-break", "normal")  # Jupyter breaks such text inside words


def lose_an_answer(page: Page, lesson: Locator) -> None:
    """Lesson 06: the provider loses its answers, and its log has more than the store's checkpoints."""
    run_to_panel(page, "06_the_provider_fails", "ProviderPanel:")
    page.get_by_role("button", name="Lose the answer").click()
    expect(lesson.get_by_text("take the money, and cut the connection")).to_be_visible()
    page.get_by_role("button", name="Buy a widget").click()
    log = lesson.get_by_role("table", name="The provider's log")
    expect(log.get_by_role("row", name="4 charge customer-1 taken none")).to_be_visible()
    steps = lesson.get_by_role("table", name="The store's checkpoints: customer-1, SUCCESS")
    expect(steps.get_by_role("row", name="6 cancel_order")).to_be_visible()
    page.get_by_role("button", name="Crash").click()
    expect(lesson.get_by_text("You killed the store.")).to_be_visible()
    page.get_by_role("button", name="Refuse").click()
    page.get_by_role("button", name="Buy a widget").click()
    expect(log.get_by_role("row", name="5 charge customer-2 402")).to_be_visible()


def run_a_crash_again(page: Page, lesson: Locator) -> None:
    """Lesson 08: a crash point of the first map, and its timeline."""
    run_to_panel(page, "08_every_crash_point", "CrashMap:")
    point = "checkout_workflow/1.create_order/effect/after"
    lesson.get_by_label("Killed at").select_option(f"· {point}")
    page.get_by_role("button", name="Run again").click()
    expect(lesson.get_by_role("status").filter(has_text=re.compile(r"^· safe, in \d"))).to_be_visible()
    timeline = lesson.get_by_role("region", name="Timeline")
    expect(timeline).to_contain_text("X killed right after the commit of the work of create_order (step 1)")


def kill_a_worker(page: Page, lesson: Locator) -> None:
    """Lesson 12: two more orders, and the worker that has one of them is killed."""
    run_to_panel(page, "12_many_workers", "WorkersPanel:")
    for _ in range(2):
        page.get_by_role("button", name="Buy a widget").click()
    for _ in range(2):
        page.get_by_role("button", name="Pay").click()
    page.get_by_role("button", name="Kill worker-2").click()
    expect(lesson.get_by_text("✖ is dead")).to_be_visible()  # what the panel says last may be the answer to a payment
    orders = lesson.get_by_role("table", name="Orders, newest first")
    expect(orders.get_by_role("row", name=re.compile("^4 DISPATCHED worker-1$"))).to_be_visible()


FIRST = "00_start_here"
CLICKS: dict[str, Callable[[Page, Locator], None]] = {
    FIRST: buy_crash_and_pay,
    "04_crash_lab": predict_and_crash,
    "06_the_provider_fails": lose_an_answer,
    "08_every_crash_point": run_a_crash_again,
    "12_many_workers": kill_a_worker,
}
"""What is clicked in which lesson."""
