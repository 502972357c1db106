answer = {
    "body/before": "safe",
    "effect/before": "safe",
    "effect/after": "broken",
    "effect/before#2": "broken",
    "effect/after#2": "broken",
    "checkpoint/before": "broken",
    "checkpoint/after": "safe",
}
