# says: widgets on the shelf: you said 99, but it was something else
answer = {
    "order": "PENDING",
    "widgets on the shelf": 99,
    "steps with a checkpoint": 4,
    "the first step to run after it": "cancel_order",
}
