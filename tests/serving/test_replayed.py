"""The orders of a store, replayed with a changed checkout."""

from pathlib import Path

import pytest

from tests.support import Serving, command, new_key
from widget_store import workflows
from widget_store.databases import Database


@pytest.mark.slow("starts a store")
def test_the_orders_of_a_store_are_replayed_with_another_checkout_while_it_runs(
    served: Serving, database: Database, tmp_path: Path
) -> None:
    served.client.post(f"/checkout/{new_key()}").raise_for_status()
    text = Path(workflows.__file__).read_text(encoding="utf-8")
    files = {
        "same.py": text,
        "other.py": text.replace("    order_id = create_order(", "    DBOS.sleep(1)\n    order_id = create_order("),
    }
    assert files["other.py"] != text
    answers = {}
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        ran = command("replay", "--store", "--app", str(tmp_path / name), WIDGET_STORE_DATABASE_URL=database.url)
        answers[name] = (ran.returncode, ran.stdout)
    assert answers["same.py"][0] == 0, answers
    assert answers["other.py"][0] == 1
    assert "recorded: `create_order`; the new code asks for `DBOS.sleep`" in answers["other.py"][1]
