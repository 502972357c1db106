# says: killed right before the commit of DBOS's record of credit
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


given = set()


@DBOS.step()
def credit(owner, amount):
    if (DBOS.workflow_id, owner) in given:
        return
    with engine.begin() as connection:
        connection.execute(ADD, {"owner": owner, "amount": amount})
    given.add((DBOS.workflow_id, owner))


@DBOS.workflow()
def transfer(payer, payee, amount):
    debit(payer, amount)
    credit(payee, amount)


if __name__ == "__main__":
    DBOS.launch()
