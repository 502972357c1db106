"""Several workers, to click: buy, pay, kill one for good, and see who works on which order."""

from collections.abc import Callable
from dataclasses import dataclass, field

import ipywidgets as widgets

from widget_store.errors import WidgetStoreError
from widget_store.lab.panel import Panel, as_message, button, in_a_row, refresh_button
from widget_store.lab.workers import START_AGAIN, WorkerIsDead, Workers
from widget_store.plain_text import as_html, failure_in_words
from widget_store.schema import OrderStatus

_STYLE = """
<style>
.ws-workers { border-collapse: collapse; color: var(--jp-ui-font-color1, #212121); font: 13px system-ui, sans-serif; }
.ws-workers caption { text-align: left; padding: 4px 0; font-weight: 600; }
.ws-workers th, .ws-workers td { text-align: left; padding: 3px 18px 3px 0;
border-top: 1px solid color-mix(in srgb, currentColor 30%, transparent); }
</style>
"""


@dataclass
class Crowd:
    """Customers of several workers: each goes to the next running worker, as behind a load balancer.

    Attributes:
        workers: The workers.
        unpaid: The payments that are still to be made, oldest first.
        order_ids: The orders that were paid for, oldest first.
        killed: The workers that were killed here, in order.
        left_behind: Of each order whose dispatch a killed worker had under way, the id of that dispatch.
        says: What happened last, in words.
        purchases: How many purchases were begun.
    """

    workers: Workers
    unpaid: list[str] = field(default_factory=list)
    order_ids: list[int] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    left_behind: dict[int, str] = field(default_factory=dict)
    says: str = "You have bought nothing yet."
    purchases: int = 0
    _turn: int = -1

    def buy(self) -> None:
        """Start a purchase at the next worker."""
        worker = self._next()
        self.unpaid.append(self.workers.buy(at=worker))
        self.purchases += 1
        self.says = f"You bought at {worker}, and it answered with a payment id."

    def pay(self) -> None:
        """Pay for the oldest purchase that is unpaid, at whichever worker is next."""
        if not self.unpaid:
            self.says = "There is nothing to pay: buy a widget first."
            return
        worker = self._next()
        payment_id = self.unpaid.pop(0)  # settled or refused: it never blocks the next purchase
        self.order_ids.append(self.workers.pay(payment_id, at=worker))
        self.says = f"You paid at {worker}, and it answered: order {self.order_ids[-1]}."

    def kill(self, name: str) -> None:
        """Kill a worker for good. One that is dead already is left alone: that was a double click."""
        if name not in self.workers.alive():
            return
        has = self.workers.dispatches_at(name)  # soon after its death another worker has them
        self.workers.kill(name)
        self.killed.append(name)
        self.left_behind |= has
        self.says = f"You killed {name}, and nobody starts it again."

    def _next(self) -> str:
        living = self.workers.alive()
        if not living:
            raise WorkerIsDead(f"All workers are dead. {START_AGAIN}")
        self._turn += 1
        return living[self._turn % len(living)]


