"""A bank: it takes money from one account, and gives it to another."""

import os

import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource

DBOS(config={"name": "bank", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
bank = SQLAlchemyDatasource.create(os.environ["DATABASE_URL"])
ADD = sa.text("UPDATE accounts SET balance = balance + :amount WHERE owner = :owner")


@bank.transaction
def debit(owner, amount):
    bank.sql_session().execute(ADD, {"owner": owner, "amount": -amount})


@bank.transaction
def credit(owner, amount):
    bank.sql_session().execute(ADD, {"owner": owner, "amount": amount})


@DBOS.workflow()
def transfer(payer, payee, amount):
    debit(payer, amount)
    credit(payee, amount)


if __name__ == "__main__":
    DBOS.launch()
