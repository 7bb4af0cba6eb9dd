"""People who tell things, and a model that reads a given list of claims out of what they said."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import chromadb
import pytest
from sqlalchemy import select

from core.app import App
from core.clock import Clock
from core.delivery.screen import ACCOUNT
from core.llm.embedder import Embedder
from core.memory.claims import Memory
from core.memory.indexing import Indexer
from core.memory.jobs import JobState
from core.memory.recall import Recall
from core.messages import ConversationKind
from core.privacy.vault import Vault
from core.settings import Settings
from core.storage.index import MemoryIndex
from core.storage.schema import inbox, jobs, turns
from tests.conftest import lanes_running
from tests.integration.conftest import House, a_house
from tests.standins.model import ModelStandIn, read_claim
from tests.standins.paper import CHANNEL, WORKSPACE, letter

Body = dict[str, Any]

ONE_DATABASE = pytest.mark.parametrize("database_kind", ["sqlite"])
"""For tests of what doesn't differ between the databases."""


def asked_for(body: Body) -> str:
    """What a call to the model asks for: "memories", "summary", "reflection"; "" for a reply."""
    named: str = body.get("response_format", {}).get("json_schema", {}).get("name", "")
    return named


def is_page(body: Body) -> bool:
    """Whether a call to the model asks for memories."""
    return asked_for(body) == "memories"


def is_reflection(body: Body) -> bool:
    """Whether a call to the model asks to look through memories."""
    return asked_for(body) == "reflection"


def is_fold(body: Body) -> bool:
    """Whether a call to the model asks for a summary."""
    return asked_for(body) == "summary"


def reader(*claims: tuple[str, str]) -> Callable[[Body], str]:
    """Answers pages with those of the (quote, text) claims whose quote stands in a numbered line."""

    def read(body: Body) -> str:
        if is_fold(body):
            return json.dumps({"summary": "They talked about tea."})
        page = body["messages"][-1]["content"]
        numbered = re.findall(r"^\[(\d+)\] \(\d{4}-\d\d-\d\d\) (.*)$", page, re.MULTILINE)
        found = [
            read_claim(int(number), quote, text)
            for number, said in numbered
            for quote, text in claims
            if quote in said
        ]
        return json.dumps({"memories": found})

    return read


@dataclass
class People:
    """Those who write to a house; `say` waits for the reply."""

    house: House
    model: ModelStandIn

    @property
    def app(self) -> App:
        return self.house.app

    async def say(self, text: str, **given: Any) -> str:
        """What the platform shows as the reply."""
        await self.house.accept(text, **given)
        await self.house.settled()
        return self.house.paper.shown[-1] if self.house.paper.shown else ""

    async def say_all(self, *texts: str, **given: Any) -> None:
        """Each a turn of its own."""
        for text in texts:
            await self.say(text, **given)

    async def say_in_group(self, text: str, *, group: str = "group-1", **given: Any) -> str:
        return await self.say(text, conversation=group, kind=ConversationKind.GROUP, **given)

    async def send(self, text: str, enclosures: tuple[Any, ...], **given: Any) -> None:
        await self.house.take(replace(letter(text, **given), enclosures=enclosures))
        await self.house.settled()

    async def work(self) -> None:
        """Does the jobs that are due, and those that these make due."""
        await self.house.work()

    async def id(self, person: str = "ana") -> str:
        async with self.app.database.read() as connection:
            user = await self.app.people.find(connection, CHANNEL, WORKSPACE, person)
        assert user is not None
        return user.id

    async def memories(self, person: str = "ana", *, audience: str | None = None) -> list[Memory]:
        user_id = await self.id(person)
        async with self.app.database.read() as connection:
            return await self.app.memories.of_user(connection, user_id, audience=audience)

    async def texts(self, person: str = "ana") -> list[str]:
        return [memory.text for memory in await self.memories(person)]

    async def recalled(self, question: str, person: str = "ana", audience: str = "private") -> list[str]:
        """What recall finds, asked directly."""
        found = await self.recall(question, person, audience)
        assert not found.resting
        return [memory.text for memory in found.memories]

    async def recall(self, question: str, person: str = "ana", audience: str = "private") -> Recall:
        return await self.app.recaller.find(await self.id(person), question, audience, known=())

    async def account(self) -> dict[str, Any]:
        """What the newest turn's account says of it."""
        row = (await self.house.rows(turns))[-1]
        async with self.app.database.read() as connection:
            box = await Vault(self.app.master).box(connection, row.user_id)
        return box.open_json(row.account_sealed, ACCOUNT)

    async def job_states(self) -> list[str]:
        return [row.state for row in await self.house.rows(jobs)]

    async def waiting(self) -> int:
        return len([state for state in await self.job_states() if state == JobState.WAITING])

    async def conversation_id(self, person: str = "ana") -> str:
        async with self.app.database.read() as connection:
            user_id = await self.id(person)
            found = await connection.scalar(select(inbox.c.conversation_id).where(inbox.c.user_id == user_id))
        assert found is not None
        return str(found)

    def prompts(self) -> list[list[dict[str, str]]]:
        """Of replies, oldest first."""
        return [call["messages"] for call in self.model.calls if "response_format" not in call]

    def pages(self) -> list[str]:
        """What extraction showed to the model, oldest first."""
        return [call["messages"][-1]["content"] for call in self.model.calls if is_page(call)]


def index_entries(app: App) -> dict[str, Any]:
    """All that stands in Chroma for this app's index, by id, asked of it directly: metadata and vector."""
    url = app.settings.chroma_url or ""
    host, port = url.removeprefix("http://").split(":")
    client = chromadb.HttpClient(host, int(port))
    found: dict[str, Any] = {}
    for collection in client.list_collections():
        rows = collection.get(include=["metadatas", "embeddings", "documents"])
        assert not any(rows["documents"] or ())
        vectors: Any = rows["embeddings"]
        for place, id in enumerate(rows["ids"]):
            found[id] = ((rows["metadatas"] or [])[place], vectors[place])
    return found


def an_indexer(app: App, *, alone_over: int, index: MemoryIndex | None = None, embedder: Embedder) -> Indexer:
    """Another process's, on the app's record."""
    record = (app.database, index or app.index, embedder, Vault(app.master), app.master)
    return Indexer(
        *record, app.transcript, app.memories, app.bell, alone_over=alone_over, at_hand_bytes=2**20
    )


@asynccontextmanager
async def people_of(
    settings: Settings, model: ModelStandIn, clock: Clock | None = None
) -> AsyncIterator[People]:
    """A house on these settings, open to everybody, at work."""
    async with a_house(settings, clock) as house, lanes_running(house.app):
        yield People(house, model)
