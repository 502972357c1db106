# says: checkpoint/before: you said 'safe', but it is something else
answer = {
    "body/before": "safe",
    "effect/before": "safe",
    "effect/after": "broken",
    "effect/before#2": "broken",
    "effect/after#2": "safe",
    "checkpoint/before": "safe",
    "checkpoint/after": "safe",
}
