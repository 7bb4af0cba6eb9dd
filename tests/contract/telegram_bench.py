"""What the tests of the Telegram channel share: a desk that writes down, a channel beside its stand-in."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from bots.telegram.adapter import TelegramChannel
from core.errors import StoreUnavailable
from core.messages import Accepted, IncomingMessage
from core.settings import Settings
from tests.standins.telegram import TelegramStandIn

SECRET = "a-Secret_1"
NOTHING = "There is nothing in your message."


@dataclass
class RecordingDesk:
    """A desk in memory that keeps the promises of the real one: once per event, nothing blank."""

    messages: list[IncomingMessage] = field(default_factory=list)
    offered: Counter[str] = field(default_factory=Counter)
    unavailable: int = 0
    """How many of the next messages find the store away."""
    broken_by: str | None = None
    """A text that makes it fail in a way that it doesn't declare."""
    hold: asyncio.Event | None = None
    declined: list[tuple[str, str]] = field(default_factory=list)
    """Conversations, and what their people are told."""

    async def accept(self, message: IncomingMessage) -> Accepted:
        raise NotImplementedError("a platform can't be told that its message is invalid: it uses `take`")

    async def take(self, messages: Sequence[IncomingMessage]) -> Sequence[Accepted]:
        kept = len(self.messages), len(self.declined)
        try:
            return [await self._take(message) for message in messages]
        except Exception:
            del self.messages[kept[0] :], self.declined[kept[1] :]  # all or none
            raise

    async def _take(self, message: IncomingMessage) -> Accepted:
        self.offered[message.event] += 1
        if self.unavailable > 0:
            self.unavailable -= 1
            raise StoreUnavailable("away")
        if message.text and message.text == self.broken_by:
            raise ZeroDivisionError
        if not message.text and not message.enclosures:
            self.declined.append((message.conversation.external_id, NOTHING))
            return Accepted(0, message.conversation.external_id, duplicate=False)
        if self.hold is not None:
            await self.hold.wait()
        duplicate = message.event in self.events
        if not duplicate:
            self.messages.append(message)
        return Accepted(len(self.messages), message.conversation.external_id, duplicate)

    async def knows_conversation(self, channel: str, workspace: str, external_id: str) -> bool:
        return any(message.conversation.external_id == external_id for message in self.messages)

    @property
    def events(self) -> list[str]:
        return [message.event for message in self.messages]

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]


def settings_for(telegram: TelegramStandIn, **changes: Any) -> Settings:
    given: dict[str, Any] = {
        "telegram_bot_token": telegram.token,
        "telegram_api_base_url": telegram.url,
        "_env_file": None,
    }
    return Settings(**{**given, **changes})


def channel_for(
    telegram: TelegramStandIn,
    desk: RecordingDesk,
    **changes: Any,
) -> TelegramChannel:
    """A channel with short back-offs, not started; `changes` are to its settings."""
    return TelegramChannel(
        settings_for(telegram, **changes),
        desk,
        first_pause_seconds=0.02,
    )


@asynccontextmanager
async def serving(channel: TelegramChannel, port: int = 0) -> AsyncIterator[str]:
    """The channel's routes on loopback; gives the address."""
    app = web.Application()
    app.router.add_routes(channel.routes())
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def polling(
    telegram: TelegramStandIn, desk: RecordingDesk, **changes: Any
) -> AsyncIterator[TelegramChannel]:
    """A started channel in polling mode."""
    channel = channel_for(telegram, desk, **changes)
    await channel.start()
    try:
        yield channel
    finally:
        await channel.stop()
