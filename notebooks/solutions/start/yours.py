"""Yours."""

import os

import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource

DBOS(config={"name": "yours", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
data = SQLAlchemyDatasource.create(os.environ["DATABASE_URL"])
engine = sa.create_engine(os.environ["DATABASE_URL"])
tables = sa.MetaData()
# your tables

tables.create_all(engine)


# your steps


@DBOS.workflow()
def my_workflow(name): ...
