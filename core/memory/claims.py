"""Memories: claims about a person, each resting on what that person wrote (P3)."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.memory.changes import memory_entry, queue_change
from core.memory.transcript import Line, Transcript
from core.privacy.keys import MasterKey
from core.privacy.vault import Vault
from core.storage.database import new_id
from core.storage.schema import memories, messages, sources

TEXT = "memories.text"


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


@dataclass(frozen=True, slots=True)
class Source:
    """Where a memory comes from: a message of the user's and the characters of it that say so."""

    message_id: str
    quote: str
    start: int
    said_at: datetime


@dataclass(frozen=True, slots=True)
class Memory:
    """One claim, in its user's words or near them, with its sources, oldest first."""

    id: str
    kind: Kind
    text: str
    audience: str
    recorded_at: datetime
    confidence: float
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a model read out of a message, checked by the write gate."""

    kind: Kind
    text: str
    line: Line
    start: int
    end: int
    confidence: float


class Memories:
    """Reads and writes one user's memories within the caller's transaction."""

    def __init__(self, vault: Vault, master: MasterKey, transcript: Transcript, clock: Clock) -> None:
        self._vault = vault
        self._master = master
        self._transcript = transcript
        self._clock = clock

    async def add(self, connection: AsyncConnection, user_id: str, claim: Claim) -> str:
        """Stores the claim, or its source with the memory that says the same; returns the memory's id."""
        digest = self._master.digest("claim", user_id, " ".join(claim.text.casefold().split()).rstrip(".!"))
        memory_id: str | None = await connection.scalar(
            select(memories.c.id).where(
                memories.c.user_id == user_id,
                memories.c.audience == claim.line.audience,
                memories.c.claim_digest == digest,
            )
        )
        if memory_id is None:
            memory_id = new_id()
            box = await self._vault.box(connection, user_id)
            await connection.execute(
                insert(memories).values(
                    id=memory_id,
                    user_id=user_id,
                    audience=claim.line.audience,
                    kind=claim.kind,
                    text_sealed=box.seal(claim.text, TEXT),
                    claim_digest=digest,
                    valid_from=claim.line.said_at,
                    recorded_at=self._clock.now(),
                    confidence=claim.confidence,
                )
            )
            await queue_change(connection, user_id, memory_entry(memory_id))
        await self._cite(connection, memory_id, claim)
        return memory_id

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
                )
            )

    async def of_user(
        self,
        connection: AsyncConnection,
        user_id: str,
        *,
        ids: Collection[str] | None = None,
        audience: str | None = None,
    ) -> list[Memory]:
        """The user's memories that hold now, oldest first: all, or of some ids, or of one audience.

        Each has a source: without one nothing counts as remembered.
        """
        if ids is not None and not ids:
            return []
        wanted = select(memories).where(memories.c.user_id == user_id, memories.c.retired_at.is_(None))
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
                audience=row.audience,
                recorded_at=row.recorded_at,
                confidence=row.confidence,
                sources=tuple(cited[row.id]),
            )
            for row in rows
            if row.id in cited
        ]

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


def _source(row: Row[Any], line: Line) -> Source:
    return Source(line.id, line.text[row.span_start : row.span_end], row.span_start, line.said_at)
