import os

import httpx
from dbos import DBOS

from widget_store.transactions import create_order, mark_order_paid, reserve_inventory
from widget_store.workflows import ORDER_ID, PAYMENT_ID

provider = httpx.Client(base_url=os.environ["PROVIDER_URL"], trust_env=False)


@DBOS.step()
def charge(key):
    provider.post("/charges", json={"order": key}, headers={"Idempotency-Key": f"{key}.charge"})


@DBOS.step()
def print_receipt(key):
    if key.startswith("bert"):
        os._exit(1)  # the library that prints has a fault: his name ends the process


@DBOS.workflow()
def checkout_workflow(key):
    order_id = create_order()
    reserve_inventory()
    DBOS.set_event(PAYMENT_ID, key)
    charge(key)
    print_receipt(key)
    mark_order_paid(order_id)
    DBOS.set_event(ORDER_ID, str(order_id))
