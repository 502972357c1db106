"""The book: `make book` makes it without a warning, and each of its pages is for everybody."""

import ast
import html
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from playwright.sync_api import Page, expect

from tests.support import ROOT
from tests.tools.notebooks import imported_from_the_kit
from widget_store.course import files, learners_copy

pytestmark = [
    pytest.mark.browser,
    pytest.mark.thorough("makes the book"),
    pytest.mark.slow("makes the book, and looks at each page", weight=4),
]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its pages."""
    return make_book(tmp_path_factory.mktemp("book") / "html")


def make_book(folder: Path, **of_github: str) -> Path:
    """Make it as `make book` does, with what a workflow of GitHub says of the repository."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-n", "-c", "docs", ".", str(folder)]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")} | of_github
    made = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, "")
    return folder


def test_a_published_lesson_has_buttons_that_open_the_learners_copy_on_binder_and_the_course_in_codespaces(
    tmp_path: Path, book: Path
) -> None:
    published = make_book(tmp_path / "html", GITHUB_REPOSITORY="a-teacher/widgets", GITHUB_REF_NAME="spring/2027")
    for lesson in files.lessons():
        page = (published / "notebooks" / f"{lesson.stem}.html").read_text(encoding="utf-8")
        place = f"lab/tree/{learners_copy.FOLDER}/{lesson.name}"
        assert re.findall(r'href="(https://(?:mybinder|codespaces)[^"]+)"', page) == [
            f"https://mybinder.org/v2/gh/a-teacher/widgets/spring%2F2027?urlpath={place}",
            "https://codespaces.new/a-teacher/widgets/tree/spring/2027?quickstart=1",
        ]
    assert "mybinder.org" not in (published / "docs" / "reference.html").read_text(encoding="utf-8")
    of_nobody_in_particular = (book / "notebooks" / "00_start_here.html").read_text(encoding="utf-8")
    assert "mybinder.org" not in of_nobody_in_particular


def test_it_has_every_lesson_and_every_guide_and_no_link_that_leads_nowhere(book: Path) -> None:
    pages = {path.relative_to(book).as_posix() for path in book.rglob("*.html") if "_static" not in path.parts}
    assert {f"notebooks/{lesson.stem}.html" for lesson in files.lessons()} <= pages
    assert {f"docs/{path.stem}.html" for path in (ROOT / "docs").glob("*.md")} <= pages
    texts = {(book / page).resolve(): (book / page).read_text(encoding="utf-8") for page in pages}
    places = {
        page: {html.unescape(name) for name in re.findall(r'\bid="([^"]+)"', text)} for page, text in texts.items()
    }
    dead = []
    for page, text in texts.items():
        for link in re.findall(r'(?:href|src)="([^"]+)"', text):
            target, _, place = html.unescape(link).partition("#")
            if re.match(r"\w+:|//", target):
                continue
            file = (page.parent / target.partition("?")[0]).resolve() if target else page
            if not file.exists() or (place and file in places and unquote(place) not in places[file]):
                dead.append((page.name, link))
    assert dead == []


def test_its_reference_describes_every_name_that_a_lesson_imports_and_what_it_calls_a_type_is_one(book: Path) -> None:
    page = (book / "docs" / "python.html").read_text(encoding="utf-8")
    for name in imported_from_the_kit():
        (described,) = re.findall(rf'<dt class="sig [^>]*id="{re.escape(name)}">.*?</dt>\s*<dd>(.*?)</dd>', page, re.S)
        assert described.strip().startswith("<p>"), f"{name} has no docstring"
    # "The order: its id" as a docstring's first line would be taken for a type and a text.
    fields = re.findall(r'<dt class="field-\w+">(?:Type|Return type)<.*?<dd[^>]*>(.*?)</dd>', page, re.S)
    types = [html.unescape(re.sub("<[^>]+>", "", field)).strip() for field in fields]
    assert types
    for each in types:
        ast.parse(each.replace("…", "..."), mode="eval")


def test_the_picture_of_a_panel_has_its_words(book: Path) -> None:
    page = (book / "notebooks" / "04_crash_lab.html").read_text(encoding="utf-8")
    assert 'alt="CrashLab: ' in page
    assert re.findall(r'alt="[^"]*\.png"', page) == []


def test_a_file_that_a_cell_writes_has_its_name(book: Path, page: Page) -> None:
    page.goto((book / "index.html").as_uri())
    expect(page).to_have_url((book / "docs" / "index.html").as_uri())
    page.get_by_role("link", name="03 The checkout workflow").first.click()
    expect(page.locator(".written-file").first).to_have_text("work/two_steps.py")
    expect(page.get_by_text("%%writefile")).to_have_count(0)


def pages(book: Path) -> list[Path]:
    """Every page but those that Sphinx adds: the index of names, and the search."""
    return sorted([*book.glob("docs/*.html"), *book.glob("notebooks/*.html"), *book.glob("[A-Z]*.html")])


@pytest.mark.nightly("looks at each page, in two themes")
@pytest.mark.parametrize("width", [400, 1400])
def test_it_can_be_read_by_everybody(book: Path, page: Page, barriers: Callable[[Page, str], str], width: int) -> None:
    page.set_viewport_size({"width": width, "height": 1000})
    found = {}
    for file in pages(book):
        page.goto(file.as_uri())
        if barrier := barriers(page, "article"):
            found[file.name] = barrier
    assert found == {}


_ODD = """article => [...article.querySelectorAll("img")]
    .filter(({clientWidth, clientHeight, naturalWidth, naturalHeight}) =>
        Math.abs(clientWidth / clientHeight / (naturalWidth / naturalHeight) - 1) > 0.02)
    .map(picture => `out of shape: ${picture.alt}`)
    .concat([...article.querySelectorAll(".cell_output pre")].filter(output => !output.textContent.trim())
        .map(() => "an empty output"))
    .concat([...article.querySelectorAll("img")].filter(picture => {
        const box = picture.closest(".cell_output, p, .figure-of-a-lesson");
        return !box || picture.clientWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "auto";
    }).map(picture => `cut off: ${picture.alt}`))"""


@pytest.mark.nightly("looks at each page, three times")
@pytest.mark.parametrize("width", [400, 800, 1400])
def test_no_page_is_wider_than_the_window_and_each_picture_keeps_its_shape_or_scrolls(
    book: Path, page: Page, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    wide = []
    odd = {}
    for file in pages(book):
        page.goto(file.as_uri())
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            wide.append(file.name)
        if found := page.locator("article").first.evaluate(_ODD):
            odd[file.name] = found
    assert (wide, odd) == ([], {})
