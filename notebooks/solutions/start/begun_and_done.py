answer = {
    "create_order began": ...,
    "orders right after the second crash": ...,
    "orders in the end": ...,
}
