# says: failed, and then reported as paid: you said 200, but the store answered something else
answer = {
    "paid, and reported as paid again": 200,
    "paid, and then reported as failed": 409,
    "failed, and then reported as paid": 200,
    "never bought, and reported as paid": 404,
}
