# says: paid, and reported as paid again: you said 409, but the store answered something else
answer = {
    "paid, and reported as paid again": 409,
    "paid, and then reported as failed": 409,
    "failed, and then reported as paid": 409,
    "never bought, and reported as paid": 404,
}
