"""Puts a lesson's opening figure, an `<img>` of its own, into a box: there it can scroll, and has room around it."""

from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.typing import ExtensionMetadata


class Figures(SphinxTransform):
    """Finds it as the HTML that it is."""

    default_priority: ClassVar[int] = 400

    def apply(self, **_: object) -> None:
        """Put every such figure of the page into its box."""
        for figure in list(self.document.findall(nodes.raw)):
            if figure.astext().startswith("<img "):
                figure.replace_self(nodes.container("", figure.deepcopy(), classes=["figure-of-a-lesson"]))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the transform, as Sphinx asks."""
    app.add_transform(Figures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
