# says: create_order began: you said 1, but it was something else
answer = {
    "create_order began": 1,
    "orders right after the second crash": 0,
    "orders in the end": 1,
}
