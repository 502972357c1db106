"""How Sphinx makes the book: `make book`. Its pages are the lessons, the guides, and the reference from the docstrings.

The source folder is the whole repository, so that a link from one document to another is the same here as in the files.
"""

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "Widget store: durable execution, to crash and to learn from"
author = "The widget-store authors"
project_copyright = "the widget-store authors. Text: CC BY 4.0. Code: MIT"
version = release = version_of("widget-store")
language = "en"

root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "notebooks/[0-9]*.ipynb",
    "INSTRUCTORS.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
]
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "empty_outputs",
    "figures",
    "launch_buttons",
    "words_of_pictures",
    "written_files",
]

nb_execution_mode = "off"  # the stored outputs are shown; tests see to it that they are true
nb_merge_streams = True
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # outputs hold no widgets: nothing is loaded from elsewhere
myst_enable_extensions = ["attrs_block", "colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"  # what is in backticks in a docstring
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"  # the margin is narrow
napoleon_google_docstring, napoleon_numpy_docstring = True, False
nitpick_ignore_regex = [("py:.*", r".*")]  # types of other packages; that a page or a heading is there is checked

html_theme = "sphinx_book_theme"
html_title = "Widget store"
html_extra_path = ["_root"]  # at the site's root, a page that leads to the first one
html_static_path = ["_static"]
html_css_files, html_js_files = ["book.css"], ["book.js"]
html_show_sourcelink = False
copybutton_exclude = ".linenos, .gp, .go"

# Where a pages host builds this, it says whose repository it is; launch buttons and links to the sources need that.
launch_repository = os.environ.get("GITHUB_REPOSITORY", "")
# A pull request's own branch may be in another repository: its preview leads to the branch that it is for.
launch_branch = os.environ.get("GITHUB_BASE_REF") or os.environ.get("GITHUB_REF_NAME") or "main"
html_theme_options = {
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "navbar_persistent": [],
    "use_download_button": True,
    **(
        {
            "repository_url": f"https://github.com/{launch_repository}",
            "repository_branch": launch_branch,
            "use_repository_button": True,
        }
        if launch_repository
        else {}
    ),
}
