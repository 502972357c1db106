# says: does not come by
answer = "mark_order_paid"
