# says: the same with another secret
import hashlib


def sign(secret: str, payment_id: str, status: str) -> str:
    message = f"{payment_id}/{status}".encode()
    return hashlib.sha256(message).hexdigest()
