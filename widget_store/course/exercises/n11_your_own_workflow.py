"""The exercises of notebook 11: applications that have nothing to do with the store, and rules for one of them."""

import ast
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from widget_store.course.checks import Wrong, on_answer, on_file
from widget_store.course.judging import must_be_safe
from widget_store.crashtest import Answer, App, Plan, Report, Request, Workload, crash_test
from widget_store.crashtest.crash_map import what_is_wrong
from widget_store.crashtest.workload import find_workload

_TIME_LIMIT_SECONDS = 20.0
_EACH_STATE = ("*/before*",)  # right after a commit, the database is as it is right before the next one
_OF_THE_FIRST = ("*/before",)  # transfer: the names of the second one's points end in #2
_OF_DBOS = {"datasource_outputs", "dbos_datasource_migrations"}  # in the application's file, on SQLite


class _OfAFile(Workload):
    """A workload of an application in a file that is told."""

    def __init__(self, app: Path) -> None:
        self.app = app.resolve()

    @property
    def name(self) -> str:
        return type(self).__name__.removeprefix("_")


class _TwoTransfers(_OfAFile):
    """Anna gives Bert 25, and then the same again: a transfer is not known by whom and how much."""

    def set_up(self, db: sa.Connection) -> None:
        db.execute(sa.text("CREATE TABLE accounts (owner VARCHAR(20) PRIMARY KEY, balance INTEGER)"))
        db.execute(sa.text("INSERT INTO accounts VALUES ('anna', 100), ('bert', 0)"))

    def drive(self, app: App) -> None:
        for transfer in ("t-1", "t-2"):
            app.start("transfer", transfer, "anna", "bert", 25)
            app.wait()

    def check(self, db: sa.Connection) -> Iterator[str]:
        rows = db.execute(sa.text("SELECT owner, balance FROM accounts"))
        balances = {row.owner: row.balance for row in rows}
        if balances != {"anna": 50, "bert": 50}:
            told = " and ".join(f"{owner} {balance}" for owner, balance in sorted(balances.items()))
            yield f"the balances are {told}, and should be anna 50 and bert 50"


@on_file(
    "11",
    asks="fix a transfer that gives the money twice",
    hint="Look at debit: its work and its receipt are one commit. Let credit do its work in the same way.",
)
def transfer_once(file: Path) -> str:
    """The learner fixes a transfer of plain DBOS. Each account is changed once, wherever it is killed."""
    _must_be_plain(file)
    survived = must_be_safe(_try(_TwoTransfers(file), _OF_THE_FIRST))
    return f"Killed at {survived} crash points: Anna's money has moved once, all of it."


class _TwoLetters(_TwoTransfers):
    """Two transfers, each with a letter. It remembers the number of each letter in its run, of all runs."""

    outside = "POST_OFFICE_URL"

    def __init__(self, app: Path) -> None:
        super().__init__(app)
        self.letters: set[int] = set()

    def answer(self, request: Request) -> Answer:
        self.letters.add(request.number)
        return super().answer(request)


@on_file(
    "11",
    asks="send one letter for each transfer",
    hint="The post office knows a letter again by the header Idempotency-Key. Which value is the same in each attempt, "
    "and different for each transfer?",
)
def letter_once(file: Path) -> str:
    """The learner sends an idempotency key with a call that no transaction covers."""
    _must_be_plain(file)
    workload = _TwoLetters(file)
    must_be_safe(_try(workload))
    if len(workload.letters) != 2:
        raise Wrong(f"Two transfers make two letters. The post office has {len(workload.letters)}.")
    survived = must_be_safe(_try(workload, _OF_THE_FIRST))
    return f"Killed at {survived} crash points: the post office has one letter for each transfer."


# --- rules for a bank

