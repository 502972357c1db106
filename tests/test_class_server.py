"""One PostgreSQL for a class, by the statements in docs/operations.md: each learner has a role and a database.

DBOS keeps what a workflow has returned as a pickle, so who can write to a learner's database runs code as the learner.
Here, one learner tries to get at another's.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import URL, make_url

from tests.servers import sql
from tests.support import FAST, ROOT, Books, command, new_key, serving
from widget_store.databases import Database, at_url, superuser
from widget_store.databases.embedded import embedded_postgres
from widget_store.databases.throwaway import open_databases
from widget_store.settings import Settings

pytestmark = pytest.mark.slow("runs a PostgreSQL with two learners")

(STATEMENTS,) = re.findall(r"^```sql\n(.*?)^```$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def urls(public_folder: Path) -> Iterator[dict[str, URL]]:
    """The databases of two learners on one server, made as the document says."""
    with embedded_postgres(public_folder / new_key(), hurry=True) as embedded:
        administrator = make_url(superuser(embedded).url)
        learners = {}
        for name in ("anna", "bert"):
            password = new_key()
            own = STATEMENTS.replace("anna", name).replace("a-long-random-one", password)
            sql(administrator, *own.split(";")[:-1])
            learners[name] = administrator.set(username=name, password=password, database=name)
        yield learners


@pytest.fixture(scope="module")
def anna(urls: dict[str, URL], public_folder: Path) -> Database:
    """Anna's database, after a sale."""
    database = at_url(urls["anna"].render_as_string(hide_password=False))
    with serving(public_folder, WIDGET_STORE_DATABASE_URL=database.url, **FAST) as store:
        store.sell(new_key())
        assert Books(database).violations() == []
    return database


ATTEMPTS: dict[str, Callable[[URL, URL], object]] = {
    "connect to it": lambda anna, bert: sql(bert.set(database=anna.database), "SELECT 1"),
    "take its owner's role": lambda anna, bert: sql(bert, f"SET ROLE {anna.username}"),
    "let its owner in under another password": lambda anna, bert: sql(bert, f"ALTER ROLE {anna.username} PASSWORD 'x'"),
    "grant a right to it": lambda anna, bert: sql(bert, f"GRANT CONNECT ON DATABASE {anna.database} TO PUBLIC"),
    "copy it": lambda anna, bert: sql(bert, f"CREATE DATABASE copy TEMPLATE {anna.database}"),
    "rename it": lambda anna, bert: sql(bert, f"ALTER DATABASE {anna.database} RENAME TO mine"),
    "drop it": lambda anna, bert: sql(bert, f"DROP DATABASE {anna.database}"),
    "run a program as the server": lambda _, bert: sql(bert, "CREATE TABLE t (x text)", "COPY t FROM PROGRAM 'id'"),
    "read a file of the server": lambda _, bert: sql(bert, "SELECT pg_read_file('PG_VERSION')"),
    "make a superuser": lambda _, bert: sql(bert, "CREATE ROLE mallory SUPERUSER"),
    "come in by way of the common database": lambda _, bert: sql(bert.set(database="postgres"), "SELECT 1"),
    "end its owner's sessions": lambda anna, bert: sql(
        bert,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{anna.username}'",  # noqa: S608
    ),
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
def test_one_learner_does_not_get_at_anothers_database(
    attempt: Callable[[URL, URL], object], anna: Database, urls: dict[str, URL]
) -> None:
    with anna.connect(), pytest.raises(psycopg.Error, match=r"denied|must be owner|permission|Only roles"):
        attempt(urls["anna"], urls["bert"])


def test_her_crash_tests_databases_are_closed_to_others_too(anna: Database, urls: dict[str, URL]) -> None:
    with open_databases(Settings(database_url=anna.url)) as databases:
        with databases.template() as template, template.connect():
            hers = [template]
        with databases.copy() as copy, copy.connect():
            hers.append(copy)
            for each in hers:
                with pytest.raises(psycopg.OperationalError, match="permission denied"):
                    sql(urls["bert"].set(database=make_url(each.url).database), "SELECT 1")


def test_she_may_make_what_a_crash_test_needs(anna: Database) -> None:
    done = command("crash-test", "--scenario", "paid", "--point", "*create_order*", WIDGET_STORE_DATABASE_URL=anna.url)
    assert done.returncode == 0, done.stderr
