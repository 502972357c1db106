# says: It is a plain SHA-256
import hashlib


def sign(secret: str, payment_id: str, status: str) -> str:
    message = f"{payment_id}/{status}".encode()
    return hashlib.sha256(secret.encode() + message).hexdigest()
