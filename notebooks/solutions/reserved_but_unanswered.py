answer = ("*/*.create_order/effect/after", "*/*.reserve_inventory/effect/after")
