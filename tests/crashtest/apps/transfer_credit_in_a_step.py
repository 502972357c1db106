"""A money transfer whose credit is a plain step: what it does, and the note that it is done, are two commits.

broken at: transfer/2.credit/effect/after
broken at: transfer/2.credit/body/after
broken at: transfer/2.credit/checkpoint/before
"""

import os

import httpx
import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource

DBOS(config={"name": "bank", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
bank = SQLAlchemyDatasource.create(os.environ["DATABASE_URL"])
accounts = sa.create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))


@bank.transaction
def debit(account: str, amount: int) -> bool:
    enough = "UPDATE accounts SET balance = balance - :amount WHERE name = :account AND balance >= :amount RETURNING 1"
    return bank.sql_session().execute(sa.text(enough), {"account": account, "amount": amount}).first() is not None


@DBOS.step()
def credit(account: str, amount: int) -> None:
    more = "UPDATE accounts SET balance = balance + :amount WHERE name = :account"
    with accounts.begin() as connection:
        connection.execute(sa.text(more), {"account": account, "amount": amount})


@DBOS.step()
def notify(account: str, amount: int) -> None:
    url = f"{os.environ['NOTIFICATIONS_URL']}/notifications/{account}"
    answer = httpx.post(url, json={"received": amount}, headers={"Idempotency-Key": str(DBOS.workflow_id)})
    answer.raise_for_status()


@DBOS.workflow()
def transfer(payer: str, payee: str, amount: int) -> str:
    if not debit(payer, amount):
        return "refused"
    credit(payee, amount)
    notify(payee, amount)
    return "done"


if __name__ == "__main__":
    DBOS.launch()
