# says: no workflow my_workflow
"""Yours."""

import os

import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource

DBOS(config={"name": "yours", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
data = SQLAlchemyDatasource.create(os.environ["DATABASE_URL"])
engine = sa.create_engine(os.environ["DATABASE_URL"])
tables = sa.MetaData()
seats = sa.Table("seats", tables, sa.Column("name", sa.String(20), primary_key=True), sa.Column("number", sa.Integer))
bills = sa.Table("bills", tables, sa.Column("name", sa.String(20)), sa.Column("price", sa.Integer))
tables.create_all(engine)


@data.transaction
def book_seat(name):
    taken = data.sql_session().execute(sa.select(sa.func.count()).select_from(seats)).scalar_one()
    data.sql_session().execute(seats.insert().values(name=name, number=taken + 1))
    return taken + 1


@data.transaction
def write_bill(name, number):
    data.sql_session().execute(bills.insert().values(name=name, price=20 if number == 1 else 30))


@DBOS.workflow()
def book(name):
    number = book_seat(name)
    write_bill(name, number)
    return number
