# says: the balances are
"""A bank: it takes money from one account, and gives it to another."""

import os

import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource

DBOS(config={"name": "bank", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
bank = SQLAlchemyDatasource.create(os.environ["DATABASE_URL"])
engine = sa.create_engine(os.environ["DATABASE_URL"])
ADD = sa.text("UPDATE accounts SET balance = balance + :amount WHERE owner = :owner")


@bank.transaction
def debit(owner, amount):
    bank.sql_session().execute(ADD, {"owner": owner, "amount": -amount})


@DBOS.step()
def credit(owner, amount):
    what = {"owner": owner, "amount": amount}
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE IF NOT EXISTS credited (owner VARCHAR(20), amount INTEGER)"))
        known = sa.text("SELECT 1 FROM credited WHERE owner = :owner AND amount = :amount")
        if connection.scalar(known, what) is None:
            connection.execute(sa.text("INSERT INTO credited VALUES (:owner, :amount)"), what)
            connection.execute(ADD, what)


@DBOS.workflow()
def transfer(payer, payee, amount):
    debit(payer, amount)
    credit(payee, amount)


if __name__ == "__main__":
    DBOS.launch()
