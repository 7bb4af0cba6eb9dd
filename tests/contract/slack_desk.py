"""A front desk that writes down what it was handed, and the Slack channel in front of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from pydantic import SecretStr

from bots.slack.adapter import EVENTS_PATH, SlackChannel
from core.errors import InvalidMessage
from core.messages import Accepted, IncomingMessage
from core.settings import Settings
from tests.standins.slack import SlackStandIn


class RecordingDesk:
    """Accepts like the front desk: once per event; known are the conversations it has accepted from."""

    def __init__(self) -> None:
        self.handed: list[IncomingMessage] = []
        self.refusals: list[Exception] = []
        self.declined: list[tuple[IncomingMessage, str]] = []
        self.may_finish = asyncio.Event()
        self.may_finish.set()
        self._rows: dict[tuple[str, str, str], int] = {}

    @property
    def rows(self) -> int:
        return len(self._rows)

    async def accept(self, message: IncomingMessage) -> Accepted:
        raise NotImplementedError("a platform can't be told that its message is invalid: it uses `take`")

    async def take(self, messages: Sequence[IncomingMessage]) -> Sequence[Accepted]:
        (message,) = messages
        self.handed.append(message)
        await self.may_finish.wait()
        if self.refusals and not isinstance(self.refusals[0], InvalidMessage):
            raise self.refusals.pop(0)
        if self.refusals:
            self.declined.append((message, str(self.refusals.pop(0))))
            return [Accepted(0, message.conversation.external_id, duplicate=False)]
        key = (message.channel, message.workspace, message.event)
        duplicate = key in self._rows
        row = self._rows.setdefault(key, len(self._rows) + 1)
        return [Accepted(row, message.conversation.external_id, duplicate)]

    async def knows_conversation(self, channel: str, workspace: str, external_id: str) -> bool:
        return any(
            (message.channel, message.workspace, message.conversation.external_id)
            == (channel, workspace, external_id)
            for message in self.handed
        )


def settings_for(stand_in: SlackStandIn, **overrides: Any) -> Settings:
    """Settings that point at the stand-in with its own secrets."""
    values: dict[str, Any] = {
        "slack_bot_token": SecretStr(stand_in.bot_token),
        "slack_app_token": SecretStr(stand_in.app_token),
        "slack_signing_secret": SecretStr(stand_in.signing_secret),
        "slack_api_base_url": stand_in.api_base_url,
        "privacy_notice": False,
        **overrides,
    }
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]  # pydantic-settings takes it


@asynccontextmanager
async def served(channel: SlackChannel) -> AsyncIterator[str]:
    """The channel, started, its routes on loopback; yields the address for Slack's events."""
    app = web.Application()
    app.add_routes(channel.routes())
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    await channel.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}{EVENTS_PATH}"
    finally:
        await channel.stop()
        await runner.cleanup()
