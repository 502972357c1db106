# says: Money is lost, and your check reports nothing
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
        for owner, balance in db.execute(sa.text("SELECT owner, balance FROM accounts")):
            if balance < 0:
                yield f"{owner} has {balance}"
