# says: After the first crash a widget was reserved already
answer = ("*/*.reserve_inventory/effect/after", "*/*.reserve_inventory/checkpoint/after")
