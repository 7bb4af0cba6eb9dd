"""People who write to a bot on a stand-in platform, and stand-ins that note when they were called."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Protocol

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from telegram import Update

from bots.slack.mapping import Bot, read
from bots.telegram.adapter import WEBHOOK_PATH
from bots.telegram.mapping import BotAccount, to_incoming
from core.messages import IncomingMessage
from tests.benchmarks.ledger import Ledger, marked, marks
from tests.standins.model import ModelStandIn
from tests.standins.slack import SlackStandIn
from tests.standins.slack_delivery import HttpDelivery
from tests.standins.telegram import TelegramStandIn

FIRST_CHAT = 5_000_000
SECRET = "a-Secret_1"
WEBHOOK_CONNECTIONS = 100
"""The most that Telegram opens to one webhook."""
WEBHOOK_SECONDS = 60
MEMORY_END = "</memory>"


class Crowd(Protocol):
    """A platform with people on it, each of whom has a conversation with the bot."""

    name: str

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def serve_to(self, bots: Sequence[str]) -> None:
        """Sets the bots' addresses (`http://host:port`), which get events in turn."""
        ...

    def settings(self) -> dict[str, Any]:
        """What Mneme has to know of the platform."""
        ...

    def ask(self, text: str, conversation: int) -> None:
        """The person of the conversation writes this; never waits."""
        ...

    def incoming(self, conversation: int) -> IncomingMessage:
        """What Mneme would make of a message in the conversation; nobody is told of it."""
        ...


@dataclass
class TelegramCrowd(TelegramStandIn):
    """Private chats on Telegram. Updates are posted by as many connections as Telegram would open."""

    name: str = "telegram"
    ledger: Ledger = field(default_factory=Ledger)

    async def start(self, port: int = 0) -> None:
        await super().start(port)
        self._posting: set[asyncio.Task[None]] = set()
        self._session = ClientSession(
            connector=TCPConnector(limit=WEBHOOK_CONNECTIONS),
            timeout=ClientTimeout(total=WEBHOOK_SECONDS),
            headers={"X-Telegram-Bot-Api-Secret-Token": SECRET},
        )

    async def stop(self) -> None:
        await asyncio.gather(*self._posting)
        await self._session.close()
        await super().stop()

    def serve_to(self, bots: Sequence[str]) -> None:
        self._urls = cycle([url + WEBHOOK_PATH for url in bots])

    def settings(self) -> dict[str, Any]:
        return {
            "telegram_bot_token": self.token,
            "telegram_api_base_url": self.url,
            "telegram_mode": "webhook",
            "telegram_webhook_secret": SECRET,
        }

    def ask(self, text: str, conversation: int) -> None:
        update = self.say(FIRST_CHAT + conversation, text)
        self.pending.clear()
        posting = asyncio.create_task(self._post(next(self._urls), update))
        self._posting.add(posting)
        posting.add_done_callback(self._posting.discard)

    def incoming(self, conversation: int) -> IncomingMessage:
        update = self.say(FIRST_CHAT + conversation, "Hello")
        self.pending.clear()
        message = to_incoming(Update.de_json(update), BotAccount(self.bot_id, self.bot_username))
        assert message is not None
        return message

    async def _post(self, url: str, update: dict[str, Any]) -> None:
        try:
            async with self._session.post(url, json=update):
                return
        except (ClientError, TimeoutError):
            return  # the message stays unanswered, which is counted

    async def _on_call(self, request: web.Request) -> web.StreamResponse:
        began = time.monotonic()
        said = await request.text()
        chat = re.search(r"chat_id=(\d+)", said)
        self.ledger.hear(marks(said), began)
        try:
            return await super()._on_call(request)
        finally:
            if chat is not None:
                self.ledger.worked(int(chat[1]) - FIRST_CHAT, began, time.monotonic())


class SlackCrowd(SlackStandIn):
    """Direct messages in Slack. Slack tells the bot of its own messages and edits too, as it does."""

    name = "slack"

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(retry_seconds=3)
        self.ledger = ledger
        self._bots: list[HttpDelivery] = []

    async def start(self, port: int = 0) -> None:
        await super().start(port)

    async def stop(self) -> None:
        await super().stop()
        for bot in self._bots:
            await bot.close()

    def serve_to(self, bots: Sequence[str]) -> None:
        self._bots = [
            HttpDelivery(f"{url}/slack/events", self.signing_secret, retry_seconds=self._retry_seconds)
            for url in bots
        ]
        self._next_bot = cycle(self._bots)

    def settings(self) -> dict[str, Any]:
        return {
            "slack_bot_token": self.bot_token,
            "slack_signing_secret": self.signing_secret,
            "slack_api_base_url": self.api_base_url,
            "slack_mode": "http",
        }

    def ask(self, text: str, conversation: int) -> None:
        self.say(_channel(conversation), text, user=self._person(conversation))

    def incoming(self, conversation: int) -> IncomingMessage:
        event = {
            "type": "message",
            "user": self._person(conversation),
            "text": "Hello",
            "ts": self._next_ts(),
            "channel": _channel(conversation),
            "channel_type": "im",
        }
        heard = read(event, Bot(self.team_id, self.bot_user_id))
        assert heard is not None
        return heard

    def _person(self, conversation: int) -> str:
        person = f"U{conversation:07d}"
        self.users.setdefault(person, {"name": person, "locale": "en-US", "profile": {"real_name": person}})
        return person

    def _carrier(self) -> HttpDelivery:
        return next(self._next_bot)

    async def _call(self, request: web.Request) -> web.StreamResponse:
        began = time.monotonic()
        said = await request.text()
        named = re.search(r"\b[DU](\d{7})\b", said)
        self.ledger.hear(marks(said), began)
        try:
            return await super()._call(request)
        finally:
            if named is not None:
                self.ledger.worked(int(named[1]), began, time.monotonic())


def _channel(conversation: int) -> str:
    return f"D{conversation:07d}"


class PromptModel(ModelStandIn):
    """A model that answers at once, with the marks of what it was asked last."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger
        self.answer = lambda messages: " ".join(["Heard", *map(marked, _asked(messages))])

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        began = time.monotonic()
        try:
            return await super()._chat(request)
        finally:
            conversation = self.ledger.conversation_of(_asked((await request.json())["messages"]))
            if conversation is not None:
                self.ledger.worked(conversation, began, time.monotonic())


def _asked(messages: Sequence[dict[str, Any]]) -> list[int]:
    """The marks in the prompt's last message; what was recalled stands before them, and isn't meant."""
    return marks(messages[-1]["content"].rpartition(MEMORY_END)[2])
