"""A money transfer whose notification has no idempotency key: the service takes the second one for another.

broken at: transfer/3.notify/body/after
broken at: transfer/3.notify/checkpoint/before
"""

import os

import httpx
import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource

DBOS(config={"name": "bank", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
bank = SQLAlchemyDatasource.create(os.environ["DATABASE_URL"])


@bank.transaction
def debit(account: str, amount: int) -> bool:
    enough = "UPDATE accounts SET balance = balance - :amount WHERE name = :account AND balance >= :amount RETURNING 1"
    return bank.sql_session().execute(sa.text(enough), {"account": account, "amount": amount}).first() is not None


@bank.transaction
def credit(account: str, amount: int) -> None:
    more = "UPDATE accounts SET balance = balance + :amount WHERE name = :account"
    bank.sql_session().execute(sa.text(more), {"account": account, "amount": amount})


@DBOS.step()
def notify(account: str, amount: int) -> None:
    url = f"{os.environ['NOTIFICATIONS_URL']}/notifications/{account}"
    httpx.post(url, json={"received": amount}).raise_for_status()


@DBOS.workflow()
def transfer(payer: str, payee: str, amount: int) -> str:
    if not debit(payer, amount):
        return "refused"
    credit(payee, amount)
    notify(payee, amount)
    return "done"


if __name__ == "__main__":
    DBOS.launch()
