"""Pictures of the widgets in a stored notebook, for those who read it and run nothing.

While a notebook is executed, the state of each widget that it shows is noted. Then JupyterLab shows all of them in one
notebook, in Chromium, and each is photographed there: it is what a learner sees.
"""

import asyncio
import base64
import copy
import io
import json
import tempfile
from ast import literal_eval
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.asynchronous.client import AsyncKernelClient
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.sign import NotebookNotary
from PIL import Image
from playwright.sync_api import Locator, ViewportSize, expect

from tests.browser.chromium import chromium
from tests.browser.jupyter import LAB, serving_notebooks
from tests.tools.notebooks import KERNEL, WIDGET_VIEW

PNG = "image/png"
_STATE_MIME = "application/vnd.jupyter.widget-state+json"
_MAKES_UP_FOR_CLICKS = ".unless_you_did("
_WINDOW = ViewportSize(width=1090, height=1200)  # a timeline has all the room it uses
_PIXELS_A_DOT, _COLOURS = 2, 128
_AS_IF_THERE_WERE_A_KERNEL = ".jupyter-widgets-disconnected::before { content: none !important; }"
_NOTHING_SCROLLS = ".ws-crash-lab pre, .ws-story { max-height: none !important; }"  # of a picture, all is to be seen
_WITHIN_SECONDS = 60
_TELL_STATE = """
def _tell_state():
    import json
    from ipywidgets import Widget
    for panel in list(Widget.widgets.values()):
        getattr(panel, "refresh", lambda: None)()
    return json.dumps(Widget.get_manager_state())
"""
_DEMONSTRATIONS = {
    # A panel that has nothing to show until somebody has clicked in it, and no cell does so.
    "CrashLab:": """
def _demonstrate(panel):
    import time
    panel.story.value = "declined"
    panel.point.label = "in reserve_inventory: its work committed, DBOS's record of it not"
    panel.order.value, panel.shelf.value = "PENDING", "100"
    panel.crash.click()
    deadline = time.monotonic() + 60
    while panel.crash.disabled and time.monotonic() < deadline:
        time.sleep(0.05)
_demonstrate(_)
""",
}
_WHAT_IS_CUT = """panel => [...panel.querySelectorAll("*")]
    .filter(part => ["auto", "scroll"].includes(getComputedStyle(part).overflowY)
        && (part.scrollHeight > part.clientHeight + 1 || part.scrollWidth > part.clientWidth + 1))
    .map(part => `${part.tagName} ${part.className}: ${part.textContent.slice(0, 60)}`)"""
_WORDS = """panel => [...panel.querySelectorAll("[role=status], [role=alert], [role=img][aria-label], caption")]
    .map(part => part.getAttribute("aria-label") || part.textContent.trim()).filter(words => words)"""


@dataclass
class _Shown:
    """A widget that a cell shows, and the state that it and those within it had."""

    output: NotebookNode
    model: str
    state: dict[str, Any] = field(default_factory=dict)


