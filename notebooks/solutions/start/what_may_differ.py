answer = (...,)
