# says: steps with a checkpoint: you said 5, but it was something else
answer = {
    "order": "PENDING",
    "widgets on the shelf": 100,
    "steps with a checkpoint": 5,
    "the first step to run after it": "cancel_order",
}
