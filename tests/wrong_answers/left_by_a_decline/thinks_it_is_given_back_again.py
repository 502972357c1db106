# says: the first step to run after it: you said 'undo_reserve_inventory', but it was something else
answer = {
    "order": "PENDING",
    "widgets on the shelf": 100,
    "steps with a checkpoint": 4,
    "the first step to run after it": "undo_reserve_inventory",
}
