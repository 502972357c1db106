"""What is hard to see in a panel: where colours are forced, by keyboard, and on a page enlarged four times."""

from playwright.sync_api import Page

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


def hard_to_see(page: Page) -> list[str]:
    """What is hard to see in the panels of a page; nothing is an empty list."""
    panels = page.locator(".ws-panel")
    assert panels.count(), "there is no panel on this page"
    found = list(panels.evaluate_all(_FOCUS))
    page.emulate_media(forced_colors="active")
    found += panels.evaluate_all(_FORCED_COLOURS)
    page.emulate_media(forced_colors="none")
    size = page.viewport_size
    page.set_viewport_size({"width": 350, "height": 1000})  # of 1400, four times as large
    found += panels.evaluate_all(_NARROW)
    if size is not None:
        page.set_viewport_size(size)
    return found
