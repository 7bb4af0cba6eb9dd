"""Whether a request comes from Slack, and comes now."""

import hashlib
import hmac

MAX_AGE_SECONDS = 300


def is_signed(secret: str, *, timestamp: str, signature: str, body: bytes, now_seconds: float) -> bool:
    """Slack's v0 signature over this body, made with `secret` within five minutes. Never raises.

    Formula: `v0=` + hex(HMAC-SHA256(secret, `v0:{timestamp}:{body}`)), in Slack's "Verifying requests".
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    if abs(now_seconds - int(timestamp)) > MAX_AGE_SECONDS:
        return False
    expected = hmac.new(secret.encode(), b"v0:%b:%b" % (timestamp.encode(), body), hashlib.sha256).hexdigest()
    # compare_digest refuses str beyond ASCII, which is all that an attacker needs for a 500
    return hmac.compare_digest(f"v0={expected}".encode(), signature.encode(errors="backslashreplace"))
