"""README's two pictures: the lab's panel right after a crash, and after the recovery.

After a change of how the panel looks: `.venv/bin/python -m tests.tools.readme_pictures`.
"""

import base64
import json
import sys

import nbformat

from tests.tools.notebooks import NOTEBOOKS, copied_course, execute
from tests.tools.pictures import PNG, Album

PICTURES = (NOTEBOOKS / "images" / "a-crash.png", NOTEBOOKS / "images" / "its-recovery.png")
_CELLS = (
    """
from widget_store.lab import Lab, Store
store = Store.fresh(dispatch_interval=0.25, payment_timeout=3600)
lab = Lab(store)
""",
    """
lab.buy.click()
lab.crash.click()
lab
""",
    """
lab.pay.click()
store.wait_until_dispatched(lab.customer.order_id)
lab
""",
    "store.close()",
)


def main() -> None:
    """Click as a learner does, and write what the panel showed."""
    album = Album()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in _CELLS])
    with copied_course() as course:
        execute(notebook, course, after_each_cell=album.look)
    if "the store is dead" not in json.dumps(album.shown[0].state):
        sys.exit("The store was back before the panel was looked at. Run this again.")
    album.take_pictures()
    for file, shown in zip(PICTURES, album.shown, strict=True):
        file.write_bytes(base64.b64decode(shown.output.data[PNG]))
        print(f"{file.name}, {file.stat().st_size // 1000} kB: {shown.output.metadata[PNG]['alt']}")


if __name__ == "__main__":
    main()
