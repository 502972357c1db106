"""The payment provider, to click: how it behaves, its log, and beside that the checkpoints of the store."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import ipywidgets as widgets
import pandas as pd

from widget_store.errors import WidgetStoreError
from widget_store.lab.panel import Panel, as_message, button, in_a_row, refresh_button
from widget_store.lab.provider import Provider
from widget_store.lab.provider_process import Behaviour
from widget_store.lab.store import Store
from widget_store.plain_text import as_html, failure_in_words

_ROWS_SHOWN = 12
_STYLE = """
<style>
.ws-beside { border-collapse: collapse; color: var(--jp-ui-font-color1, #212121); font: 13px system-ui, sans-serif;
margin-right: 28px; }
.ws-beside td { vertical-align: top; white-space: nowrap; }
.ws-beside td:last-child { white-space: normal; overflow-wrap: anywhere; }
.ws-beside caption { text-align: left; padding: 4px 0; font-weight: 600; white-space: nowrap; }
.ws-beside th, .ws-beside td { text-align: left; padding: 3px 14px 3px 0;
border-top: 1px solid color-mix(in srgb, currentColor 30%, transparent); }
</style>
"""
_BUTTONS = {
    Behaviour.WELL: ("Well", "check", "Charge, and answer at once"),
    Behaviour.SLOW: ("Slow", "clock-o", "Take the money at once, and answer two seconds later"),
    Behaviour.DOWN: ("Down", "power-off", "Answer 503, and take nothing"),
    Behaviour.REFUSE: ("Refuse", "ban", "Answer 402: the bank refuses the card"),
    Behaviour.ANSWER_TWICE: ("Answer twice", "clone", "Answer, and report the payment to the store, two times"),
    Behaviour.LOSE_THE_ANSWER: ("Lose the answer", "chain-broken", "Take the money, and cut the connection"),
}


@dataclass
class Shopper:
    """Customers of one store, one after the other, whose cards the provider charges.

    Attributes:
        key: The key of the newest purchase; empty before the first.
        says: What happened last, in words.
        clicks: What was clicked, oldest first.
        keys: Those of all purchases that were begun here.
        waiting: The thread that waits for the store's answer to the newest purchase.
    """

    store: Store
    provider: Provider
    key: str = ""
    says: str = "Choose how the provider behaves, then buy."
    clicks: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    waiting: threading.Thread | None = None

    def buy(self) -> None:
        """Begin a purchase. It goes on by itself: the provider may be slow, and the store may die meanwhile."""
        known = self.keys | {workflow.workflow_id for workflow in self.store.state.all_workflows()}
        self.key = next(key for number in count(1) if (key := f"customer-{number}") not in known)
        self.keys.add(self.key)  # the store may not know it yet at the next click
        self.says = f"{self.key} buys a widget, and has no answer yet."
        self.waiting = threading.Thread(target=self._ask, args=(self.key,), name="a customer", daemon=True)
        self.waiting.start()

    def behave(self, behaviour: Behaviour) -> None:
        """Let the provider behave in another way, until it is told otherwise."""
        self.provider.behave(behaviour.value)
        self.says = (
            f"From now on, the provider does this: {_BUTTONS[behaviour][2][0].lower()}{_BUTTONS[behaviour][2][1:]}."
        )

    def crash(self) -> None:
        """Kill the store's process."""
        self.store.crash()
        self.says = "You killed the store. The provider lives, and so does its log."

    def _ask(self, key: str) -> None:
        try:
            self.store.buy(key)
            says = f"The store answered {key} with a payment id. What became of the order is in the checkpoints."
        except Exception as failure:  # noqa: BLE001 - the store may be closed meanwhile; a thread's error is shown nowhere
            says = f"{key} was not served: {failure_in_words(failure)}"
        if key == self.key:
            self.says = says


class ProviderPanel(Panel):
    """A panel for the provider and a store: how the provider behaves, its log, and the checkpoints of a checkout.

    Args:
        provider: A provider.
        store: A started store that was given this provider.
    """

    def __init__(self, provider: Provider, store: Store) -> None:
        self.provider, self.store = provider, store
        provider.reports_to(store)
        self.shopper = Shopper(store, provider)
        self.buy = button("Buy a widget", "shopping-cart", "primary", "Start a checkout, which charges the card")
        self.crash = button("Crash", "bolt", "danger", "Kill the store's process with SIGKILL; the provider lives")
        self.again = refresh_button()
        self.behaves = {each: button(label, icon, "", what) for each, (label, icon, what) in _BUTTONS.items()}
        for clicked in self.behaves.values():
            clicked.layout.width = "auto"
        self.process = widgets.HTML()
        self.message = widgets.HTML()
        # Side by side where both fit. Where the page is narrow or enlarged, each scrolls, also by the arrow keys.
        self.requests = widgets.HTML(layout=widgets.Layout(max_width="100%", overflow="auto"), tabbable=True)
        self.steps = widgets.HTML(layout=widgets.Layout(max_width="min(400px, 100%)", overflow="auto"), tabbable=True)
        self._says_shown = ""
        self._made_before = 0
        self.buy.on_click(lambda _button: self._do("buy", self.shopper.buy))
        self.crash.on_click(lambda _button: self._do("crash", self.shopper.crash))
        self.again.on_click(lambda _button: self._do("", lambda: None))
        for each, clicked in self.behaves.items():
            clicked.on_click(lambda _button, each=each: self._do(each.value, lambda: self.shopper.behave(each)))
        side_by_side = widgets.Layout(flex_flow="row wrap", align_items="flex-start")
        super().__init__(
            [
                in_a_row(self.process, self.again),
                in_a_row(*self.behaves.values()),
                in_a_row(self.buy, self.crash),
                self.message,
                widgets.HBox([self.requests, self.steps], layout=side_by_side),
            ]
        )
        self._do("", lambda: None)
        if store.is_open():
            store.followers.add(self.refresh, self._tell)

    def __repr__(self) -> str:
        return "ProviderPanel: how the provider behaves, Buy, Crash, its log, and the store's checkpoints"

    def unless_you_did(self, *clicks: str) -> None:
        """Make these clicks, unless you have clicked since the last call. So a notebook can also be run in one go.

        Args:
            clicks: "buy", "crash", or the word for a behaviour, in the order in which they are made.
        """
        with self.one_at_a_time:
            if len(self.shopper.clicks) == self._made_before:
                buttons = {"buy": self.buy, "crash": self.crash}
                buttons |= {each.value: clicked for each, clicked in self.behaves.items()}
                for click in clicks:
                    buttons[click].click()
                    if click == "buy" and self.shopper.waiting is not None:
                        self.shopper.waiting.join()
            self._made_before = len(self.shopper.clicks)

    def refresh(self) -> None:
        """Show what the provider has logged, and what the database holds now."""
        with self.store.followers.looking():
            self._look()

    def _look(self) -> None:
        if not (self.store.is_open() and self.provider.is_open()):
            self.process.value = "■ The store or the provider is closed. To start them, run their cells again."
            for each in (self.buy, self.crash, *self.behaves.values()):
                each.disabled = True
            return
        behaviour = self.provider.behaviour
        for each, clicked in self.behaves.items():
            clicked.button_style = "info" if each.value == behaviour else ""
        is_dead = self.store.deaths and self.store.deaths[-1].back_at is None
        process = "✖ is dead, and is being restarted" if is_dead else "● is running"
        self.process.value = f"The provider's behaviour: <b>{as_html(behaviour)}</b>. The store {process}."
        log = self.provider.log(settled=False)
        self.requests.value = _STYLE + _table("The provider's log", log, "No request yet.")
        key = self.shopper.key
        steps = self.store.state.steps(key)
        title = f"The store's checkpoints: {key or 'nobody'}{self._ending(key)}"
        self.steps.value = _table(title, steps, "No checkpoint yet.")
        if self.shopper.says != self._says_shown:
            self._say("status", self.shopper.says)

    def _ending(self, key: str) -> str:
        """How the newest checkout has ended, or that it has not."""
        status = [each.status for each in self.store.state.all_workflows() if each.workflow_id == key]
        return f", {status[0]}" if status else ""

    def _say(self, role: str, words: str) -> None:
        self._says_shown = self.shopper.says
        self.message.value = as_message(role, words)

    def _do(self, name: str, action: Callable[[], None]) -> None:
        """Every click goes through here: an error is shown in the panel, where the learner looks."""
        with self.one_at_a_time:
            if name:
                self.shopper.clicks.append(name)
            try:
                action()
                self.refresh()
            except WidgetStoreError as refusal:
                self._say("alert", f"⚠ Refused: {refusal}")
            except Exception as failure:  # noqa: BLE001 - an error in a widget's callback would be shown nowhere else
                self._say("alert", f"⚠ Error: {failure_in_words(failure)}")
            self.show_again()

    def _tell(self, failure: Exception) -> None:
        self.message.value = as_message("alert", f"⚠ {failure}")


def _table(title: str, table: pd.DataFrame, nothing: str) -> str:
    """The last rows of a table, as HTML with a caption."""
    newest = table.tail(_ROWS_SHOWN)
    header = "".join(f'<th scope="col">{as_html(name)}</th>' for name in (newest.index.name, *newest.columns))
    rows = "".join(_row(row) for row in newest.itertuples()) or f'<tr><td colspan="9">{nothing}</td></tr>'
    return f'<table class="ws-beside"><caption>{as_html(title)}</caption><tr>{header}</tr>{rows}</table>'


def _row(cells: Sequence[object]) -> str:
    return f"<tr>{''.join(f'<td>{as_html(cell)}</td>' for cell in cells)}</tr>"
