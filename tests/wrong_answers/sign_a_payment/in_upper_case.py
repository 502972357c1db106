# says: must be in lower case
import hashlib
import hmac


def sign(secret: str, payment_id: str, status: str) -> str:
    message = f"{payment_id}/{status}".encode()
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest().upper()
