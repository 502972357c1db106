"""What a step returns is pickled. If that fails, some kinds of step record the failure, and others record nothing."""

import os
import threading

from dbos import DBOS, SQLAlchemyDatasource

URL = os.environ.get("DATABASE_URL", "sqlite:///a_result_that_cannot_be_recorded.sqlite")
datasource = SQLAlchemyDatasource.create(URL)
is_fixed = False


def charge() -> object:
    print("    the card is charged")
    return "charged" if is_fixed else threading.Lock()  # which can't be pickled


@DBOS.step()
def synchronous_step() -> object:
    return charge()


@DBOS.step()
async def asynchronous_step() -> object:
    return charge()


@datasource.transaction()
def transaction() -> object:
    return charge()


@DBOS.workflow()
def with_a_synchronous_step() -> object:
    return synchronous_step()


@DBOS.workflow()
async def with_an_asynchronous_step() -> object:
    return await asynchronous_step()


@DBOS.workflow()
def with_a_transaction() -> object:
    return transaction()


def outcome(workflow_id: str) -> str:
    try:
        return str(DBOS.retrieve_workflow(workflow_id).get_result())
    except TypeError as failure:
        return f"TypeError: {failure}"


DBOS(config={"name": "misunderstanding", "system_database_url": URL, "log_level": "CRITICAL"})
DBOS.launch()
for workflow in (with_a_synchronous_step, with_an_asynchronous_step, with_a_transaction):
    is_fixed = False
    print(workflow.__name__)
    workflow_id = DBOS.start_workflow(workflow).workflow_id
    print("   ", outcome(workflow_id))
    print("    checkpoints:", [step["function_name"] for step in DBOS.list_workflow_steps(workflow_id)])
    is_fixed = True
    DBOS.rewind_workflow(workflow_id, start_step=2)  # it runs again, and keeps what step 1 has recorded
    print("    once the code is fixed:", outcome(workflow_id))
DBOS.destroy()
