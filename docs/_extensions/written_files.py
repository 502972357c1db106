"""Shows a cell that writes a file, `%%writefile NAME`, as that file: its name above, and the code without the magic."""

from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.typing import ExtensionMetadata

_MAGIC = "%%writefile "


class WrittenFiles(SphinxTransform):
    """Gives each such cell a caption, before pages are written."""

    default_priority: ClassVar[int] = 400

    def apply(self, **_: object) -> None:
        """Change every cell of the page that begins with the magic."""
        for block in list(self.document.findall(nodes.literal_block)):
            code = block.astext()
            if not code.startswith(_MAGIC):
                continue
            first, _, rest = code.partition("\n")
            name = nodes.literal("", first.removeprefix(_MAGIC).strip())
            named = nodes.literal_block(rest, rest, **block.attributes)
            block.replace_self([nodes.paragraph("", "", name, classes=["written-file"]), named])


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the transform, as Sphinx asks."""
    app.add_transform(WrittenFiles)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
