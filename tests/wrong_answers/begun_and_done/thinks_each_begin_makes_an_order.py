# says: orders right after the second crash: you said 2, but it was something else
answer = {
    "create_order began": 3,
    "orders right after the second crash": 2,
    "orders in the end": 3,
}
