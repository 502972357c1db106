# says: imports widget_store
"""A bank: it takes money from one account, and gives it to another."""

import sqlalchemy as sa
from dbos import DBOS

from widget_store import sql_session, transaction

ADD = sa.text("UPDATE accounts SET balance = balance + :amount WHERE owner = :owner")


@transaction
def move(payer, payee, amount):
    sql_session().execute(ADD, {"owner": payer, "amount": -amount})
    sql_session().execute(ADD, {"owner": payee, "amount": amount})


@DBOS.workflow()
def transfer(payer, payee, amount):
    move(payer, payee, amount)
