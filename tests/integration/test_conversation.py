"""A message in, a reply that remembers out, through every room of the core."""

from datetime import UTC, datetime

import pytest

from bots.front_desk import FrontDesk
from bots.screen_outlet import ScreenOutlet
from core.app import App
from core.delivery.screen import Progress
from core.messages import ConversationKind, ConversationRef, IncomingMessage, Sender
from core.storage.database import new_id
from tests.conftest import lanes_running
from tests.processes import until
from tests.standins.model import ModelStandIn


class Talk:
    """Speaks to an app as the terminal does, and waits for its replies."""

    def __init__(self, app: App) -> None:
        self._app = app
        app.outlets["console"] = ScreenOutlet("console", app.screen)
        self.desk = FrontDesk(app.database, app.inbox, app.conversations, app.lanes)

    def message(
        self, name: str, text: str, conversation: str = "1", event: str | None = None
    ) -> IncomingMessage:
        key = f"{name}:{conversation}"
        return IncomingMessage(
            channel="console",
            workspace="local",
            event=event or new_id(),
            sender=Sender(name, name),
            conversation=ConversationRef(key, ConversationKind.DIRECT, {"key": key}),
            text=text,
            sent_at=datetime.now(UTC),
        )

    async def user_id(self, name: str) -> str:
        async with self._app.database.read() as connection:
            user = await self._app.people.find(connection, "console", "local", name)
        assert user is not None
        return user.id

    async def say(self, name: str, text: str, conversation: str = "1") -> Progress:
        accepted = await self.desk.accept(self.message(name, text, conversation))
        return await self.reply(accepted.inbox_id, name)

    async def reply(self, inbox_id: int, name: str) -> Progress:
        last = None
        async for progress in self._app.screen.follow(inbox_id, await self.user_id(name)):
            last = progress
        assert last is not None
        return last


async def is_told(app: App) -> bool:
    """Whether the index has heard of all that was said: that follows the reply by some milliseconds."""
    return await app.indexer.behind() == 0


@pytest.fixture
def talk(app: App) -> Talk:
    return Talk(app)


async def test_what_was_said_is_recalled_in_the_next_conversation(
    app: App, talk: Talk, model: ModelStandIn
) -> None:
    async with lanes_running(app):
        await talk.say("ana", "I'm Ana, I live in Porto and I'm allergic to peanuts")
        await until(lambda: is_told(app))
        reply = await talk.say("ana", "What am I allergic to?", conversation="2")
    recalled = [memory["text"] for memory in reply.account["memories"]]
    assert recalled == ["I'm Ana, I live in Porto and I'm allergic to peanuts"]
    assert "allergic to peanuts" in model.calls[-1]["messages"][-1]["content"]


async def test_another_person_recalls_nothing_of_it(app: App, talk: Talk, model: ModelStandIn) -> None:
    async with lanes_running(app):
        await talk.say("ana", "I'm Ana, I live in Porto and I'm allergic to peanuts")
        reply = await talk.say("ben", "What is Ana allergic to?")
    assert reply.account["memories"] == []
    assert "peanuts" not in str(model.calls[-1]["messages"])
