"""The lessons where nothing runs: as static pages without JavaScript, as code hosts and viewers show them."""

from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Browser, expect

from tests.tools.notebooks import PANELS, all_notebooks, pictured

pytestmark = [pytest.mark.browser, pytest.mark.slow("shows every lesson")]


def test_each_panel_and_map_is_a_picture_with_words_for_those_who_do_not_see_it(
    browser: Browser, tmp_path: Path
) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    for lesson in all_notebooks():
        notebook = nbformat.read(lesson, as_version=4)
        # nbconvert's newer template, "lab", leaves the words of a picture out.
        exporter = HTMLExporter(template_name="classic")  # type: ignore[no-untyped-call]
        html, _ = exporter.from_notebook_node(notebook, {"metadata": {"path": lesson.parent}})
        (tmp_path / "lesson.html").write_text(html, encoding="utf-8")
        page.goto((tmp_path / "lesson.html").as_uri())
        figure = page.locator(".text_cell_render img").first
        assert figure.evaluate("it => it.complete && it.naturalWidth > 0"), f"no figure in {lesson.name}"
        pictures = page.locator(".output_area img")
        expect(pictures).to_have_count(len(pictured(lesson)))
        for picture, output in zip(pictures.all(), pictured(lesson), strict=True):
            expect(picture).to_be_visible()
            expect(picture).to_have_attribute("alt", output.metadata["image/png"]["alt"])
            box = picture.bounding_box()
            assert box, lesson
            assert box["width"] > 300, f"a picture in {lesson.name} is {box['width']} pixels wide"
            assert box["height"] > 100, f"a picture in {lesson.name} is {box['height']} pixels high"
        outputs = "\n".join(page.locator(".output_area").all_inner_texts())
        assert [line for line in outputs.splitlines() if line.startswith(PANELS)] == []
