answer = {
    "body/before": ...,
    "effect/before": ...,
    "effect/after": ...,
    "effect/before#2": ...,
    "effect/after#2": ...,
    "checkpoint/before": ...,
    "checkpoint/after": ...,
}
