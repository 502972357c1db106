# says: a step that is done does not run again
answer = ("*/*.create_order/checkpoint/after", "*/*.create_order/effect/after")
