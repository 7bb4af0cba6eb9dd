"""Init data: what Telegram signs for a Mini App, so that a server can tell who opened it."""

import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

FRESH = timedelta(minutes=5)
AHEAD = timedelta(seconds=30)
"""So much Telegram's clock may be ahead of ours."""
MAX_CHARS = 8_192


class Unproven(Exception):
    """Not what Telegram signed for this bot just now; the text is for the log."""


@dataclass(frozen=True, slots=True)
class InitData:
    """Who opened the Mini App, by Telegram's id, and when; `proof` is Telegram's own, different each time."""

    account: str
    language: str | None
    signed_at: datetime
    proof: str


def read(text: str, token: str, now: datetime) -> InitData:
    """Checks init data as https://core.telegram.org/bots/webapps asks: every field but the hash is signed.

    Raises:
        Unproven: another bot's, tampered with, older than `FRESH`, from the future, or of no person.
    """
    try:
        fields = parse_qsl(
            text[: MAX_CHARS + 1], keep_blank_values=True, strict_parsing=True, errors="strict"
        )
    except ValueError:
        raise Unproven("unreadable") from None
    named = dict(fields)
    if len(text) > MAX_CHARS or len(named) != len(fields):
        raise Unproven("unreadable")
    proof = named.pop("hash", "")
    signed = "\n".join(f"{name}={value}" for name, value in sorted(named.items()))
    key = hmac.digest(b"WebAppData", token.encode(), hashlib.sha256)
    expected = hmac.digest(key, signed.encode(), hashlib.sha256).hex()
    if not hmac.compare_digest(expected.encode(), proof.encode()):
        raise Unproven("not signed for this bot")
    signed_at = _moment(named.get("auth_date", ""))
    if not now - FRESH <= signed_at <= now + AHEAD:
        raise Unproven("not of now")
    return _of_person(named.get("user", ""), signed_at, proof)


def _moment(seconds: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        raise Unproven("not of now") from None


def _of_person(user: str, signed_at: datetime, proof: str) -> InitData:
    try:
        person = json.loads(user)
    except (ValueError, RecursionError):
        person = None
    if not isinstance(person, dict) or not isinstance(person.get("id"), int) or person.get("is_bot"):
        raise Unproven("of no person")
    language = person.get("language_code")
    return InitData(str(person["id"]), language if isinstance(language, str) else None, signed_at, proof)
