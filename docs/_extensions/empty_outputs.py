"""Leaves out an output with nothing in it, such as what a progress bar leaves behind: it would be an empty box."""

from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.typing import ExtensionMetadata


class EmptyOutputs(SphinxTransform):
    """Finds them where MyST-NB puts the kinds of one output side by side, of which a page shows one."""

    default_priority: ClassVar[int] = 400

    def apply(self, **_: object) -> None:
        """Remove every output of the page that shows nothing."""
        for output in list(self.document.findall(nodes.container)):
            shows = output.get("nb_element") != "mime_bundle" or any(output.findall(nodes.image))
            if not shows and not output.astext().strip():
                output.parent.remove(output)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the transform, as Sphinx asks."""
    app.add_transform(EmptyOutputs)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
