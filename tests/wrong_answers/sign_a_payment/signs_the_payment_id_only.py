# says: The signature of a failed payment is the same
import hashlib
import hmac


def sign(secret: str, payment_id: str, status: str) -> str:
    message = payment_id.encode()
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
