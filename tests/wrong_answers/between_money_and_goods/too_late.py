# says: the order is PAID already
answer = "*/*.mark_order_paid/effect/after"