class WorkersPanel(Panel):
    """A panel for several workers: a button that kills each, buttons to buy and pay, and a live table of the orders.

    Args:
        workers: Started workers.
    """

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.crowd = Crowd(workers)
        self.buy = button("Buy a widget", "shopping-cart", "primary", "Start a checkout at the next living worker")
        self.pay = button(
            "Pay", "check", "success", "Report the oldest open payment as paid, to the next running worker"
        )
        self.again = refresh_button()
        self.kill: dict[str, widgets.Button] = {}
        self.state_of: dict[str, widgets.HTML] = {}
        self._rows = widgets.VBox()
        self.message = widgets.HTML()
        self.orders = widgets.HTML()
        self.buy.on_click(lambda _button: self._do(self.crowd.buy))
        self.pay.on_click(lambda _button: self._do(self.crowd.pay))
        self.again.on_click(lambda _button: self._do(lambda: None))
        for name in workers.names:
            self._add_row(name)
        super().__init__([self._rows, in_a_row(self.buy, self.pay, self.again), self.message, self.orders])
        self._made_before = self._made()
        self._do(lambda: None)
        if workers.is_open():
            workers.followers.add(self.refresh, self._tell)

    def __repr__(self) -> str:
        return f"WorkersPanel: {', '.join(f'Kill {name}' for name in self.kill)}, Buy, Pay, and the orders"

    def unless_you_did(self, *clicks: str) -> None:
        """Make the clicks that you have not made since the last call. So a notebook can also be run in one go.

        Args:
            clicks: "buy", "pay", or the name of a worker to kill, in the order in which they are made.
        """
        with self.one_at_a_time:
            made, before = self._made(), self._made_before
            for click in clicks:
                if click in self.kill:
                    if click not in self.crowd.killed:
                        self._kill_unless_it_is_the_last(click)
                elif made[click] > before[click]:
                    before[click] += 1  # this one they did themselves
                else:
                    getattr(self, click).click()
            self._made_before = self._made()

    def _kill_unless_it_is_the_last(self, name: str) -> None:
        if self.workers.alive() != [name]:
            self.kill[name].click()
            return
        # They have killed another one. Nobody would be left who takes over.
        self.crowd.says = (
            f"{name} was not killed: it is the last running worker. "
            "To follow the lesson as written, run again from the cell with Workers.fresh."
        )
        self._do(lambda: None)

    def refresh(self) -> None:
        """Show what the database holds now, and who lives."""
        with self.workers.followers.looking():
            self._look()

    def _look(self) -> None:
        if not self.workers.is_open():
            for closed in (self.buy, self.pay, *self.kill.values()):
                closed.disabled = True
            for name, shown in self.state_of.items():
                shown.value = f"<b>{as_html(name)}</b> ■ is closed"
            self.message.value = as_message("status", _CLOSED)
            return
        living, orders = self.workers.alive(), self.workers.orders()
        for name in self.workers.names:
            if name not in self.kill:  # it was added since
                self._add_row(name)
        is_open = orders["status"].isin([OrderStatus.PENDING.name, OrderStatus.PAID.name])
        for name, shown in self.state_of.items():
            theirs = sorted(orders.index[is_open & (orders["worker"] == name)])
            state = "● is running" if name in living else "✖ is dead"
            shown.value = f"<b>{as_html(name)}</b> {state}, {_has(theirs)}"
            self.kill[name].disabled = name not in living
        rows = "".join(
            f"<tr><td>{order_id}</td><td>{as_html(status)}</td><td>{as_html(worker) or 'in a queue'}</td></tr>"
            for order_id, status, worker in orders.itertuples()
        )
        header = "".join(f'<th scope="col">{name}</th>' for name in ("order", "status", "worker"))
        self.orders.value = (
            f'{_STYLE}<table class="ws-workers"><caption>Orders, newest first</caption><tr>{header}</tr>{rows}</table>'
        )

    def _add_row(self, name: str) -> None:
        self.kill[name] = button(f"Kill {name}", "bolt", "danger", f"Kill {name} with SIGKILL, for good")
        self.kill[name].on_click(lambda _button: self._kill(name))
        self.state_of[name] = widgets.HTML()
        self._rows.children = (*self._rows.children, in_a_row(self.kill[name], self.state_of[name]))

    def _kill(self, name: str) -> None:
        self.kill[name].disabled = True  # at once: killing takes a moment, and people click twice
        self._do(lambda: self.crowd.kill(name))

    def _made(self) -> dict[str, int]:
        return {"buy": self.crowd.purchases, "pay": len(self.crowd.order_ids)}

    def _do(self, action: Callable[[], None]) -> None:
        """Every click goes through here: an error is shown in the panel, where the learner looks."""
        with self.one_at_a_time:
            try:
                action()
                role, words = "status", self.crowd.says
                self.refresh()
                if not self.workers.is_open():
                    words = _CLOSED
            except WidgetStoreError as refusal:
                role, words = "alert", f"⚠ Refused: {refusal}"
            except Exception as failure:  # noqa: BLE001 - an error in a widget's callback would be shown nowhere else
                role, words = "alert", f"⚠ Error: {failure_in_words(failure)}"
            self.message.value = as_message(role, words)
            self.show_again()

    def _tell(self, failure: Exception) -> None:
        self.orders.value = f"<p>⚠ {as_html(failure)}</p>"


_CLOSED = "■ The workers are closed. To start them, run their cell again."


def _has(order_ids: list[int]) -> str:
    """Which orders a worker has, such that no number reads as a count."""
    if not order_ids:
        return "has no order"
    return f"has order{'s' if len(order_ids) > 1 else ''} {', '.join(map(str, order_ids))}"
