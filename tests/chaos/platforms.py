"""The world outside, in the machine's own process: Telegram, Slack, the model, and what people see."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tests.chaos.postman import TELEGRAM_SECRET, Postman
from tests.chaos.words import Said, answer, extract, sentence
from tests.standins.model import ModelStandIn
from tests.standins.slack import SlackStandIn
from tests.standins.telegram import TelegramStandIn
from tests.standins.telegram_chats import person

HANG_SECONDS = 2.0
PIECE_SECONDS = 0.01
MODEL_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Place:
    """Where somebody writes: a Telegram chat, or a Slack channel, in a thread of their own."""

    chat: str
    people: tuple[str, ...]

    @property
    def is_telegram(self) -> bool:
        return self.chat.lstrip("-").isdigit()

    @property
    def is_direct(self) -> bool:
        return self.chat[0] not in "-C"


PLACES = (
    Place("1001", ("1001",)),
    Place("1002", ("1002",)),
    Place("1003", ("1003",)),
    Place("-2001", ("1001", "1002")),
    Place("D1", ("UANA",)),
    Place("D2", ("UBEN",)),
    Place("C1", ("UANA", "UBEN")),
)


@dataclass
class Platforms:
    """The stand-ins, all that was said there, and the way to the bots once there is a `postman`."""

    telegram: TelegramStandIn
    slack: SlackStandIn
    model: ModelStandIn
    said: list[Said] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    """Each write that was done, a line each: what to look at when something is wrong."""
    postman: Postman | None = None

    def see(self, request: web.Request, given: dict[str, Any]) -> None:
        """Notes a write that a platform has done."""
        if "text" in given:
            chat = given.get("chat_id", given.get("channel"))
            number = given.get("message_id", given.get("ts", "new"))
            asker = request.transport.get_extra_info("peername")[1] if request.transport else 0
            now = datetime.now(UTC).time().isoformat("milliseconds")
            text = str(given["text"])
            self.seen.append(f"{now} {asker} {chat} {number} {len(text)} {text[:40]!r} ... {text[-20:]!r}")

    def settings(self) -> dict[str, object]:
        """What makes a Mneme use them."""
        return {
            "telegram_bot_token": self.telegram.token,
            "telegram_api_base_url": self.telegram.url,
            "telegram_mode": "webhook",
            "telegram_webhook_secret": TELEGRAM_SECRET,
            "slack_bot_token": self.slack.bot_token,
            "slack_api_base_url": self.slack.api_base_url,
            "slack_mode": "http",
            "slack_signing_secret": self.slack.signing_secret,
            "openai_base_url": self.model.base_url,
            "openai_api_key": self.model.key,
            "openai_model": self.model.model,
            "embedding_model": self.model.embedding_model,
            "model_timeout_seconds": MODEL_PATIENCE_SECONDS,
            "access": "open",
            "reply_tokens": 4_000,
        }

    def open_to(self, doors: tuple[str, ...], seed: str) -> Postman:
        """Connects the platforms with the bots."""
        self.postman = Postman(doors, random.Random(f"{seed} post"), self.slack.signing_secret)
        self.slack.carrier = self.postman
        return self.postman

    async def say(self, place: Place, who: str, token: str) -> Said:
        """Somebody writes the sentence of the token; returns when a bot has taken it."""
        said = self._said(place, who, token)
        while said.acknowledged == float("inf"):
            await asyncio.sleep(0.02)
        return said

    def shown(self, chat: str) -> list[str]:
        """What the bot's messages in a chat, or thread, show now, oldest first."""
        if chat.lstrip("-").isdigit():
            return [message.text for message in self.telegram.chat(int(chat)).from_bot]
        channel, _, thread = chat.partition(":")
        return [posted.shown for posted in self.slack.from_bot(channel, thread or None)]

    def _said(self, place: Place, who: str, token: str) -> Said:
        assert self.postman is not None
        if place.is_telegram:
            return self._on_telegram(self.postman, int(place.chat), who, token)
        mention = "" if place.is_direct else f"{self.slack.mention} "
        thread = None if place.is_direct else self._thread(place.chat)
        fields: dict[str, Any] = {"thread_ts": thread} if thread else {}
        ts = self.slack.say(place.chat, mention + sentence(token), user=who, **fields)
        root = "" if place.is_direct else f":{thread or ts}"
        said = Said(token, place.chat + root, f"{place.chat}:{ts}")
        # The events are under way as tasks, which haven't run yet.
        self.postman.expect(said)
        self.said.append(said)
        return said

    def _on_telegram(self, postman: Postman, chat_id: int, who: str, token: str) -> Said:
        text = sentence(token) if chat_id > 0 else f"@{self.telegram.bot_username} {sentence(token)}"
        update = self.telegram.say(chat_id, text, user=person(int(who), f"Person {who}"))
        self.telegram.pending.remove(update)
        said = Said(token, str(chat_id), f"{chat_id}:{update['message']['message_id']}")
        self.said.append(said)
        postman.bring_update(update, said)
        return said

    def _thread(self, channel: str) -> str | None:
        """The channel's one thread, once somebody has begun it."""
        roots = (m.ts for m in self.slack.messages.values() if m.channel == channel and m.thread_ts is None)
        return next(roots, None)


@asynccontextmanager
async def the_platforms() -> AsyncIterator[Platforms]:
    """All three, serving, in fair weather."""
    platforms = Platforms(TelegramStandIn(), SlackStandIn(), ModelStandIn())
    platforms.telegram.hang_seconds = platforms.slack.hang_seconds = HANG_SECONDS
    platforms.telegram.witness = platforms.slack.witness = platforms.see
    platforms.slack.retry_after_seconds = 1
    platforms.model.answer, platforms.model.extract = answer, extract
    platforms.model.piece_seconds = PIECE_SECONDS
    try:
        await platforms.telegram.start()
        await platforms.slack.start()
        await platforms.model.start()
        yield platforms
    finally:
        if platforms.postman is not None:
            await platforms.postman.close()
        await platforms.model.stop()
        await platforms.slack.stop()
        await platforms.telegram.stop()
