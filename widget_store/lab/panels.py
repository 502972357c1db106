"""What a learner clicks. A model holds what has happened; the view, which alone knows widgets, shows it."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ipywidgets as widgets

from widget_store.errors import WidgetStoreError
from widget_store.lab.checkout_points import checkout_points
from widget_store.lab.panel import Panel, as_message, button, in_a_row, refresh_button
from widget_store.lab.store import Store, StoreRefused, behind_hub
from widget_store.lab.timeline import draw, legend, stories
from widget_store.plain_text import as_html, failure_in_words
from widget_store.words import counted

_NOW = "now"


@dataclass
class Customer:
    """One customer at one store: what they are doing, and what happened last, in words.

    Attributes:
        payment_id: The payment they still have to answer, or None.
        order_id: The order they paid for last, or None.
        says: What the customer did last, and the answer to it. What became of the order since is in its timeline.
        purchases: How many purchases they have begun.
        payments: How many of them they have paid for, whether or not the store accepted it.
    """

    store: Store
    payment_id: str | None = None
    order_id: int | None = None
    says: str = "You have bought nothing yet."
    purchases: int = 0
    payments: int = 0
    _settled_id: str | None = None

    def buy(self) -> None:
        """Start a purchase. A second click during one changes nothing: it is the same purchase."""
        if self.payment_id is None:
            self.payment_id = self.store.buy()
            self.purchases += 1
        self.says = "You bought a widget, and the store answered with a payment id. Now pay, or decline."

    def pay(self) -> None:
        """Pay for the purchase."""
        if self.payment_id is not None:
            self.payments += 1
        order_id = self._settle(self.store.pay)
        if order_id is not None:
            self.order_id = order_id
            self.says = f"You paid, and the store answered: order {order_id}."

    def decline(self) -> None:
        """Decline to pay; the widget goes back on the shelf."""
        order_id = self._settle(self.store.decline)
        if order_id is not None:
            self.says = f"You declined, and the store answered: order {order_id}."

    def restock(self) -> None:
        """Fill the shelf."""
        added = self.store.restock()
        self.says = f"{counted(added, 'widget was', 'widgets were')} put on the shelf."

    def _settle(self, report: Callable[[str], int]) -> int | None:
        payment_id = self.payment_id or self._settled_id  # a second click reports the same payment once more
        if payment_id is None:
            self.says = "There is no payment yet: buy a widget first."
            return None
        try:
            order_id = report(payment_id)
        except StoreRefused as refusal:
            if refusal.status < 500:
                self.payment_id = None  # refused for good: it never blocks the next purchase
            raise
        self.payment_id, self._settled_id = None, payment_id
        return order_id


class Lab(Panel):
    """A panel for one store: buttons to buy, pay and crash, and a live timeline of the newest orders.

    Args:
        store: A started store.
        points: The crash points to choose from, and each in words; those of the store's own checkout by default.

    Attributes:
        customer: Who clicks: `customer.order_id` is the order that was paid for last, or None.
    """

    def __init__(self, store: Store, points: Mapping[str, str] | None = None) -> None:
        self.store = store
        self.points = checkout_points() if points is None else points
        self.customer = Customer(store)
        self.buy = button("Buy a widget", "shopping-cart", "primary", "Start a checkout")
        self.pay = button("Pay", "check", "success", "Report the payment as paid")
        self.decline = button("Decline", "times", "", "Report the payment as failed")
        self.restock = button("Restock", "cubes", "", "Fill the shelf")
        self.crash = button(
            "Crash", "bolt", "danger", "Kill the serving process with SIGKILL, now or at the chosen crash point"
        )
        self.again = refresh_button()
        self.when = widgets.Dropdown(
            options=[(_NOW, _NOW), *((words, point) for point, words in self.points.items())],
            description="Die",
            layout=widgets.Layout(width="460px", max_width="calc(100% - 4px)"),
        )
        self.shelf = widgets.HTML()
        self.message = widgets.HTML()
        # Where the page is narrow or enlarged, it scrolls, also by the arrow keys, and stays so when it is drawn anew.
        scrolls = widgets.Layout(width="0", min_width="100%", overflow="auto")
        self.timeline = widgets.HTML(layout=scrolls, tabbable=True)
        self.legend = widgets.HTML()  # it does not scroll with the timeline: its words go to the next line
        clicks = {
            self.buy: self.customer.buy,
            self.pay: self.customer.pay,
            self.decline: self.customer.decline,
            self.restock: self.customer.restock,
            self.crash: self._kill,
            self.again: lambda: None,
        }
        for clicked, action in clicks.items():
            clicked.on_click(lambda _button, action=action: self._do(action))
        super().__init__(
            [
                widgets.HTML(_link(store)),
                in_a_row(self.shelf, self.again),
                in_a_row(self.buy, self.pay, self.decline, self.restock),
                in_a_row(self.when, self.crash),
                self.message,
                self.legend,
                self.timeline,
            ]
        )
        self._made_before = self._made()
        self._do(lambda: None)
        if store.is_open():
            store.followers.add(self.refresh, self._tell)

    def __repr__(self) -> str:
        return "Lab: Buy, Pay, Decline, Restock, Crash, and the timeline"

    def unless_you_did(self, *clicks: str) -> None:
        """Make the clicks that you have not made since the last call. So a notebook can also be run in one go.

        Args:
            clicks: "buy", "pay" or "crash", in the order in which they are made.
        """
        with self.one_at_a_time:
            for click in clicks:
                if self._made()[click] > self._made_before[click]:
                    continue
                if click == "pay" and self.customer.payment_id is None:
                    self.buy.click()  # they declined what they had bought
                getattr(self, click).click()
            self._made_before = self._made()

    def refresh(self) -> None:
        """Show what the database holds now."""
        with self.store.followers.looking():
            self._look()

    def _look(self) -> None:
        if not self.store.is_open():
            self.shelf.value = "■ The store is closed. To open it, run its cell again."
            return
        shelf = self.store.state.books()
        process = "● the store is running"
        if not self.store.is_running():
            process = "■ the store is stopped"
        elif self.store.deaths and self.store.deaths[-1].back_at is None:
            process = "✖ the store is dead, and is being restarted"
        self.shelf.value = (
            f"On the shelf: <b>{shelf['on the shelf']}</b>. Held by orders: <b>{shelf['held by orders']}</b>. "
            f"Process: {process}."
        )
        pictures = "".join(draw(story, self.store.deaths) for story in stories(self.store.state))
        self.legend.value = legend() if pictures else ""
        self.timeline.value = pictures or "<p>No workflow yet, so there is no timeline.</p>"

    def _made(self) -> dict[str, int]:
        return {"buy": self.customer.purchases, "pay": self.customer.payments, "crash": len(self.store.deaths)}

    def _kill(self) -> None:
        point = self.when.value
        self.store.crash(None if point == _NOW else point)
        self.customer.says = (
            "You killed the serving process. Its supervisor starts another one."
            if point == _NOW
            else f"You chose that the process will die {self.points[point]}. Buy or pay, until a checkout gets there."
        )

    def _do(self, action: Callable[[], None]) -> None:
        """Every click goes through here: an error is shown in the panel, where the learner looks."""
        with self.one_at_a_time:
            try:
                action()
                self.refresh()
                symbol, role, words = "", "status", self.customer.says
            except WidgetStoreError as refusal:
                symbol, role, words = "⚠ The store refused: ", "alert", str(refusal)
            except Exception as failure:  # noqa: BLE001 - an error in a widget's callback would be shown nowhere else
                symbol, role, words = "⚠ Error: ", "alert", failure_in_words(failure)
            self.message.value = as_message(role, symbol + words)
            self.show_again()

    def _tell(self, failure: Exception) -> None:
        self.timeline.value = f"<p>⚠ {as_html(failure)}</p>"


def _link(store: Store) -> str:
    """A link to the storefront page that the learner's own browser can reach, if there is a way."""
    if "COLAB_RELEASE_TAG" in os.environ:
        return "On Colab, your browser can't reach the store's web page. The buttons here do the same."
    hub = behind_hub()
    port = store.url.rpartition(":")[2]
    address = f"{hub}proxy/{port}/" if hub else f"{store.url}/"
    # The page may crash the store, too, and other accounts of the machine may not. It takes the token from behind the
    # `#`, which no browser sends: so it is in no log.
    its_own = f"{address}#crash-token={store.crash_token}"
    link = f'<a href="{as_html(its_own)}" target="_blank" style="text-decoration: underline">{as_html(address)}</a>'
    return f"The same store as a web page: {link}"
