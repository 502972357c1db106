"""Gives each picture in a stored output its alt text, which MyST-NB leaves out: it is in the output's metadata."""

import base64
import hashlib
from pathlib import Path
from typing import ClassVar

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.typing import ExtensionMetadata

_PNG = "image/png"


class WordsOfPictures(SphinxTransform):
    """Finds an output's picture by its file, which MyST-NB names after the SHA-256 of what is in it."""

    default_priority: ClassVar[int] = 400

    def apply(self, **_: object) -> None:
        """Put the words to every picture of the page that is a notebook's output."""
        page = Path(self.env.doc2path(self.env.docname))
        if page.suffix != ".ipynb":
            return
        words = {}
        for cell in nbformat.read(page, as_version=4).cells:
            for output in cell.get("outputs", []):
                if picture := output.get("data", {}).get(_PNG):
                    name = hashlib.sha256(base64.b64decode(picture)).hexdigest()
                    words[name] = output.metadata[_PNG]["alt"]
        for image in self.document.findall(nodes.image):
            name = Path(image["uri"]).stem
            if name in words:
                image["alt"] = words[name]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the transform, as Sphinx asks."""
    app.add_transform(WordsOfPictures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
