# says: the payment id was published already
answer = ("*/*.create_order/effect/after", "*/*.set_event payment_id/checkpoint/after")
