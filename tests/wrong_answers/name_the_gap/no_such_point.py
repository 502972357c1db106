# says: does not reach
answer = "undo_reserve_inventory"
