"""Memories: claims about a person, each resting on what that person wrote (P3)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import prod
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.memory.changes import memory_entry, queue_change, take_back
from core.memory.transcript import Line, Transcript
from core.privacy.keys import MasterKey
from core.privacy.vault import Vault
from core.storage.database import new_id
from core.storage.schema import memories, messages, sources

TEXT = "memories.text"
SUBJECT = "memories.subject"


class Kind(StrEnum):
    """What a memory is about."""

    IDENTITY = "identity"
    PREFERENCE = "preference"
    RELATIONSHIP = "relationship"
    EVENT = "event"
    GOAL = "goal"
    ROUTINE = "routine"
    INSTRUCTION = "instruction"
    FACT = "fact"
    NOTE = "note"
    """What they asked to be remembered, in their own words."""


class Change(StrEnum):
    """What a claim does to a memory that is known."""

    NONE = "new"
    CONFIRMS = "same"
    REPLACES = "replaces"


NOTE_MARGIN = 40
"""A claim that cites so many characters less or more than a note of the same message says what that says."""
BELIEVED = 0.5
"""A memory of less confidence waits until it is said again: it is listed, but not recalled."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a memory comes from: a message of the user's and the characters of it that say so.

    `certainty`: how surely they do, from 0 to 1.
    """

    message_id: str
    quote: str
    start: int
    said_at: datetime
    certainty: float = 1.0


@dataclass(frozen=True, slots=True)
class Memory:
    """One claim, in its user's words or near them, with its sources, oldest first.

    `subject`: whom it is about, None for the user. It held from `valid_from` until `valid_until`, as far as
    is known. Once it is `retired_at`, `replaced_by` may name the memory that came in its place.
    """

    id: str
    kind: Kind
    text: str
    subject: str | None
    audience: str
    recorded_at: datetime
    valid_from: datetime
    valid_until: datetime | None
    retired_at: datetime | None
    replaced_by: str | None
    sources: tuple[Source, ...]

    @property
    def confidence(self) -> float:
        """The chance that one of its sources is right, each being right or wrong by itself (noisy or)."""
        return 1 - prod(1 - source.certainty for source in self.sources)

    @property
    def is_believed(self) -> bool:
        """Whether it is sure enough to be recalled."""
        return self.confidence >= BELIEVED


@dataclass(frozen=True, slots=True)
class Claim:
    """What a model read out of a message, checked by the write gate.

    `known` is the id of the memory that it confirms or replaces, as `change` says.
    """

    kind: Kind
    text: str
    subject: str | None
    line: Line
    start: int
    end: int
    certainty: float
    valid_from: datetime
    valid_until: datetime | None = None
    change: Change = Change.NONE
    known: str | None = None


class Memories:
    """Reads and writes one user's memories within the caller's transaction."""

    def __init__(self, vault: Vault, master: MasterKey, transcript: Transcript, clock: Clock) -> None:
        self._vault = vault
        self._master = master
        self._transcript = transcript
        self._clock = clock

    async def learn(self, connection: AsyncConnection, user_id: str, claim: Claim) -> str:
        """Stores the claim; or its source alone, where it says what is known. What it replaces is retired.

        Of the two the later one holds: conversations aren't read in the order in which they were held.
        Returns the memory's id.
        """
        if claim.change is Change.NONE and (noted := await self._noted(connection, user_id, claim)):
            return noted
        known = await self._known(connection, user_id, claim)
        same = known.id if known and claim.change is Change.CONFIRMS else None
        memory_id: str | None = same or await connection.scalar(self._saying(user_id, claim))
        if memory_id is None:
            memory_id = new_id()
            await self._insert(connection, user_id, memory_id, claim)
            if known and known.valid_from <= claim.valid_from:
                await self._retire(connection, user_id, known.id, claim.valid_from, replaced_by=memory_id)
            elif known:
                await self._retire(connection, user_id, memory_id, known.valid_from, replaced_by=known.id)
        await self._cite(connection, memory_id, claim)
        # One more source may make it believed.
        await queue_change(connection, user_id, memory_entry(memory_id))
        return memory_id

    async def reinstate(self, connection: AsyncConnection, user_id: str, replaced_by: str) -> None:
        """For when a memory is taken back: what it had replaced holds again, if it is the last."""
        replaced = (memories.c.user_id == user_id) & (memories.c.replaced_by == replaced_by)
        after = select(memories.c.replaced_by).where(
            memories.c.id == replaced_by, memories.c.retired_at.is_not(None)
        )
        later = (await connection.execute(after)).one_or_none()
        if later is not None:
            await connection.execute(update(memories).where(replaced).values(replaced_by=later.replaced_by))
            return
        held = memories.alias()
        said_again = exists().where(
            held.c.user_id == memories.c.user_id,
            held.c.audience == memories.c.audience,
            held.c.claim_digest == memories.c.claim_digest,
            held.c.retired_at.is_(None),
        )
        back = await connection.scalars(
            update(memories)
            .where(replaced, ~said_again)
            .values(retired_at=None, valid_until=None, replaced_by=None)
            .returning(memories.c.id)
        )
        for memory_id in back.all():
            await queue_change(connection, user_id, memory_entry(memory_id))

    async def last_note(self, connection: AsyncConnection, user_id: str, conversation_id: str) -> str | None:
        """The id of the newest note that the user asked for in the conversation."""
        found: str | None = await connection.scalar(
            select(memories.c.id)
            .join(sources, sources.c.memory_id == memories.c.id)
            .join(messages, messages.c.id == sources.c.message_id)
            .where(
                memories.c.user_id == user_id,
                memories.c.kind == Kind.NOTE,
                memories.c.retired_at.is_(None),
                messages.c.conversation_id == conversation_id,
            )
            .order_by(memories.c.id.desc())
            .limit(1)
        )
        return found

    async def _noted(self, connection: AsyncConnection, user_id: str, claim: Claim) -> str | None:
        """The note that was made of most of the claim's words already."""
        found: str | None = await connection.scalar(
            select(memories.c.id)
            .join(sources, sources.c.memory_id == memories.c.id)
            .where(
                memories.c.user_id == user_id,
                memories.c.kind == Kind.NOTE,
                sources.c.message_id == claim.line.id,
                sources.c.span_start >= claim.start - NOTE_MARGIN,
                sources.c.span_end <= claim.end + NOTE_MARGIN,
            )
        )
        return found

    async def _known(
        self, connection: AsyncConnection, user_id: str, claim: Claim
    ) -> Row[str, datetime] | None:
        """The memory that the claim speaks of, if it still holds."""
        if claim.known is None:
            return None
        wanted = select(memories.c.id, memories.c.valid_from).where(
            memories.c.id == claim.known, _holds(user_id, claim.line.audience)
        )
        return (await connection.execute(wanted)).one_or_none()

    def _saying(self, user_id: str, claim: Claim) -> Select[str]:
        """The memory that holds and says just the same."""
        return select(memories.c.id).where(
            memories.c.claim_digest == self._digest(user_id, claim), _holds(user_id, claim.line.audience)
        )

    async def _insert(self, connection: AsyncConnection, user_id: str, memory_id: str, claim: Claim) -> None:
        box = await self._vault.box(connection, user_id)
        await connection.execute(
            insert(memories).values(
                id=memory_id,
                user_id=user_id,
                audience=claim.line.audience,
                kind=claim.kind,
                text_sealed=box.seal(claim.text, TEXT),
                subject_sealed=box.seal(claim.subject, SUBJECT) if claim.subject else None,
                claim_digest=self._digest(user_id, claim),
                valid_from=claim.valid_from,
                valid_until=claim.valid_until,
                recorded_at=self._clock.now(),
            )
        )

    def _digest(self, user_id: str, claim: Claim) -> str:
        return self._master.digest("claim", user_id, " ".join(claim.text.casefold().split()).rstrip(".!"))

    async def _retire(
        self, connection: AsyncConnection, user_id: str, memory_id: str, until: datetime, *, replaced_by: str
    ) -> None:
        await take_back(connection, user_id)
        await connection.execute(
            update(memories)
            .where(memories.c.id == memory_id)
            .values(retired_at=self._clock.now(), valid_until=until, replaced_by=replaced_by)
        )
        await queue_change(connection, user_id, memory_entry(memory_id))

    async def _cite(self, connection: AsyncConnection, memory_id: str, claim: Claim) -> None:
        cited = await connection.scalar(
            select(sources.c.memory_id).where(
                sources.c.memory_id == memory_id,
                sources.c.message_id == claim.line.id,
            )
        )
        if cited is None:
            await connection.execute(
                insert(sources).values(
                    memory_id=memory_id,
                    message_id=claim.line.id,
                    span_start=claim.start,
                    span_end=claim.end,
                    certainty=claim.certainty,
                )
            )

    async def of_user(
        self,
        connection: AsyncConnection,
        user_id: str,
        *,
        ids: Collection[str] | None = None,
        audience: str | None = None,
        retired: bool = False,
    ) -> list[Memory]:
        """The user's memories that hold now, oldest first: all, or of some ids, or of one audience.

        Each has a source: without one nothing counts as remembered. If asked, with those that were `retired`.
        """
        if ids is not None and not ids:
            return []
        wanted = select(memories).where(memories.c.user_id == user_id)
        if not retired:
            wanted = wanted.where(memories.c.retired_at.is_(None))
        if ids is not None:
            wanted = wanted.where(memories.c.id.in_(ids))
        if audience is not None:
            wanted = wanted.where(memories.c.audience == audience)
        rows = (await connection.execute(wanted.order_by(memories.c.id))).all()
        if not rows:
            return []
        cited = await self._sources(connection, user_id, [row.id for row in rows])
        if not cited:
            return []
        box = await self._vault.box(connection, user_id)
        return [
            Memory(
                id=row.id,
                kind=Kind(row.kind),
                text=box.open(row.text_sealed, TEXT),
                subject=box.open(row.subject_sealed, SUBJECT) if row.subject_sealed else None,
                audience=row.audience,
                recorded_at=row.recorded_at,
                valid_from=row.valid_from,
                valid_until=row.valid_until,
                retired_at=row.retired_at,
                replaced_by=row.replaced_by,
                sources=tuple(cited[row.id]),
            )
            for row in rows
            if row.id in cited
        ]

    async def newest(
        self, connection: AsyncConnection, user_id: str, audience: str, *, limit: int
    ) -> list[Memory]:
        """The newest of the user's memories of the audience that hold now, oldest first."""
        ids = select(memories.c.id).where(_holds(user_id, audience)).order_by(memories.c.id.desc())
        found = await connection.scalars(ids.limit(limit))
        return await self.of_user(connection, user_id, ids=found.all())

    async def replaced_by(
        self, connection: AsyncConnection, user_id: str, memory_ids: Collection[str]
    ) -> list[Memory]:
        """What the memories came in the place of, and what those had, oldest first."""
        found: list[str] = []
        after = memory_ids
        while after:
            before = select(memories.c.id).where(
                memories.c.user_id == user_id, memories.c.replaced_by.in_(after), memories.c.id.not_in(found)
            )
            after = (await connection.scalars(before)).all()
            found += after
        return _by_time(await self.of_user(connection, user_id, ids=found, retired=True))

    async def with_history(
        self, connection: AsyncConnection, user_id: str, found: Collection[Memory]
    ) -> list[Memory]:
        """The memories, what they replaced and what replaced them, in the order in which they held."""
        known = {memory.id: memory for memory in found}
        while ids := {m.replaced_by for m in known.values() if m.replaced_by} - known.keys():
            later = await self.of_user(connection, user_id, ids=ids, retired=True)
            if not later:
                break
            known |= {memory.id: memory for memory in later}
        known |= {m.id: m for m in await self.replaced_by(connection, user_id, list(known))}
        return _by_time(known.values())

    async def changed(
        self, connection: AsyncConnection, user_id: str, *, audience: str | None
    ) -> list[Memory]:
        """Memories that were replaced, and what by, in the order in which they held."""
        every = await self.of_user(connection, user_id, audience=audience, retired=True)
        replacements = {memory.replaced_by for memory in every}
        return _by_time(m for m in every if m.replaced_by or m.id in replacements)

    async def over(
        self, connection: AsyncConnection, user_id: str, message_ids: Collection[str]
    ) -> dict[str, datetime]:
        """Since when messages hold no more, by id: those of which every memory was retired."""
        ended = (
            select(sources.c.message_id, func.max(memories.c.valid_until))
            .join(memories)
            .where(memories.c.user_id == user_id, sources.c.message_id.in_(message_ids))
            .group_by(sources.c.message_id)
            .having(func.count() == func.count(memories.c.retired_at))
        )
        return {id: until for id, until in (await connection.execute(ended)).all() if until}

    async def resting_on(
        self, connection: AsyncConnection, user_id: str, message_ids: Collection[str]
    ) -> list[Memory]:
        """The user's memories, retired ones too, that rest on one of the messages."""
        cited = select(sources.c.memory_id).where(sources.c.message_id.in_(message_ids)).distinct()
        ids = (await connection.scalars(cited)).all()
        return await self.of_user(connection, user_id, ids=ids, retired=True)

    async def _sources(
        self, connection: AsyncConnection, user_id: str, memory_ids: Collection[str]
    ) -> dict[str, list[Source]]:
        rows = (
            await connection.execute(
                select(sources)
                .join(messages)
                .where(sources.c.memory_id.in_(memory_ids), messages.c.user_id == user_id)
                .order_by(messages.c.said_at)
            )
        ).all()
        lines = await self._transcript.of_user(connection, user_id, {row.message_id for row in rows})
        found: dict[str, list[Source]] = {}
        for row in rows:
            found.setdefault(row.memory_id, []).append(_source(row, lines[row.message_id]))
        return found


def _holds(user_id: str, audience: str) -> ColumnElement[bool]:
    """Which of the user's memories of just this audience hold now."""
    return and_(
        memories.c.user_id == user_id, memories.c.audience == audience, memories.c.retired_at.is_(None)
    )


def _by_time(found: Iterable[Memory]) -> list[Memory]:
    return sorted(found, key=lambda memory: (memory.valid_from, memory.id))


def _source(row: Row[Any], line: Line) -> Source:
    quote = line.text[row.span_start : row.span_end]
    return Source(line.id, quote, row.span_start, line.said_at, row.certainty)
