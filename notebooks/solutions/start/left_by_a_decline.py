answer = {
    "order": ...,
    "widgets on the shelf": ...,
    "steps with a checkpoint": ...,
    "the first step to run after it": ...,
}
