"""A first visit to the kit, as a person makes it: the doctor, a purchase, a kill, and a recovery.

Run as a program of its own, on whatever machine a test has made. Its last line is "recovered" when all went well. A
reason for which the kit does not work here is told in a sentence, as the command line and the notebooks tell it.
"""

import sys

from widget_store import doctor
from widget_store.errors import WidgetStoreError


def main() -> int:
    """Visit the kit; the exit status is 0 when all went well, and 1 when a sentence says why not."""
    findings = doctor.summary()
    print(findings)
    if "FAIL" in findings:
        return 1
    from widget_store.lab.store import Store

    try:
        with Store.fresh(payment_timeout=30, dispatch_interval=0) as store:
            payment = store.buy()
            store.crash()
            order = store.pay(payment)
            store.wait_until_dispatched(order)
            print(f"{len(store.deaths)} death, order {order} {store.order(order)['order_status']}")
    except WidgetStoreError as error:
        print(error)
        return 1
    print("recovered")
    return 0


if __name__ == "__main__":
    sys.exit(main())
