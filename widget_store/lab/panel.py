"""What every panel has: its look, also where colours are forced, and a button that shows again what is so now."""

import threading
from collections.abc import Iterator, Sequence

import ipywidgets as widgets

from widget_store.plain_text import as_html

# Where colours are forced (Windows' high contrast), a button has its border only, and a menu without this has no arrow.
# Boxes that show what overflows them do not cut the mark of what has the focus.
_STYLE = """
<style>
.ws-panel .jupyter-button { border: 1px solid transparent; }
.ws-panel :is(button, select, input, a, [tabindex="0"]):focus-visible {
outline: 3px solid var(--jp-ui-font-color1, #212121) !important; outline-offset: 1px; }
.ws-panel .widget-box { overflow: visible; }
.ws-panel .widget-hbox > :is(.widget-html + .jupyter-button, .jupyter-button + .widget-html) { margin-left: 10px; }
@media (forced-colors: active) { .ws-panel select { appearance: auto; background-image: none !important; } }
</style>
"""


class Panel(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A panel in a notebook, made of ipywidgets' own widgets alone: those are what every front end has.

    Args:
        children: What it shows, from top to bottom.

    Attributes:
        one_at_a_time: Held while a click is acted on, and while a cell makes those that were not made. JupyterLab has
            a thread for widgets beside the one for cells, and at first gives clicks to both.
    """

    def __init__(self, children: Sequence[widgets.Widget]) -> None:
        self.one_at_a_time = threading.RLock()
        style = widgets.HTML(_STYLE, layout=widgets.Layout(display="none"))
        super().__init__([*children, style], layout=widgets.Layout(padding="4px", margin="0"))
        self.add_class("ws-panel")

    def show_again(self) -> None:
        """Send the page what it should show, whether it has it or not.

        Some front ends lose what a thread sends while no cell runs and nobody clicks: Colab is one (colabtools 3373).
        """
        for widget in _within(self):
            widget.send_state()


def _within(widget: widgets.Widget) -> Iterator[widgets.Widget]:
    for child in getattr(widget, "children", ()):
        yield from _within(child)
    yield widget


def button(label: str, icon: str, style: str, tooltip: str) -> widgets.Button:
    """A button with words and a symbol.

    Args:
        label: Its words.
        icon: Its symbol, by the name that Font Awesome 4 gives it.
        style: "primary", "success", "danger" or "" for its colour.
        tooltip: What a click does.
    """
    return widgets.Button(description=label, icon=icon, button_style=style, tooltip=tooltip)


def refresh_button() -> widgets.Button:
    """The button that shows what is so now, for a front end that does not follow by itself."""
    made = button("Refresh", "refresh", "", "Show what is so now")
    made.layout.width = "auto"
    return made


def in_a_row(*children: widgets.Widget) -> widgets.HBox:
    """Widgets side by side; where there is no room, below each other."""
    return widgets.HBox(children, layout=widgets.Layout(flex_flow="row wrap", align_items="center"))


def as_message(role: str, words: str) -> str:
    """What a panel says, as HTML.

    Args:
        role: "status", or "alert" for what went wrong: how a screen reader tells it.
        words: Plain text.
    """
    return f'<p role="{role}">{as_html(words)}</p>'
