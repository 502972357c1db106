# says: nothing was given back yet
answer = "*/*.reserve_inventory/effect/after"
