# says: effect/before#2: you said 'safe', but it is something else
answer = {
    "body/before": "safe",
    "effect/before": "safe",
    "effect/after": "broken",
    "effect/before#2": "safe",
    "effect/after#2": "broken",
    "checkpoint/before": "broken",
    "checkpoint/after": "safe",
}
