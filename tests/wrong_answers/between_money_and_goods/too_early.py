# says: the payment has no checkpoint yet
answer = "*/*.reserve_inventory/checkpoint/after"
