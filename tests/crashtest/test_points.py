"""Crash points: which statements and steps have them. What happens at them is in tests/lab/test_crash_points.py."""

import asyncio
import inspect

import pytest
from dbos import DBOS

from widget_store.crashtest.commits import writes
from widget_store.crashtest.points import CrashPoints


@pytest.mark.parametrize(
    ("statement", "write"),
    [
        ("INSERT INTO payments (id) VALUES (1)", ("INSERT", "payments")),
        ("insert into payments values (1)", ("INSERT", "payments")),
        ("INSERT INTO payments SELECT 1", ("INSERT", "payments")),
        ("INSERT OR REPLACE INTO payments VALUES (1)", ("INSERT", "payments")),
        (
            'INSERT INTO "dbos"."workflow_status" (a) VALUES (1) ON CONFLICT DO UPDATE SET a = 2',
            ("INSERT", "workflow_status"),
        ),
        ("WITH old AS (SELECT 1) DELETE FROM dbos.streams", ("DELETE", "streams")),
        ("UPDATE products SET inventory = 1", ("UPDATE", "products")),
        ("update products as p set inventory = 1", ("UPDATE", "products")),
        ("REPLACE INTO payments VALUES (1)", ("REPLACE", "payments")),
        ("MERGE INTO payments USING reports ON true WHEN MATCHED THEN DO NOTHING", ("MERGE", "payments")),
        ("TRUNCATE TABLE payments", ("TRUNCATE", "payments")),
        ("COPY payments (id) FROM STDIN", ("COPY", "payments")),
        ("COPY payments TO STDOUT", None),
        ("SELECT replace(name, 'a', 'b') FROM payments", None),
        ("SELECT 1 FROM queue FOR UPDATE SKIP LOCKED", None),
        ("SELECT last_update FROM orders", None),
    ],
)
def test_what_changes_a_table_is_known_by_its_statement(statement: str, write: tuple[str, str] | None) -> None:
    found = [(each.verb, each.table) for each in writes(statement, {})]
    assert found == ([] if write is None else [write])


def test_a_step_that_is_awaited_stays_one_that_is_awaited() -> None:
    with CrashPoints().watch_step_bodies():

        @DBOS.step()
        async def look_up() -> int:
            return 7

    assert inspect.iscoroutinefunction(look_up)
    assert asyncio.run(look_up()) == 7


@pytest.mark.parametrize(
    "name",
    ["checkout_workflow/1.create_order/effect/before#2", "a/3.set_event x/y/checkpoint/after", "*/*.recv/checkpoint/*"],
)
def test_every_name_that_a_crash_point_can_have_can_be_armed(name: str) -> None:
    points = CrashPoints()
    points.arm(name)
    assert points.armed == name


@pytest.mark.parametrize("name", ["create_order", "a/b/after", "checkout_workflow/1.create_order/effect/beside"])
def test_what_is_no_name_of_a_crash_point_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a crash point"):
        CrashPoints().arm(name)
