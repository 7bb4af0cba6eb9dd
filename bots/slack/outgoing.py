"""The way out to Slack: open a message once, then edit it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from slack_sdk.errors import SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack import rendering
from bots.slack.mapping import CHANNEL
from bots.slack.refusals import TROUBLE, delivery_error, refusal, rejects_blocks
from core.delivery.outlet import Pace
from core.errors import DeliveryUnknown
from core.storage.pacer import Limit

METADATA_EVENT = "mneme_delivery"
GATHER_SECONDS = 0.7
IN_A_SECOND = 1
"""What Slack takes in one channel."""
SEARCH_MARGIN_SECONDS = 120
"""How long before a message was noted as sent it may have been posted, by Slack's clock."""
SEARCH_PAGE = 100
SEARCH_PAGES = 5
_HINT_SECONDS = 2.0
_HINTS_IMPOSSIBLE = frozenset({"missing_scope", "not_allowed_token_type", "unknown_method"})


class SlackOutlet:
    """Writes to one workspace. Every message carries its delivery's id in Slack's message metadata.

    `poster` opens messages, `web` does the rest.
    """

    def __init__(self, web: AsyncWebClient, poster: AsyncWebClient) -> None:
        self._web = web
        self._poster = poster
        self._hints = True

    @property
    def name(self) -> str:
        return CHANNEL

    @property
    def pace(self) -> Pace:
        return Pace(edit_interval_seconds=1.0, gather_seconds=GATHER_SECONDS)

    def limits(self, address: Mapping[str, str], *, live: bool) -> Sequence[Limit]:
        return [Limit(f"{CHANNEL}:{address['channel']}", IN_A_SECOND, 1.0)]

    def split(self, text: str) -> list[str]:
        return rendering.split(text)

    async def show_thinking(self, address: Mapping[str, str]) -> None:
        """Shows a status in a thread, where the app may; Slack has none elsewhere."""
        if not self._hints or "thread_ts" not in address:
            return
        try:
            await asyncio.wait_for(
                self._web.assistant_threads_setStatus(
                    channel_id=address["channel"], thread_ts=address["thread_ts"], status="is thinking…"
                ),
                _HINT_SECONDS,
            )
        except TROUBLE as error:
            self._hints = refusal(error) not in _HINTS_IMPOSSIBLE

    async def open(
        self, address: Mapping[str, str], text: str, *, reply_to: str | None, delivery_id: int, final: bool
    ) -> str:
        """Posts one message and returns its `ts`. `reply_to` is unused: the address names the thread."""
        call = {
            "channel": address["channel"],
            "unfurl_links": False,
            "unfurl_media": False,
            "metadata": {"event_type": METADATA_EVENT, "event_payload": {"delivery_id": delivery_id}},
        }
        if "thread_ts" in address:
            call["thread_ts"] = address["thread_ts"]
        ts = await _written(self._poster.chat_postMessage, call, text, repeatable=False)
        if not ts:
            raise DeliveryUnknown("slack: no ts")
        return ts

    async def edit(
        self, address: Mapping[str, str], platform_id: str, text: str, *, delivery_id: int, final: bool
    ) -> None:
        call = {"channel": address["channel"], "ts": platform_id}
        await _written(self._web.chat_update, call, text, repeatable=True)

    async def find(self, address: Mapping[str, str], delivery_id: int, sent_at: datetime) -> str | None:
        """Looks for the delivery's id in the metadata of what was posted there since."""
        call: dict[str, Any] = {
            "channel": address["channel"],
            "oldest": str(sent_at.timestamp() - SEARCH_MARGIN_SECONDS),
            "include_all_metadata": True,
            "limit": SEARCH_PAGE,
        }
        method: Callable[..., Awaitable[Any]] = self._web.conversations_history
        if "thread_ts" in address:
            method, call["ts"] = self._web.conversations_replies, address["thread_ts"]
        for _ in range(SEARCH_PAGES):
            try:
                page = await method(**call)
            except TROUBLE as error:
                if refusal(error):
                    raise DeliveryUnknown(f"slack: {refusal(error)}") from None
                raise delivery_error(error, repeatable=True) from None
            for message in page.get("messages") or ():
                if _delivery_of(message) == delivery_id:
                    return str(message["ts"])
            call["cursor"] = (page.get("response_metadata") or {}).get("next_cursor")
            if not call["cursor"]:
                return None
        raise DeliveryUnknown("slack: too much was posted there since")


def _delivery_of(message: Mapping[str, Any]) -> int | None:
    metadata = message.get("metadata") or {}
    if metadata.get("event_type") != METADATA_EVENT:
        return None
    found: int | None = (metadata.get("event_payload") or {}).get("delivery_id")
    return found


async def _written(
    method: Callable[..., Awaitable[Any]], call: Mapping[str, Any], text: str, *, repeatable: bool
) -> str:
    """Makes the call, a second time in plain sections where Slack rejects the block; returns the `ts`."""
    try:
        try:
            answer = await method(**call, **rendering.content(text))
        except SlackClientError as error:
            if not rejects_blocks(error):
                raise
            answer = await method(**call, **rendering.plain_content(text))
    except TROUBLE as error:
        raise delivery_error(error, repeatable=repeatable) from None
    ts = answer.get("ts")
    return ts if isinstance(ts, str) else ""
