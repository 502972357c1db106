"""What is asked of the applications in apps/, and what must be true in the end."""

from collections.abc import Iterator

import sqlalchemy as sa

from widget_store.crashtest import App, Workload


class Transfer(Workload):
    app = "apps/transfer.py"
    outside = "NOTIFICATIONS_URL"

    def set_up(self, db: sa.Connection) -> None:
        db.execute(sa.text("CREATE TABLE accounts (name VARCHAR(20) PRIMARY KEY, balance INTEGER)"))
        db.execute(sa.text("INSERT INTO accounts VALUES ('anna', 100), ('bert', 0)"))

    def drive(self, app: App) -> None:
        app.start("transfer", "t-1", "anna", "bert", 30)

    def check(self, db: sa.Connection) -> Iterator[str]:
        total = db.execute(sa.text("SELECT sum(balance) FROM accounts")).scalar_one()
        if total != 100:
            yield f"money: there is {total} in all, and was 100"


class Trip(Workload):
    app = "apps/trip.py"
    on_launch = "on_launch"
    sometimes = ("the trip was undone",)

    def set_up(self, db: sa.Connection) -> None:
        db.execute(sa.text("CREATE TABLE offers (name VARCHAR(20) PRIMARY KEY, free INTEGER)"))
        db.execute(sa.text("INSERT INTO offers VALUES ('flight', 2), ('hotel', 2), ('car', 0)"))

    def drive(self, app: App) -> None:
        app.start("trip", "t-1", "flight", "hotel", "car")
        if app.result("t-1") == "no car":
            self.saw("the trip was undone")


class Quote(Workload):
    app = "apps/quote.py"

    def set_up(self, db: sa.Connection) -> None:
        key = "" if "without" in str(self.app) else "id VARCHAR(20) PRIMARY KEY, "
        db.execute(sa.text(f"CREATE TABLE quotes ({key}text VARCHAR(60))"))

    def drive(self, app: App) -> None:
        app.start("quote", "q-1")


class Reconciliation(Workload):
    app = "apps/reconcile.py"
    on_launch = "on_launch"

    def set_up(self, db: sa.Connection) -> None:
        db.execute(sa.text("CREATE TABLE invoices (id INTEGER PRIMARY KEY, paid INTEGER)"))
        db.execute(sa.text("CREATE TABLE payments (id INTEGER, invoice INTEGER, amount INTEGER, booked INTEGER)"))
        db.execute(sa.text("INSERT INTO invoices VALUES (1, 0), (2, 0)"))
        db.execute(sa.text("INSERT INTO payments VALUES (7, 1, 10, 0), (8, 2, 20, 0), (9, 2, 30, 0)"))

    def drive(self, app: App) -> None:
        app.trigger("nightly")


class Outbox(Workload):
    app = "apps/outbox.py"
    asgi = "web"
    outside = "MAIL_URL"

    def set_up(self, db: sa.Connection) -> None:
        db.execute(sa.text("CREATE TABLE orders (number INTEGER PRIMARY KEY)"))
        db.execute(sa.text("CREATE TABLE outbox (number INTEGER PRIMARY KEY)"))

    def drive(self, app: App) -> None:
        app.http("PUT", "/orders/1").raise_for_status()
        app.start("relay", "r-1")


class Direct(Workload):
    app = "apps/direct.py"

    def set_up(self, db: sa.Connection) -> None:
        unique = "" if "without" in str(self.app) else " PRIMARY KEY"
        db.execute(sa.text(f"CREATE TABLE payments (id VARCHAR(20){unique}, amount INTEGER)"))

    def drive(self, app: App) -> None:
        app.start("pay", "p-1", "p-1", 30)
