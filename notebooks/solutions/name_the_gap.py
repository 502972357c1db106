answer = "*/*.undo_reserve_inventory/effect/after"
