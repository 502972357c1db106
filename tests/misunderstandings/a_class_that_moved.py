"""A checkpoint is a pickle, and names the class of its value. A release that renames the class can't read it."""

import os
import subprocess
import sys
from dataclasses import dataclass

from dbos import DBOS

URL = os.environ.get("DATABASE_URL", "sqlite:///a_class_that_moved.sqlite")
CONFIG = {"name": "misunderstanding", "system_database_url": URL, "log_level": "CRITICAL", "application_version": "1"}
release = sys.argv[1] if len(sys.argv) > 1 else ""


@dataclass
class Purchase:  # the first release called it Order
    number: int


if release == "first":
    Purchase.__qualname__ = Purchase.__name__ = "Order"
if release in {"first", "third"}:
    Order = Purchase  # the old name, for what was recorded under it


@DBOS.step()
def create_order() -> Purchase:
    return Purchase(7)


@DBOS.workflow()
def checkout() -> str:
    order = create_order()
    if release == "first":
        print("    it crashes, with its first step recorded", flush=True)
        os._exit(1)
    return f"order {order.number}"


def run_release() -> None:
    DBOS(config=CONFIG)
    DBOS.launch()  # the second release recovers the workflow
    if release == "first":
        DBOS.start_workflow(checkout).get_result()
    (workflow,) = DBOS.list_workflows()
    if release == "third":
        DBOS.rewind_workflow(workflow.workflow_id, start_step=2)
    handle = DBOS.retrieve_workflow(workflow.workflow_id)
    try:
        print("    result:", handle.get_result())
    except AttributeError as failure:
        print("    AttributeError:", str(failure).split(" on ")[0])
    print("    status:", handle.get_status().status)
    DBOS.destroy()


if __name__ == "__main__":
    if release:
        run_release()
    else:
        for each in ("first", "second", "third"):
            print(f"the {each} release", flush=True)
            subprocess.run([sys.executable, __file__, each], check=False)
