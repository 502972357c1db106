answer = {
    "paid, and reported as paid again": 200,
    "paid, and then reported as failed": 409,
    "failed, and then reported as paid": 409,
    "never bought, and reported as paid": 404,
}
