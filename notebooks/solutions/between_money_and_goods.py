answer = "*/*.recv/checkpoint/after"