_A_BANK = """
import os

import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource

bank = SQLAlchemyDatasource.create(os.environ["DATABASE_URL"])
TAKE = "UPDATE accounts SET balance = balance - :amount WHERE owner = :owner{condition}"
GIVE = "UPDATE accounts SET balance = balance + :amount{change} WHERE owner = :owner"


@bank.transaction
def move(payer, payee, amount):
    execute = bank.sql_session().execute
    if execute(sa.text(TAKE), {{"owner": payer, "amount": amount}}).rowcount:
        execute(sa.text(GIVE), {{"owner": payee, "amount": amount}})


@DBOS.workflow()
def transfer(payer, payee, amount):
    move({roles}, amount)
"""
_ENOUGH = " AND balance >= :amount"
_FROM_ANNA = "payer, payee"
_FROM_BERT = "payee, payer"
_BANKS = {
    "right": {"condition": _ENOUGH, "change": "", "roles": _FROM_ANNA},
    "Anna's account is below zero": {"condition": "", "change": "", "roles": _FROM_ANNA},
    "Bert's account is below zero": {"condition": "", "change": "", "roles": _FROM_BERT},
    "Money is lost": {"condition": _ENOUGH, "change": " - 1", "roles": _FROM_ANNA},
    "Money is made": {"condition": _ENOUGH, "change": " + 1", "roles": _FROM_ANNA},
}
_RETURNED_A_TEXT = "Your check returned a text. Yield a sentence for each violation, and nothing when all is well."


class _RulesOfTheLearner(_OfAFile):
    """The learner's rules, asked about another bank."""

    def __init__(self, app: Path, bank: str, rules: Workload) -> None:
        super().__init__(app)
        self.bank = bank
        self.rules = rules

    @property
    def name(self) -> str:
        return self.bank

    def set_up(self, db: sa.Connection) -> None:
        self.rules.set_up(db)

    def drive(self, app: App) -> None:
        for number, amount in enumerate((40, 90), start=1):
            app.start("transfer", f"t-{number}", "anna", "bert", amount)
            app.wait()

    def check(self, db: sa.Connection) -> Iterable[str]:
        found = self.rules.check(db)
        return [_RETURNED_A_TEXT] if isinstance(found, str) else found


@on_file(
    "11",
    asks="write two rules for the money of a bank",
    hint="Yield a sentence when the sum of all balances is not 100. Yield another one for each balance below zero.",
)
def money_rules(file: Path) -> str:
    """The learner's rules say nothing about a good bank, and report debts, lost money, and money from nowhere."""
    rules = find_workload(str(file))
    with _files({name: _A_BANK.format(**parts) for name, parts in _BANKS.items()}) as banks:
        workloads = tuple(_RulesOfTheLearner(app, bank, rules) for bank, app in banks.items())
        report = crash_test(Plan(workloads, points=(), time_limit=_TIME_LIMIT_SECONDS))
    told = {run.scenario: what_is_wrong(run) for run in report.recorded}
    for sentence in (sentence for sentences in told.values() for sentence in sentences):
        if sentence == _RETURNED_A_TEXT:
            raise Wrong(sentence)
        if sentence.startswith("check: raised"):
            raise Wrong(f"Your check failed. {sentence}.")
    for sentence in told.pop("right"):
        raise Wrong(f"This bank is right, but your check reports: “{sentence}”. (Anna gave 40, and was refused 90.)")
    for what, sentences in told.items():
        if not sentences:
            raise Wrong(f"{what}, and your check reports nothing.")
    return "Your check says nothing about a bank that is right. It reports debts, lost money, and money from nowhere."


# --- what differs from run to run

_STATEMENTS = """
import os
import random

import sqlalchemy as sa
from dbos import DBOS, SQLAlchemyDatasource

bank = SQLAlchemyDatasource.create(os.environ["DATABASE_URL"])
engine = sa.create_engine(os.environ["DATABASE_URL"])
NOTE = sa.text("INSERT INTO statements (owner, amount, ticket) VALUES (:owner, :amount, :ticket)")


@DBOS.step()
def draw_ticket():
    return random.randrange(1_000_000_000)


{note}


@DBOS.workflow()
def transfer(payer, payee, amount):
    ticket = draw_ticket()
    note(payee, amount, ticket)
    return ticket
"""
_IN_A_TRANSACTION = """@bank.transaction
def note(owner, amount, ticket):
    bank.sql_session().execute(NOTE, {"owner": owner, "amount": amount, "ticket": ticket})"""
_IN_A_PLAIN_STEP = """@DBOS.step()
def note(owner, amount, ticket):
    with engine.begin() as connection:
        connection.execute(NOTE, {"owner": owner, "amount": amount, "ticket": ticket})"""
_NEEDED = ("statements.ticket", "transfer()")


