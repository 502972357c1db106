import hashlib
import hmac


def sign(secret: str, payment_id: str, status: str) -> str:
    # The hexadecimal HMAC-SHA256 of PAYMENT_ID/STATUS, with the secret as its key.
    ...
