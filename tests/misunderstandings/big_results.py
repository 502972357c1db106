"""What a step returns is a row in the database. It is written once for each step that returns it."""

import os

import sqlalchemy as sa
from dbos import DBOS

URL = os.environ.get("DATABASE_URL", "sqlite:///big_results.sqlite")
MEGABYTE = 1_000_000


@DBOS.step()
def download() -> bytes:
    return bytes(MEGABYTE)


@DBOS.step()
def shrink(picture: bytes) -> bytes:
    return picture[: len(picture) // 2]


@DBOS.workflow()
def make_preview(_source: bytes) -> bytes:
    return shrink(download())


DBOS(config={"name": "misunderstanding", "system_database_url": URL, "log_level": "CRITICAL"})
DBOS.launch()
workflow_id = DBOS.start_workflow(make_preview, bytes(MEGABYTE)).workflow_id
DBOS.retrieve_workflow(workflow_id).get_result()
schema = None if URL.startswith("sqlite") else "dbos"
with sa.create_engine(URL).connect() as connection:
    for table, column in (("workflow_input", "inputs"), ("operation_outputs", "output"), ("workflow_output", "output")):
        characters = sa.select(sa.func.length(sa.column(column))).select_from(sa.table(table, schema=schema))
        sizes = connection.scalars(characters.where(sa.column("workflow_uuid") == workflow_id)).all()
        print(f"{table}, in megabytes:", [round(size / MEGABYTE, 2) for size in sorted(sizes, reverse=True)])
DBOS.destroy()
