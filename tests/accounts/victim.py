"""What a learner's kernel does with a store, told by lines on standard input. Run as a program of its own."""

import json
import os
import sys
from typing import Any

import psutil

from widget_store.databases import superuser
from widget_store.endpoints import signature_of
from widget_store.errors import WidgetStoreError
from widget_store.lab.store import Store

SECRET = "a secret of the payment provider"  # noqa: S105 - it is looked for


def _about(store: Store) -> dict[str, Any]:
    database = store._database  # noqa: SLF001 - the test tells the attacker all there is to know
    assert database is not None
    embedded = database.server_folder
    return {
        "kernel": os.getpid(),
        "supervisor": psutil.Process(store.worker_pid()).parents()[1].pid,
        "worker": store.worker_pid(),
        "url": store.url,
        "token": store.crash_token,
        "signature": signature_of(SECRET, "nobody", "paid"),
        "passwords": [] if embedded is None else (embedded / "passwords").read_text().split(),
        "sockets": [] if embedded is None else [(embedded / "address").read_text()],
        "role": None if embedded is None else _role(database),
        "upkeep": None if embedded is None else _role(superuser(database)),
        "said": f"{store!r} {store.output} {vars(store)['_resources']!r} {database!r}",
    }


def _role(database: Any) -> dict[str, bool]:
    with database.connect() as connection:
        found = connection.execute(
            "SELECT rolname, rolsuper, rolcreaterole, rolreplication, rolbypassrls,"
            " pg_has_role(rolname, 'pg_execute_server_program', 'MEMBER') FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    return dict(zip(("name", "super", "createrole", "replication", "bypassrls", "programs"), found, strict=True))


def _do(store: Store, command: str, *words: str) -> Any:
    match command:
        case "about":
            return _about(store)
        case "buy":
            return store.buy(*words)
        case "crash":
            before = store.worker_pid()
            store.crash()
            store.wait_until_back()
            return store.worker_pid() != before
        case "crash what is named at":
            store._output.url = words[0]  # noqa: SLF001 - as if somebody else answered there
            store.crash()
            return "crashed"
        case "deaths":
            return len(store.deaths)
    raise ValueError(command)


def main() -> None:
    """Start a store with a full shelf, and do what the lines say: each is a list, and so is each answer."""
    with Store.fresh(payment_timeout=60, dispatch_interval=0, webhook_secret=SECRET) as store:
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            try:
                print(json.dumps(_do(store, *json.loads(line))), flush=True)
            except WidgetStoreError as refusal:
                print(json.dumps(f"refused: {refusal}"), flush=True)


if __name__ == "__main__":
    main()
