"""An exception is pickled, too. One whose arguments are not those of `Exception` comes back as another one."""

import os

from dbos import DBOS

URL = os.environ.get("DATABASE_URL", "sqlite:///an_exception_with_arguments.sqlite")


class Refused(Exception):
    def __init__(self, card: str, reason: str) -> None:
        super().__init__(f"{card} was refused: {reason}")


class RefusedForGood(Exception):
    def __init__(self, card: str, reason: str) -> None:
        super().__init__(card, reason)  # all that it takes


@DBOS.step()
def charge(*, for_good: bool) -> None:
    raise (RefusedForGood if for_good else Refused)("card 42", "no money")


@DBOS.workflow()
def checkout(*, for_good: bool) -> str:
    try:
        charge(for_good=for_good)
    except (Refused, RefusedForGood) as refusal:
        return f"{type(refusal).__name__}: the widget goes back"
    except Exception as failure:  # noqa: BLE001
        return f"{type(failure).__name__}: {failure}"
    return "charged"


DBOS(config={"name": "misunderstanding", "system_database_url": URL, "log_level": "CRITICAL"})
DBOS.launch()
for for_good in (False, True):
    handle = DBOS.start_workflow(checkout, for_good=for_good)
    print("first run:    ", handle.get_result())
    # Step 1 is recorded, and the workflow runs again, as after a crash.
    print("after a crash:", DBOS.rewind_workflow(handle.workflow_id, start_step=2).get_result())
DBOS.destroy()
