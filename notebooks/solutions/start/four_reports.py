answer = {
    "paid, and reported as paid again": ...,
    "paid, and then reported as failed": ...,
    "failed, and then reported as paid": ...,
    "never bought, and reported as paid": ...,
}
