answer = (..., ...)
