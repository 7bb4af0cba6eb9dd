"""Telegram, from a real bot process to a server that stands in for the platform."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.reply.commands import WELCOME
from core.reply.door_commands import PRIVATE_DOOR, WRONG_CODE
from core.settings import Settings
from core.storage.database import database_url, upgrade
from tests.conftest import make_settings
from tests.processes import Mneme, a_mneme, until
from tests.standins.model import ModelStandIn, say_back
from tests.standins.telegram import TelegramStandIn
from tests.standins.telegram_chats import Json, person

ANA, BEN = 1001, 1002
GROUP, OTHER_GROUP = -2001, -2002
SECRET = "a-Secret_1"
WITHIN_SECONDS = 60.0


@dataclass
class Scene:
    """A Mneme that serves, the platform it is on, and the model it asks."""

    mneme: Mneme
    telegram: TelegramStandIn
    model: ModelStandIn
    database: Path

    async def says(self, text: str, *, chat: int = ANA, who: int = ANA) -> str:
        """What the bot's whole answer is; in a group the bot is mentioned."""
        before = len(self.telegram.chat(chat).from_bot)
        update = self.telegram.say(chat, self._addressed(text, chat), user=person(who))
        await until(lambda: len(self.telegram.chat(chat).from_bot) > before, WITHIN_SECONDS)
        await self.answered()
        assert len(self.telegram.chat(chat).from_bot) == before + 1
        await until(lambda: update not in self.telegram.pending, WITHIN_SECONDS)
        return self.telegram.chat(chat).from_bot[-1].text

    async def answered(self) -> None:
        """Waits until nothing waits to be answered."""
        await until(lambda: not self.rows("SELECT id FROM turns WHERE finished_at IS NULL"), WITHIN_SECONDS)

    async def let_in(self, chat: int = ANA) -> None:
        code = (await self.mneme.command("code")).stdout.strip()
        assert (await self.says(f"/start {code}", chat=chat, who=chat)).startswith(plain(WELCOME))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database, timeout=30)) as connection:
            return connection.execute(query).fetchall()

    def _addressed(self, text: str, chat: int) -> str:
        return text if chat > 0 else f"@{self.telegram.bot_username} {text}"


@asynccontextmanager
async def a_scene(settings: Settings, folder: Path, model: ModelStandIn) -> AsyncIterator[Scene]:
    """Nothing is started yet but the platform."""
    telegram = TelegramStandIn()
    await telegram.start()
    database = folder / "mneme.db"
    chosen = settings.model_dump(exclude_unset=True) | {
        "database_url": f"sqlite:///{database}",
        "mneme_data_dir": folder / "data",
        "telegram_bot_token": telegram.token,
        "telegram_api_base_url": telegram.url,
    }
    whole = make_settings(**chosen)
    upgrade(database_url(whole))
    async with a_mneme(whole, folder) as mneme:
        yield Scene(mneme, telegram, model, database)
    await telegram.stop()


@pytest.fixture(scope="module")
async def model_server() -> AsyncIterator[ModelStandIn]:
    server = ModelStandIn()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def model(model_server: ModelStandIn) -> ModelStandIn:
    model_server.answer, model_server.piece_seconds = say_back, 0.0
    model_server.calls.clear()
    return model_server


@pytest.fixture(scope="module")
def stores(redis_url: str, chroma_url: str, model_server: ModelStandIn) -> Settings:
    return make_settings(
        redis_url=redis_url,
        chroma_url=chroma_url,
        openai_base_url=model_server.base_url,
        openai_api_key=model_server.key,
        openai_model=model_server.model,
    )


def prompt_of(model: ModelStandIn) -> str:
    return str(model.calls[-1]["messages"])


# Polling


