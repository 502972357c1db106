"""What is hard to see in a panel: where colours are forced, by keyboard, and on a page enlarged four times."""

from itertools import product
from pathlib import Path
from typing import Literal

from playwright.sync_api import Locator, Page, expect

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTHS = (1400, 800)
_WHOLE = 2000  # so high that a page shows all of a panel, and a picture does
FORCED: dict[Literal["none", "active"], str] = {"none": "", "active": "-forced"}

_FORCED_COLOURS = """panels => {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.cssText = "color: CanvasText; background: Canvas; forced-color-adjust: none";
    const { color: ink, backgroundColor: paper } = getComputedStyle(probe);
    probe.remove();
    const hard = [];
    for (const panel of panels) {
        for (const button of panel.querySelectorAll("button"))
            if (getComputedStyle(button).borderTopStyle !== "solid")
                hard.push(`the button ${button.innerText} has no outline`);
        for (const text of panel.querySelectorAll("svg text")) {
            const { fill, stroke } = getComputedStyle(text);
            if (fill !== ink || stroke !== paper) hard.push(`${text.textContent} is ${fill} on ${stroke}`);
        }
    }
    return hard;
}"""
_FOCUS = """panels => panels.flatMap(panel => [...panel.querySelectorAll("button, select, input, a")].flatMap(control =>
{
    if (control.disabled) return [];
    control.focus({ focusVisible: true });
    const { outlineStyle, outlineWidth } = getComputedStyle(control);
    return outlineStyle === "solid" && parseFloat(outlineWidth) >= 3 ? [] : [`${control.outerHTML} shows no focus`];
}))"""
_NARROW = """panels => panels.flatMap(panel => [...panel.querySelectorAll("*")].flatMap(part => {
    const scrolls = above => above !== panel && (/auto|scroll/.test(getComputedStyle(above).overflowX)
        || scrolls(above.parentElement));
    const { right, width } = part.getBoundingClientRect();
    return width === 0 || right <= panel.getBoundingClientRect().right || scrolls(part)
        ? [] : [`${part.className} is cut off: ${part.textContent.trim().slice(0, 40)}`];
}))"""


def hard_to_see(page: Page, pictures: Path, lesson: str) -> list[str]:
    """What is hard to see in the panels of a page; nothing is an empty list. A person may look at the pictures, too."""
    panels = page.locator(".ws-panel")
    assert panels.count(), "there is no panel on this page"
    size = page.viewport_size
    assert size is not None
    found = []
    for scheme, width in product(SCHEMES, WIDTHS):
        page.set_viewport_size({"width": width, "height": _WHOLE})
        for forced, looks in FORCED.items():
            page.emulate_media(color_scheme=scheme, forced_colors=forced)
            wait_for_theme(page, scheme)
            where = f"{lesson}-{width}-{scheme}{looks}"
            found += [f"{where}: {it}" for it in _looked_at(panels, is_forced=bool(looks))]
            panels.last.screenshot(path=pictures / f"panel-{where}.png", animations="disabled")
    page.emulate_media(color_scheme="light", forced_colors="none")
    wait_for_theme(page, "light")
    for zoom in (2, 4):
        page.set_viewport_size({"width": WIDTHS[0] // zoom, "height": _WHOLE})
        found += [f"{lesson}, {zoom}00 %: {it}" for it in panels.evaluate_all(_NARROW)]
        panels.last.screenshot(path=pictures / f"panel-{lesson}-{zoom}00-percent.png", animations="disabled")
    page.set_viewport_size(size)
    return found


def _looked_at(panels: Locator, *, is_forced: bool) -> list[str]:
    """What does not depend on the room there is, with a control that has the focus at the end."""
    found = list(panels.evaluate_all(_FOCUS)) + list(panels.evaluate_all(_NARROW))
    if is_forced:
        found += panels.evaluate_all(_FORCED_COLOURS)
    panels.last.locator("button:is(.mod-primary, .mod-danger):enabled").first.evaluate(
        "button => button.focus({ focusVisible: true })"
    )
    return found


def wait_for_theme(page: Page, scheme: str) -> None:
    """JupyterLab loads its colours, and hides the page meanwhile; other pages have theirs at once."""
    is_light = str(scheme == "light").lower()
    expect(page.locator(f"body:not([data-jp-theme-light]), body[data-jp-theme-light='{is_light}']")).to_be_attached()
    expect(page.locator("#jupyterlab-splash")).to_have_count(0)
