"""Two processes with one executor id: at the start of the second, what the first still runs is run again."""

import os
import subprocess
import sys
import time

from dbos import DBOS

URL = os.environ.get("DATABASE_URL", "sqlite:///two_executors_with_one_id.sqlite")


@DBOS.step()
def charge() -> None:
    print("the card is charged", flush=True)
    time.sleep(600)  # longer than the process lives


@DBOS.workflow()
def checkout() -> None:
    charge()


def process(executor_id: str, customers: int) -> None:
    config = {"name": "misunderstanding", "system_database_url": URL, "log_level": "CRITICAL"}
    DBOS(config={**config, "executor_id": executor_id})
    DBOS.launch()  # takes what is PENDING under its executor id, as after a crash
    for _ in range(customers):
        DBOS.start_workflow(checkout)
    time.sleep(600)


def charges(first_id: str, second_id: str) -> int:
    """How often one customer, who buys at the first process, is charged when the second process starts."""
    reader, writer = os.pipe()
    command = [sys.executable, __file__]
    with os.fdopen(reader) as lines:
        first = subprocess.Popen([*command, first_id, "1"], stdout=writer)
        seen = [lines.readline()]
        second = subprocess.Popen([*command, second_id, "0"], stdout=writer)
        os.close(writer)
        if first_id == second_id:
            seen.append(lines.readline())
        time.sleep(3)
        for each in (first, second):
            each.kill()
            each.wait()
        return len([*seen, *lines])


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print("an executor id of its own each:", charges("shop-1", "shop-2"))
        print("one executor id for both:", charges("shop-3", "shop-3"))
    else:
        process(sys.argv[1], int(sys.argv[2]))
