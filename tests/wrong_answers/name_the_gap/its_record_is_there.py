# says: DBOS has recorded undo_reserve_inventory already
answer = "*/*.undo_reserve_inventory/checkpoint/after"
