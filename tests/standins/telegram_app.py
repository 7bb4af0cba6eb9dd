"""Telegram's side of a Mini App: the init data that it signs when somebody opens one."""

import hashlib
import hmac
import json
from datetime import datetime
from typing import Any
from urllib.parse import quote


def init_data(token: str, account: int, now: datetime, **fields: Any) -> str:
    """As `Telegram.WebApp.initData` holds it; `fields` stand in place of the usual ones, None for none."""
    person = {"id": account, "first_name": "Ana", "language_code": "pt", "allows_write_to_pm": True}
    usual = {
        "query_id": "AAHdF6IQAAAAAN0XohDhrOrc",
        "user": json.dumps(person, separators=(",", ":")),
        "auth_date": str(int(now.timestamp())),
        "signature": "zL-ucjNyREiHDE8aihFwpfR9aggP2xiAo3NSpfe-p7IbCisNlDKlo7Kb6G4D0Ao2mBrSgEk4maLSdv6MLIlADQ",
    }
    signed = {name: str(value) for name, value in {**usual, **fields}.items() if value is not None}
    lines = "\n".join(f"{name}={signed[name]}" for name in sorted(signed))
    secret = hmac.new(b"WebAppData", token.encode(), hashlib.sha256).digest()
    proof = hmac.new(secret, lines.encode(), hashlib.sha256).hexdigest()
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in {**signed, "hash": proof}.items())
