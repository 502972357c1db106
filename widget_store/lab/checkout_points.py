"""The crash points of the store's own checkout that are worth choosing by hand."""

STEPS = {  # of the store's own checkout, in the order in which it meets them; whether each has an effect of its own
    "checkout_workflow/*.create_order": True,
    "checkout_workflow/*.reserve_inventory": True,
    "checkout_workflow/*.set_event payment_id": False,
    "checkout_workflow/*.recv": False,
    "checkout_workflow/*.mark_order_paid": True,
    "checkout_workflow/*.dispatch_order_workflow": False,
    "checkout_workflow/*.set_event order_id": False,
    "dispatch_order_workflow/*.sleep": False,
    "dispatch_order_workflow/*.update_order_progress": True,
    "checkout_workflow/*.undo_reserve_inventory": True,
    "checkout_workflow/*.cancel_order": True,
}


def checkout_points() -> dict[str, str]:
    """The crash points worth choosing by hand: before, within and after each step of the store's checkout.

    Returns:
        For each point, as a pattern, what it is in words.
    """
    points = {}
    for step, has_effect in STEPS.items():
        name = step.partition(".")[2]
        if has_effect:
            points[f"{step}/effect/before"] = f"in {name}: before its work is committed"
            points[f"{step}/effect/after"] = f"in {name}: its work committed, DBOS's record of it not"
        else:
            points[f"{step}/checkpoint/before"] = f"in {name}: before DBOS has recorded it"
        points[f"{step}/checkpoint/after"] = f"in {name}: after DBOS has recorded it"
    return points
