answer = {
    "create_order began": 3,
    "orders right after the second crash": 0,
    "orders in the end": 1,
}
