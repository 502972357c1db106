# says: no row in a table of your own
"""Yours."""

import os

import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource

DBOS(config={"name": "yours", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
data = SQLAlchemyDatasource.create(os.environ["DATABASE_URL"])
engine = sa.create_engine(os.environ["DATABASE_URL"])
tables = sa.MetaData()
tables.create_all(engine)


@DBOS.step()
def greet(name):
    return f"Hello, {name}."


@DBOS.step()
def wave(name):
    return f"{name} waves."


@DBOS.workflow()
def my_workflow(name):
    return greet(name) + wave(name)
