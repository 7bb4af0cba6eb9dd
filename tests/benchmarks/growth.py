"""How long a recall takes as a memory grows, without embedding the question.

    python -m tests.benchmarks.growth [--sizes 1000,10000,100000] [--users 1000] [--each 100]

A real Chroma and a sealed record on SQLite, filled with made-up statements whose words are as unevenly
common as in speech (Zipf), and with vectors by chance. What is timed is what a reply waits for, less the
embedder: the index, the lexicon, the ranking, and the entries read back from the record and opened. *Cold* is
a person's first question to a process, for which their words are read; *warm* are those after it.

Beside it stands what a plain Chroma with one collection takes for the same vectors and questions, and what
the process holds in memory for the words.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.app import App, open_app
from core.llm.embedder import Vectors
from core.memory.changes import message_entry
from core.memory.indexing import Indexer, Place
from core.memory.lexicons import Lexicons
from core.memory.ranking import CANDIDATES
from core.memory.recall import RANKED, Recaller
from core.memory.transcript import TEXT
from core.messages import ConversationKind, ConversationRef, Sender
from core.privacy.vault import Vault
from core.settings import Settings
from core.storage.database import database_url, new_id, upgrade
from core.storage.index import Entry, IndexStamp, MemoryIndex
from core.storage.schema import messages, turns, users
from core.users.people import Admission
from tests.benchmarks.ledger import share
from tests.servers import chroma_server, redis_server

DIMENSIONS = 384
WORDS = 20_000
SENTENCE_WORDS = 12
QUESTION_WORDS = 6
QUESTIONS = 200
BATCH = 1_000
HELD_BYTES = 2**28
NOBODY = "http://127.0.0.1:9/v1"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Chance:
    """Words, and vectors in the place of an embedder's."""

    name = "chance"

    def __init__(self) -> None:
        self._random = np.random.default_rng(1)
        self._weights = 1 / np.arange(1, WORDS + 1)
        self._weights /= self._weights.sum()

    def sentence(self, words: int = SENTENCE_WORDS) -> str:
        return " ".join(f"word{n}" for n in self._random.choice(WORDS, words, p=self._weights)) + "."

    async def dimensions(self) -> int:
        return DIMENSIONS

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        made = self._random.normal(size=(len(texts), DIMENSIONS)).astype(np.float32)
        unit: Vectors = made / np.linalg.norm(made, axis=1, keepdims=True)
        return unit

    async def embed_query(self, text: str) -> Vectors:
        vector: Vectors = (await self.embed_passages([text]))[0]
        return vector

    async def aclose(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Row:
    """Milliseconds; `memory_mb` is what the process holds more for the words."""

    what: str
    cold: float
    warm: Sequence[float]
    memory_mb: float
    plain: Sequence[float] = ()


class Grown:
    """People with a memory of a size, and a recaller that asks the index with vectors by chance."""

    def __init__(self, app: App, chance: Chance) -> None:
        self._app = app
        self._chance = chance
        self._vault = Vault(app.master)
        settings = app.settings

        async def stamp() -> IndexStamp:
            return IndexStamp(chance.name, DIMENSIONS, settings.index_collections)

        assert settings.chroma_url is not None
        self._index = MemoryIndex(settings.chroma_url, stamp)
        parts = (app.database, self._index, chance, self._vault, app.master, app.transcript, app.memories)
        self._indexer = Indexer(
            *parts, app.bell, alone_over=settings.index_alone_over, at_hand_bytes=HELD_BYTES
        )
        self._recaller = Recaller(
            app.database,
            self._indexer,
            Lexicons(app.database, self._vault, kept_bytes=HELD_BYTES),
            app.transcript,
            app.memories,
            tokens=settings.recall_tokens,
        )

    async def check(self) -> None:
        """Stamps the new index, while there is nothing yet that it would have to be filled with."""
        await self._indexer.check()

    async def person(self, name: str, entries: int, *, plain: Any = None) -> str:
        """Somebody who said so many things, all of them indexed; also in the plain collection, if given."""
        async with self._app.database.write() as connection:
            user = await self._app.people.meet(
                connection, "paper", "", Sender(name, name), admitted=Admission.OPEN
            )
            reference = ConversationRef(name, ConversationKind.DIRECT, {"to": name})
            talk = await self._app.conversations.meet(connection, "paper", "", reference, user.id)
            ids = await self._told(connection, user.id, talk, entries)
            alone = entries > self._app.settings.index_alone_over
            if alone:
                mine = users.c.id == user.id
                await connection.execute(update(users).where(mine).values(index_place=Place.ALONE))
        for start in range(0, entries, BATCH):
            some = ids[start : start + BATCH]
            vectors = await self._chance.embed_passages(some)
            pseudonym = self._indexer.pseudonym(user.id)
            told = [
                Entry(message_entry(id), vector, "private") for id, vector in zip(some, vectors, strict=True)
            ]
            await self._index.put(pseudonym, told, alone=alone)
            if plain is not None:
                await asyncio.to_thread(plain.add, ids=some, embeddings=vectors)
        return user.id

    async def _told(
        self, connection: AsyncConnection, user_id: str, conversation_id: str, entries: int
    ) -> list[str]:
        box = await self._vault.box(connection, user_id)
        made = await connection.execute(
            insert(turns)
            .values(conversation_id=conversation_id, user_id=user_id, state="done", started_at=BEGIN)
            .returning(turns.c.id)
        )
        turn_id = made.scalar_one()
        ids = [_id_of(BEGIN + timedelta(minutes=place)) for place in range(entries)]
        rows = [
            {
                "id": id,
                "turn_id": turn_id,
                "conversation_id": conversation_id,
                "user_id": user_id,
                "position": place,
                "role": "user",
                "text_sealed": box.seal(self._chance.sentence(), TEXT),
                "said_at": BEGIN + timedelta(minutes=place),
                "audience": "private",
                "remembered": True,
            }
            for place, id in enumerate(ids)
        ]
        for start in range(0, entries, BATCH):
            await connection.execute(insert(messages), rows[start : start + BATCH])
        return ids

    async def ask(self, user_id: str) -> float:
        """Milliseconds that a recall takes."""
        question = self._chance.sentence(QUESTION_WORDS)
        began = time.perf_counter()
        found = await self._recaller.ranked(user_id, question, "private", limit=RANKED)
        took = 1000 * (time.perf_counter() - began)
        assert found
        return took


async def of_one(grown: Grown, chance: Chance, size: int, plain: Any) -> Row:
    user_id = await grown.person(f"one of {size}", size, plain=plain)
    before = psutil.Process().memory_info().rss
    cold = await grown.ask(user_id)
    held = psutil.Process().memory_info().rss - before
    warm = [await grown.ask(user_id) for _ in range(QUESTIONS)]
    beside = []
    for _ in range(QUESTIONS):
        vector = await chance.embed_query("")
        began = time.perf_counter()
        await asyncio.to_thread(plain.query, query_embeddings=[vector], n_results=CANDIDATES, include=[])
        beside.append(1000 * (time.perf_counter() - began))
    return Row(f"one person, {size:,}", cold, sorted(warm), held / 2**20, sorted(beside))


async def of_many(grown: Grown, users: int, each: int) -> Row:
    people = [await grown.person(f"person {n}", each) for n in range(users)]
    before = psutil.Process().memory_info().rss
    cold = sorted([await grown.ask(user_id) for user_id in people])
    held = psutil.Process().memory_info().rss - before
    warm = sorted([await grown.ask(user_id) for user_id in people])
    return Row(f"{users:,} people, {each} each", share(cold, 50), warm, held / 2**20)


def table(rows: Sequence[Row]) -> Table:
    shown = Table(title="A recall without embedding the question, ms")
    shown.add_column("memory")
    for name in ("cold", "warm p50", "warm p95", "plain Chroma p50", "p95", "words MB"):
        shown.add_column(name, justify="right")
    for row in rows:
        plain = [f"{share(row.plain, percent):.1f}" if row.plain else "-" for percent in (50, 95)]
        warm = [f"{share(row.warm, percent):.1f}" for percent in (50, 95)]
        shown.add_row(row.what, f"{row.cold:.1f}", *warm, *plain, f"{row.memory_mb:.0f}")
    return shown


async def run(console: Console, *, sizes: Sequence[int], users: int, each: int) -> list[Row]:
    busy = ", ".join(f"{load:.2f}" for load in os.getloadavg())
    console.print(f"{os.cpu_count()} cores; load before: {busy}")
    rows = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mneme-growth-")))
        chroma = stack.enter_context(chroma_server(folder))
        redis = stack.enter_context(redis_server(folder))
        settings = Settings.model_validate(
            {"mneme_data_dir": folder, "redis_url": redis, "chroma_url": chroma, "openai_base_url": NOBODY}
        )
        upgrade(database_url(settings))
        client = chromadb.HttpClient("127.0.0.1", int(chroma.rsplit(":", 1)[1]))
        async with open_app(settings) as app:
            chance = Chance()
            grown = Grown(app, chance)
            await grown.check()
            for size in sizes:
                plain = client.create_collection(f"plain-{size}", embedding_function=None)
                rows.append(await of_one(grown, chance, size, plain))
                console.print(table(rows[-1:]))
            if users:
                rows.append(await of_many(grown, users, each))
    console.print(table(rows))
    return rows


def _id_of(moment: datetime) -> str:
    """An id as if made then: a lexicon looks the newest ids through again."""
    return f"{int(moment.timestamp() * 1000):012x}" + new_id()[12:]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes", type=lambda text: [int(n) for n in text.split(",") if n], default=[1_000, 10_000, 100_000]
    )
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--each", type=int, default=100)
    given = parser.parse_args()
    asyncio.run(run(Console(width=120), sizes=given.sizes, users=given.users, each=given.each))
