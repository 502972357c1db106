# says: Bert's account is below zero, and your check reports nothing
"""A transfer, and what must be true of the money in the end."""

import sqlalchemy as sa

from widget_store.crashtest import Workload


class OneTransfer(Workload):
    app = "bank.py"

    def set_up(self, db):
        db.execute(sa.text("CREATE TABLE accounts (owner VARCHAR(20) PRIMARY KEY, balance INTEGER)"))
        db.execute(sa.text("INSERT INTO accounts VALUES ('anna', 100), ('bert', 0)"))

    def drive(self, app):
        app.start("transfer", "t-1", "anna", "bert", 30)

    def check(self, db):
        balances = db.execute(sa.text("SELECT owner, balance FROM accounts")).all()
        in_all = sum(balance for _, balance in balances)
        if in_all != 100:
            yield f"the accounts have {in_all} in all, not 100"
        for owner, balance in balances:
            if owner == "anna" and balance < 0:
                yield f"{owner} has {balance}"
