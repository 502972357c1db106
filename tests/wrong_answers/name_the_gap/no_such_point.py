# says: does not come by
answer = "undo_reserve_inventory"
