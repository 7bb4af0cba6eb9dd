"""The overview: a user's memory a page at a time, for the one who looks through it."""

import asyncio
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import structlog
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.memory.claims import TEXT, Kind, Memories, Memory
from core.memory.openings import Openings
from core.memory.recall import LEAST_SHARE, SAID, TROUBLE, Recaller
from core.memory.transcript import TEXT as MESSAGE_TEXT
from core.memory.transcript import Line, Transcript
from core.privacy.audience import PRIVATE
from core.privacy.vault import Box, Vault
from core.storage.database import Database
from core.storage.schema import memories, messages, sources

RANKED = 30
MAX_FOUND = 100
"""So many entries a search shows: who sees more has searched for too little."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Held:
    """A memory with what it came in the place of, latest first, and the messages that it rests on, by id.

    `is_open`: the person lets a group know it, though they said it elsewhere.
    """

    memory: Memory
    before: tuple[Memory, ...]
    said: Mapping[str, Line]
    is_open: bool


@dataclass(frozen=True, slots=True)
class Topic:
    """The memories of one kind: how many there are, and the newest of them, newest first."""

    kind: Kind
    count: int
    newest: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One page of a longer list: its entries, newest first, and of how many it is."""

    entries: tuple[Held, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, best first; `resting` when the index couldn't be asked, and only words counted."""

    entries: tuple[Held | Line, ...]
    resting: bool


class Overview:
    """Reads one user's memory for that user alone: all audiences, retired memories where it is history."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        transcript: Transcript,
        memories: Memories,
        openings: Openings,
        recaller: Recaller,
    ) -> None:
        self._database = database
        self._vault = vault
        self._transcript = transcript
        self._memories = memories
        self._openings = openings
        self._recaller = recaller

    async def topics(self, user_id: str, *, each: int) -> list[Topic]:
        """What holds now by kind, in the order of `Kind`, with the newest of each."""
        async with self._database.read() as connection:
            by_kind = await self._by_kind(connection, user_id)
            wanted = [id for ids in by_kind.values() for id in ids[:each]]
            held = {one.memory.id: one for one in await self._held(connection, user_id, wanted)}
        return [
            Topic(kind, len(ids), tuple(held[id] for id in ids[:each] if id in held))
            for kind, ids in by_kind.items()
        ]

    async def of_kind(self, user_id: str, kind: Kind, *, offset: int, limit: int) -> Leaf:
        """What holds now of one kind."""
        async with self._database.read() as connection:
            ids = (await self._by_kind(connection, user_id)).get(kind, [])
            held = await self._held(connection, user_id, ids[offset : offset + limit])
        return Leaf(tuple(held), len(ids))

    async def timeline(self, user_id: str, *, offset: int, limit: int) -> Leaf:
        """What holds and what held, by when it began to; without what only became part of another memory."""
        mine = _told(user_id)
        order = (memories.c.valid_from.desc(), memories.c.id.desc())
        ids = select(memories.c.id).where(mine).order_by(*order).offset(offset).limit(limit)
        async with self._database.read() as connection:
            count = await connection.scalar(select(func.count()).select_from(memories).where(mine))
            page = (await connection.scalars(ids)).all()
            held = await self._held(connection, user_id, page, retired=True)
        return Leaf(tuple(held), count or 0)

    async def search(self, user_id: str, words: str) -> Found:
        """What bears on the words by the index, then what has them all as they stand, retired ones too."""
        resting, ranked = False, []
        try:
            ranked = await self._recaller.ranked(user_id, words, PRIVATE, limit=RANKED)
        except TROUBLE as error:
            log.warning("search_without_index", reason=type(error).__name__)
            resting = True
        if not any(each.fits for each in ranked):
            ranked = []
        ranked = [each for each in ranked if each.score >= LEAST_SHARE * ranked[0].score]
        async with self._database.read() as connection:
            claims, lines = await self._having(connection, user_id, words)
            said = list(dict.fromkeys([*(each.id for each in ranked if each.kind == SAID), *lines]))
            claims = [*(each.id for each in ranked if each.kind != SAID), *claims]
            for memory in await self._memories.resting_on(connection, user_id, said):
                claims += [] if memory.is_merged_away else [memory.id]
            held = await self._held(connection, user_id, list(dict.fromkeys(claims)), retired=True)
            # A message stands for itself only where no memory stands for it.
            cited = {source.message_id for one in held for source in one.memory.sources}
            alone = [id for id in said if id not in cited]
            found = await self._transcript.of_user(connection, user_id, alone, remembered=True)
        entries: list[Held | Line] = [*held, *(found[id] for id in alone if id in found)]
        places = {each.id: place for place, each in enumerate(ranked)}
        entries.sort(key=lambda entry: min(places.get(id, RANKED) for id in _ids(entry)))
        return Found(tuple(entries[:MAX_FOUND]), resting)

    async def attached(
        self, connection: AsyncConnection, user_id: str, found: Sequence[Memory]
    ) -> list[Held]:
        """The memories with their history, their messages and who else may know them."""
        earlier = await self._memories.before(connection, user_id, [each.id for each in found])
        replaced = {
            id: sorted(each, key=lambda memory: memory.valid_from, reverse=True)
            for id, each in groupby(sorted(earlier, key=_came_after), key=_came_after)
        }
        cited = {source.message_id for memory in found for source in memory.sources}
        lines = await self._transcript.of_user(connection, user_id, cited)
        opened = await self._openings.of_user(connection, user_id)
        return [
            Held(
                memory,
                tuple(_before(memory, replaced)),
                {s.message_id: lines[s.message_id] for s in memory.sources if s.message_id in lines},
                is_open=memory.id in opened,
            )
            for memory in found
        ]

    async def _held(
        self, connection: AsyncConnection, user_id: str, ids: Sequence[str], *, retired: bool = False
    ) -> list[Held]:
        """The memories of these ids, in their order."""
        found = await self._memories.of_user(connection, user_id, ids=ids, retired=retired)
        by_id = {memory.id: memory for memory in found}
        return await self.attached(connection, user_id, [by_id[id] for id in ids if id in by_id])

    async def _by_kind(self, connection: AsyncConnection, user_id: str) -> dict[Kind, list[str]]:
        cited = select(sources.c.memory_id)
        wanted = (
            select(memories.c.id, memories.c.kind)
            .where(memories.c.user_id == user_id, memories.c.retired_at.is_(None), memories.c.id.in_(cited))
            .order_by(memories.c.valid_from.desc(), memories.c.id.desc())
        )
        by_kind: dict[Kind, list[str]] = {kind: [] for kind in Kind}
        for id, kind in (await connection.execute(wanted)).all():
            by_kind[Kind(kind)].append(id)
        return {kind: ids for kind, ids in by_kind.items() if ids}

    async def _having(
        self, connection: AsyncConnection, user_id: str, words: str
    ) -> tuple[list[str], list[str]]:
        """The ids of memories, and of messages without any, that have all of the words in them."""
        box = await self._vault.box(connection, user_id)
        claims = select(memories.c.id, memories.c.text_sealed).where(_told(user_id)).order_by(memories.c.id)
        said = (
            select(messages.c.id, messages.c.text_sealed)
            .where(messages.c.user_id == user_id, messages.c.remembered)
            .order_by(messages.c.id)
        )
        found = []
        for wanted, context in ((claims, TEXT), (said, MESSAGE_TEXT)):
            rows = [(id, sealed) for id, sealed in (await connection.execute(wanted)).all()]
            # Many texts are to be opened: meanwhile others are served.
            found.append(await asyncio.to_thread(_containing, box, rows, context, _folded(words).split()))
        return found[0], found[1]


def _told(user_id: str) -> ColumnElement[bool]:
    """What of a user's was told: without what only became part of another memory."""
    part = memories.c.retired_in.is_not(None) & memories.c.replaced_by.is_not(None)
    return (memories.c.user_id == user_id) & ~part


def _containing(
    box: Box, rows: Iterable[tuple[str, bytes]], context: str, words: Collection[str]
) -> list[str]:
    """Newest first."""
    opened = ((id, _folded(box.open(sealed, context))) for id, sealed in rows)
    return [id for id, text in opened if words and all(word in text for word in words)][::-1]


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _ids(entry: Held | Line) -> list[str]:
    """By which it may be found: a memory by its messages, too."""
    return [entry.memory.id, *entry.said] if isinstance(entry, Held) else [entry.id]


def _came_after(memory: Memory) -> str:
    return memory.replaced_by or ""


def _before(memory: Memory, replaced: Mapping[str, Sequence[Memory]]) -> list[Memory]:
    """What the memory came in the place of, the latest first; `replaced` has them by what replaced them."""
    every = [one for each in replaced.get(memory.id, ()) for one in (each, *_before(each, replaced))]
    return [each for each in every if not each.is_merged_away]
