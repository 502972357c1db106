# says: Two transfers make two letters
"""A bank that writes a letter about each transfer."""

import os

import httpx
import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource

DBOS(config={"name": "bank", "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"]})
bank = SQLAlchemyDatasource.create(os.environ["DATABASE_URL"])
post_office = httpx.Client(base_url=os.environ["POST_OFFICE_URL"], trust_env=False)
ADD = sa.text("UPDATE accounts SET balance = balance + :amount WHERE owner = :owner")


@bank.transaction
def move(payer, payee, amount):
    bank.sql_session().execute(ADD, {"owner": payer, "amount": -amount})
    bank.sql_session().execute(ADD, {"owner": payee, "amount": amount})


@DBOS.step()
def send_letter(payee, amount):
    letter = {"to": payee, "amount": amount}
    post_office.post("/letters", json=letter, headers={"Idempotency-Key": f"{payee}-{amount}"}).raise_for_status()


@DBOS.workflow()
def transfer(payer, payee, amount):
    move(payer, payee, amount)
    send_letter(payee, amount)


if __name__ == "__main__":
    DBOS.launch()