@pytest.fixture(scope="module")
async def scene(
    stores: Settings, model_server: ModelStandIn, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    async with a_scene(stores, tmp_path_factory.mktemp("polling"), model_server) as made:
        await made.mneme.serve()
        yield made


async def test_the_code_comes_first(scene: Scene, model: ModelStandIn) -> None:
    stranger = 3001
    assert await scene.says("Hello?", chat=stranger, who=stranger) == plain(PRIVATE_DOOR)
    assert await scene.says("/start AAAA", chat=stranger, who=stranger) == WRONG_CODE
    assert not model.calls
    await scene.let_in(stranger)
    assert (await scene.says("Hello!", chat=stranger, who=stranger)).endswith("Hello!")
    assert len(model.calls) == 1


async def test_a_reply_grows_in_one_message_while_typing_is_shown(scene: Scene, model: ModelStandIn) -> None:
    await scene.let_in()
    words = " ".join(f"word{number}" for number in range(30))
    model.answer, model.piece_seconds = lambda messages: words, 0.2
    sent = len(scene.telegram.calls_of("sendMessage"))
    assert await scene.says("Tell me") == words
    earlier = scene.telegram.chat(ANA).from_bot[-1].history
    assert earlier
    assert all(words.startswith(text.removesuffix("…").strip()) for text in earlier)
    assert len(scene.telegram.calls_of("sendMessage")) == sent + 1
    typing = [call.params for call in scene.telegram.calls_of("sendChatAction")]
    assert (str(ANA), "typing") in [(str(params["chat_id"]), params["action"]) for params in typing]


async def test_a_group_hears_only_what_was_said_there(scene: Scene, model: ModelStandIn) -> None:
    await scene.let_in()
    await scene.says("I'm allergic to peanuts")
    await scene.says("Our meeting room is Atlas", chat=GROUP)
    await scene.says("/reset", chat=GROUP)
    await scene.says("Where is our meeting room?", chat=GROUP)
    assert "Atlas" in prompt_of(model)
    await scene.says("What am I allergic to? Where is our meeting room?", chat=GROUP)
    assert "peanuts" not in prompt_of(model)
    await scene.says("What am I allergic to? Where is our meeting room?", chat=OTHER_GROUP)
    assert not any(word in prompt_of(model) for word in ("peanuts", "Atlas"))
    await scene.let_in(BEN)
    await scene.says("What is Ana allergic to? Where is the meeting room?", chat=BEN, who=BEN)
    assert not any(word in prompt_of(model) for word in ("peanuts", "Atlas"))
    await scene.says("/reset")
    await scene.says("What am I allergic to?")
    assert "peanuts" in prompt_of(model)


async def test_a_stop_amid_a_long_reply_is_taken_up_in_the_same_message(
    scene: Scene, model: ModelStandIn
) -> None:
    await scene.let_in()
    words = " ".join(f"word{number}" for number in range(400))
    model.answer, model.piece_seconds = lambda messages: words, 0.5
    before = len(scene.telegram.chat(ANA).from_bot)
    scene.telegram.say(ANA, "Tell me a lot")
    await until(lambda: len(scene.telegram.chat(ANA).from_bot) > before, WITHIN_SECONDS)
    process = scene.mneme.processes[-1]
    process.terminate()
    assert await asyncio.to_thread(process.wait, 60) == 0, scene.mneme.log()
    scene.telegram.say(ANA, "And more", user=person(ANA))
    model.piece_seconds = 0.0
    await scene.mneme.serve()
    await until(lambda: len(scene.telegram.chat(ANA).from_bot) > before + 1, WITHIN_SECONDS)
    await scene.answered()
    assert [shown.text for shown in scene.telegram.chat(ANA).from_bot[before:]] == [words, words]


# Webhook


@pytest.fixture(scope="module")
async def hooked(
    stores: Settings, model_server: ModelStandIn, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    given = {"telegram_mode": "webhook", "telegram_webhook_secret": SECRET, "access": "open"}
    settings = make_settings(**stores.model_dump(exclude_unset=True) | given)
    async with a_scene(settings, tmp_path_factory.mktemp("webhook"), model_server) as made:
        url = {"public_url": made.mneme.url}
        made.mneme.settings = make_settings(**made.mneme.settings.model_dump(exclude_unset=True) | url)
        await made.mneme.serve()
        yield made


async def test_the_same_update_three_times_at_once_is_answered_once(
    hooked: Scene, model: ModelStandIn
) -> None:
    update = unasked(hooked.telegram, 4001, "Once, please")
    async with httpx.AsyncClient(base_url=hooked.mneme.url, timeout=WITHIN_SECONDS) as client:
        posts = (
            client.post("/telegram/webhook", json=update, headers={"X-Telegram-Bot-Api-Secret-Token": SECRET})
            for _ in range(3)
        )
        answers = await asyncio.gather(*posts)
        assert [answer.status_code for answer in answers] == [200] * 3
        forged = await client.post("/telegram/webhook", json=update)
        assert forged.status_code == 401
    chat = hooked.telegram.chat(4001)
    await until(lambda: chat.from_bot, WITHIN_SECONDS)
    await hooked.answered()
    # A later message is answered after whatever else the earlier one could have caused.
    assert (await hooked.says("Next", chat=4001, who=4001)).endswith("Next")
    assert [shown.text for shown in chat.from_bot] == ["You said: Once, please", "You said: Next"]
    assert len(model.calls) == 2


async def test_an_update_that_finds_the_record_locked_comes_again(hooked: Scene, model: ModelStandIn) -> None:
    assert (await hooked.says("Hello", chat=4002, who=4002)).endswith("Hello")
    with closing(sqlite3.connect(hooked.database, isolation_level=None, timeout=30)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        update = hooked.telegram.say(4002, "Are you there?")
        await until(lambda: (update["update_id"], 503) in hooked.telegram.deliveries, WITHIN_SECONDS)
        lock.execute("ROLLBACK")
    await until(lambda: (update["update_id"], 200) in hooked.telegram.deliveries, WITHIN_SECONDS)
    chat = hooked.telegram.chat(4002)
    await until(lambda: len(chat.from_bot) == 2, WITHIN_SECONDS)
    await hooked.answered()
    assert [shown.text for shown in chat.from_bot] == ["You said: Hello", "You said: Are you there?"]


def unasked(telegram: TelegramStandIn, chat_id: int, text: str) -> Json:
    """An update that the test delivers itself, instead of the platform."""
    update = telegram.say(chat_id, text)
    telegram.pending.remove(update)
    return update


def plain(text: str) -> str:
    """The text as Telegram shows it: its marks are entities there."""
    return text.replace("`", "")
