"""Buttons on a lesson's page that run the course elsewhere: on Binder, and in Codespaces.

The theme has buttons of its own. They know no Codespaces, and open the stored lesson, not the learner's copy.
"""

from typing import Any
from urllib.parse import quote

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

from widget_store.course.learners_copy import FOLDER

_AFTER_THE_THEME = 502  # its own buttons are there then
_LESSONS = "notebooks/"


def add(app: Sphinx, page: str, _template: str, context: dict[str, Any], _document: object) -> None:
    """Put the buttons first, on the pages of lessons, where it is known whose repository this is."""
    repository, branch = app.config.launch_repository, quote(app.config.launch_branch, safe="")
    if not repository or not page.startswith(_LESSONS):
        return
    copied = f"{FOLDER}/{page.removeprefix(_LESSONS)}.ipynb"
    binder = f"https://mybinder.org/v2/gh/{repository}/{branch}?urlpath=lab/tree/{copied}"
    codespaces = f"https://codespaces.new/{repository}/tree/{app.config.launch_branch}?quickstart=1"
    context["header_buttons"].insert(
        0,
        {
            "type": "group",
            "tooltip": "Run this course",
            "icon": "fas fa-rocket",
            "label": "launch-buttons",
            "buttons": [
                _link("Binder", "Run this lesson on Binder", "_static/images/logo_binder.svg", binder),
                _link("Codespaces", "Run the course in GitHub Codespaces", "fab fa-github", codespaces),
            ],
        },
    )


def _link(text: str, tooltip: str, icon: str, url: str) -> dict[str, str]:
    return {"type": "link", "text": text, "tooltip": tooltip, "icon": icon, "url": url}


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the buttons, as Sphinx asks."""
    app.add_config_value("launch_repository", "", "html")
    app.add_config_value("launch_branch", "main", "html")
    app.connect("html-page-context", add, priority=_AFTER_THE_THEME)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
