"""get_event answers None for "not yet", for "never", and for an event whose value is None."""

import os

from dbos import DBOS

URL = os.environ.get("DATABASE_URL", "sqlite:///get_event_and_none.sqlite")


@DBOS.workflow()
def publishes_none() -> None:
    DBOS.set_event("payment_id", None)


@DBOS.workflow()
def publishes_nothing() -> None:
    pass


@DBOS.workflow()
def publishes_later() -> None:
    DBOS.recv("go on")
    DBOS.set_event("payment_id", "p-1")


DBOS(config={"name": "misunderstanding", "system_database_url": URL, "log_level": "CRITICAL"})
DBOS.launch()
none, nothing, later = map(DBOS.start_workflow, (publishes_none, publishes_nothing, publishes_later))
for ended in (none, nothing):
    ended.get_result()
for name, handle in {"published None": none, "published nothing": nothing, "not yet": later}.items():
    answer = DBOS.get_event(handle.workflow_id, "payment_id", timeout_seconds=0.1)
    events, status = DBOS.get_all_events(handle.workflow_id), handle.get_status().status
    print(f"{name}: get_event {answer}, get_all_events {events}, status {status}")
DBOS.send(later.workflow_id, "please", "go on")
later.get_result()
DBOS.destroy()
