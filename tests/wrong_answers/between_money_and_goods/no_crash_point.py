# says: does not reach
answer = "mark_order_paid"