class Album:
    """What the widgets of a notebook looked like while it was executed.

    A panel is noted after its own cell. When the next one makes up for the clicks of a learner, it is noted after that.
    """

    def __init__(self) -> None:
        self.shown: list[_Shown] = []
        self._newest: list[_Shown] = []

    async def look(self, client: NotebookClient, cell: NotebookNode) -> None:
        """Note what there is to see after a cell."""
        new = [
            _Shown(output, output.data[WIDGET_VIEW]["model_id"])
            for output in cell.outputs
            if WIDGET_VIEW in output.get("data", {}) and output.data.get("text/plain")
        ]
        for each in new:
            for name, code in _DEMONSTRATIONS.items():
                if each.output.data["text/plain"].startswith(name):
                    await _ask(client, code, "None")
        self.shown += new
        if new or _MAKES_UP_FOR_CLICKS not in cell.source:
            self._newest = new
        if self._newest:
            states = json.loads(await _ask(client, _TELL_STATE, "_tell_state()"))["state"]
            for each in self._newest:
                each.state = _of_one(each.model, states)

    def take_pictures(self) -> None:
        """Put a picture of each widget into the output that shows it."""
        if not self.shown:
            return
        with tempfile.TemporaryDirectory(prefix="widget-store-pictures-") as folder:
            course = Path(folder).resolve() / "notebooks"
            course.mkdir()
            notebook = self._all_in_one_notebook()
            nbformat.write(notebook, course / "pictures.ipynb")
            NotebookNotary(data_dir=folder).sign(notebook)  # JupyterLab shows no widget of a notebook it can not trust
            trusting = replace(LAB, options=(*LAB.options, f"--NotebookNotary.data_dir={folder}"))
            with serving_notebooks(trusting, course) as jupyter, chromium() as browser:
                page = browser.new_page(viewport=_WINDOW, device_scale_factor=_PIXELS_A_DOT)
                page.set_default_timeout(_WITHIN_SECONDS * 1000)
                shown = jupyter.open(page, "pictures")
                page.locator(".jp-SideBar .lm-mod-current").first.click()  # the file browser makes room
                page.add_style_tag(content=_AS_IF_THERE_WERE_A_KERNEL + _NOTHING_SCROLLS)
                panels = shown.locator(".jp-OutputArea-output > .jupyter-widgets")
                expect(panels).to_have_count(len(self.shown))
                for each, panel in zip(self.shown, panels.all(), strict=True):
                    _take(panel, each.output)

    def _all_in_one_notebook(self) -> NotebookNode:
        states: dict[str, Any] = {}
        cells = []
        for number, each in enumerate(self.shown):
            # A widget that is shown twice was not the same both times.
            text = json.dumps(each.state)
            for model in each.state:
                text = text.replace(model, f"{model}-{number}")
            states |= json.loads(text)
            view = {"model_id": f"{each.model}-{number}", "version_major": 2, "version_minor": 0}
            output = nbformat.v4.new_output("display_data", {WIDGET_VIEW: view, "text/plain": "not shown"})
            cells.append(nbformat.v4.new_code_cell("", outputs=[output]))
        metadata = {
            "kernelspec": KERNEL,
            "widgets": {_STATE_MIME: {"version_major": 2, "version_minor": 0, "state": states}},
        }
        made: NotebookNode = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
        return made


async def _ask(client: NotebookClient, code: str, expression: str) -> str:
    """Run code in a notebook's kernel that its learner does not see, and return what an expression is then."""
    kernel = client.kc
    assert isinstance(kernel, AsyncKernelClient)
    request = kernel.execute(code, silent=False, store_history=False, user_expressions={"it": expression})
    async with asyncio.timeout(_WITHIN_SECONDS):
        while True:
            answer = await kernel.get_shell_msg(timeout=_WITHIN_SECONDS)
            if answer["parent_header"].get("msg_id") == request:
                break
    content = answer["content"]
    it = content.get("user_expressions", {}).get("it", content)
    if it["status"] != "ok":
        raise RuntimeError("\n".join(it["traceback"]))
    return str(literal_eval(it["data"]["text/plain"]))


def _of_one(model: str, states: dict[str, Any]) -> dict[str, Any]:
    """The states of a widget and of all that it refers to."""
    found: dict[str, Any] = {}
    to_do = [model]
    while to_do:
        name = to_do.pop()
        if name not in found:
            found[name] = copy.deepcopy(states[name])
            to_do += _references(found[name]["state"])
    return found


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.startswith("IPY_MODEL_"):
        yield value.removeprefix("IPY_MODEL_")
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _references(part)


def _take(panel: Locator, output: NotebookNode) -> None:
    panel.scroll_into_view_if_needed()
    if cut := panel.evaluate(_WHAT_IS_CUT):
        raise RuntimeError(f"a picture would not show all of: {cut}")
    with Image.open(io.BytesIO(panel.screenshot(animations="disabled"))) as taken:
        wide, high = (dots // _PIXELS_A_DOT for dots in taken.size)
        small = io.BytesIO()
        palette = taken.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
        palette.save(small, "PNG", optimize=True)
    words = [output.data["text/plain"], *panel.evaluate(_WORDS)]
    output.data[PNG] = base64.b64encode(small.getvalue()).decode()
    output.metadata[PNG] = {"width": wide, "height": high, "alt": " ".join(f"{each.rstrip('.')}." for each in words)}
