"""The Bot API over python-telegram-bot: a client without retries, and what its errors mean for a delivery."""

import asyncio
import json
import logging
from datetime import timedelta
from typing import Any

import httpx
from telegram import Bot
from telegram.error import BadRequest, Forbidden, InvalidToken, RetryAfter, TelegramError
from telegram.request import HTTPXRequest

from core.errors import DeliveryError, DeliveryUnknown, NotDelivered, Undeliverable

ALLOWED_UPDATES = ("message", "edited_message")
POOL_CONNECTIONS = 64
_CONNECT_SECONDS = 5.0

_NOTHING_LEFT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
    RuntimeError,  # the client is closed
)


class _QuietRequest(HTTPXRequest):
    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        """The answer. Unlike the original, doesn't log one it can't read, which may hold people's words."""
        try:
            answer = json.loads(payload)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or ("result" not in answer and answer.get("ok") is not False):
            raise TelegramError("Invalid server response")
        return answer


class Client(Bot):
    """`telegram.Bot` at any Bot API server.

    `initialize` puts the token into the text of the `InvalidToken` it raises: never log that text.
    """

    def __init__(self, token: str, base_url: str, *, request_seconds: float) -> None:
        def request(connections: int) -> HTTPXRequest:
            return _QuietRequest(
                connection_pool_size=connections,
                connect_timeout=_CONNECT_SECONDS,
                pool_timeout=request_seconds,
                read_timeout=request_seconds,
                write_timeout=request_seconds,
            )

        super().__init__(
            token,
            base_url=f"{base_url}/bot",
            base_file_url=f"{base_url}/file/bot",
            request=request(POOL_CONNECTIONS),
            get_updates_request=request(1),
        )
        self._request_seconds = request_seconds

    async def close_connections(self) -> None:
        """Closes for good, whether or not it was initialized. Safe to call twice."""
        await asyncio.gather(*(request.shutdown() for request in self._request))

    async def fetch_updates(self, offset: int, *, wait_seconds: int) -> list[dict[str, Any]]:
        """The updates from `offset` on, as Telegram's own JSON; confirms all before it.

        Unlike with `get_updates`, one that can't be read neither hides the others nor comes into a log.
        """
        asked = {"offset": offset, "timeout": wait_seconds, "allowed_updates": ALLOWED_UPDATES}
        updates = await self._post("getUpdates", asked, read_timeout=self._request_seconds + wait_seconds)
        if not isinstance(updates, list):
            raise TelegramError("the answer to getUpdates is no list")
        return [one for one in updates if isinstance(one, dict) and isinstance(one.get("update_id"), int)]


def keep_secrets_out_of_logs() -> None:
    """Quiets the libraries: httpx logs each URL, with the token; python-telegram-bot what people wrote."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("telegram").setLevel(logging.CRITICAL + 1)


def retry_after_seconds(error: TelegramError) -> float | None:
    """How long Telegram asks to wait, if it does."""
    if not isinstance(error, RetryAfter):
        return None
    wait = error.retry_after
    return wait.total_seconds() if isinstance(wait, timedelta) else float(wait)


def reason(error: TelegramError) -> str:
    """What a log may hold of it: Telegram's own description of a refusal, else the kind alone."""
    kind = type(error).__name__
    return f"{kind}: {error.message[:120]}" if isinstance(error, BadRequest | Forbidden) else kind


def is_about_entities(error: TelegramError) -> bool:
    return isinstance(error, BadRequest) and "entit" in error.message.lower()


def is_unchanged(error: TelegramError) -> bool:
    return isinstance(error, BadRequest) and "message is not modified" in error.message.lower()


def delivery_error(error: TelegramError, *, repeatable: bool) -> DeliveryError:
    """What a failed call means; `repeatable` is an edit, to be done again even when its fate is unknown."""
    if isinstance(error, BadRequest | Forbidden):
        return Undeliverable(reason(error))
    certain = (
        isinstance(error, RetryAfter | InvalidToken)
        or isinstance(error.__cause__, _NOTHING_LEFT)
        or error.message.startswith("Too Many Requests")
    )
    if certain or repeatable:
        return NotDelivered(reason(error), retry_after_seconds(error))
    return DeliveryUnknown(reason(error))
