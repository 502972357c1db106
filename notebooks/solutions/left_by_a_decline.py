answer = {
    "order": "PENDING",
    "widgets on the shelf": 100,
    "steps with a checkpoint": 4,
    "the first step to run after it": "cancel_order",
}