class _OneStatement(_OfAFile):
    """One transfer, of which a statement is written."""

    def __init__(self, app: Path, ignore: tuple[str, ...]) -> None:
        super().__init__(app)
        self.ignore = ignore

    def set_up(self, db: sa.Connection) -> None:
        db.execute(
            sa.text(
                "CREATE TABLE statements (owner VARCHAR(20), amount INTEGER, ticket INTEGER,"
                " made_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"
            )
        )

    def drive(self, app: App) -> None:
        app.start("transfer", "t-1", "anna", "bert", 30)


@on_answer(
    "11",
    asks="name what differs from run to run, and nothing else",
    hint="Two things hold the ticket: a column, and the result of a workflow. Which names have they in `ignore`?",
)
def what_may_differ(answer: Any) -> str:
    """The learner leaves out what is random: so much that two runs are alike, and so little that a fault is found."""
    ignore = (answer,) if isinstance(answer, str) else tuple(map(str, answer))
    texts = {
        "right": _STATEMENTS.format(note=_IN_A_TRANSACTION),
        "twice": _STATEMENTS.format(note=_IN_A_PLAIN_STEP),
    }
    with _files(texts) as apps:
        undisturbed = crash_test(
            Plan((_OneStatement(apps["right"], ignore),), points=(), time_limit=_TIME_LIMIT_SECONDS)
        )
        for run in undisturbed.failures:
            raise Wrong(f"{re.sub(r'[0-9]{3,}', '…', run.violations[0])}.")
        fault = _try(_OneStatement(apps["twice"], ignore), ("*.note/checkpoint/before",))
    if not fault.failures:
        raise Wrong(
            f"With {', '.join(ignore)} left out, a crash test has less to compare: a statement that is written twice "
            "would not be noticed."
        )
    if more := [name for name in ignore if name not in _NEEDED]:
        raise Wrong(f"{more[0]} need not be named. What you leave out needlessly is not tested any more.")
    return "Two runs without a crash are now alike, and a statement that is written twice is found."


# --- the learner's own


class _Yours(_OfAFile):
    """A workflow of which nothing is known: it is started twice, and must leave something."""

    def drive(self, app: App) -> None:
        for name in ("anna", "bert"):
            app.start("my_workflow", name, name)
            app.wait()

    def check(self, db: sa.Connection) -> Iterator[str]:
        tables = [table for table in sa.inspect(db).get_table_names() if table not in _OF_DBOS]
        if not any(db.execute(sa.select(sa.text("1")).select_from(sa.table(table))).first() for table in tables):
            yield "there is no row in a table of your own in the end, so there is nothing to compare"


@on_file(
    "11",
    asks="write a workflow of your own that survives every crash point",
    hint="Begin with one table and one transaction, and run the test after each change. Then add a second step.",
)
def yours(file: Path) -> str:
    """Whatever the learner writes: it has two steps or more, leaves rows, and leaves the same after each crash."""
    _must_be_plain(file)
    report = _try(_Yours(file), _EACH_STATE)
    survived = must_be_safe(report)
    steps = {point.split("/")[1] for point in report.recorded[0].reached if re.match(r"my_workflow/\d+\.", point)}
    if len(steps) < 2:
        raise Wrong(f"It is safe, but my_workflow has {len(steps)} step. Add a second one.")
    return f"Killed at {survived} crash points, your own workflow leaves what it leaves without a crash."


def _try(workload: Workload, points: tuple[str, ...] = ()) -> Report:
    return crash_test(Plan((workload,), points, time_limit=_TIME_LIMIT_SECONDS, to_the_end=False))


def _must_be_plain(file: Path) -> None:
    """Nothing of the kit is in it."""
    try:
        program = ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError:
        return  # the crash test will say it
    for node in ast.walk(program):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.partition(".")[0] == "widget_store" for name in names):
            raise Wrong(f"{file.as_posix()} imports widget_store. Write it with plain DBOS: it has all that you need.")


@contextmanager
def _files(texts: dict[str, str]) -> Iterator[dict[str, Path]]:
    """Applications in files, for a while."""
    with tempfile.TemporaryDirectory(prefix="widget-store-exercise-") as folder:
        files = {name: Path(folder) / f"given_bank_{place}.py" for place, name in enumerate(texts)}
        for name, file in files.items():
            file.write_text(texts[name], encoding="utf-8")
        yield files
