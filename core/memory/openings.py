"""Openings: a person lets a group know one of their memories, which stays private everywhere else.

An opening belongs to the memory: it ends with it, by whatever it is forgotten or replaced.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.messages import ConversationKind
from core.storage.database import Database
from core.storage.schema import conversations, memories, messages, openings
from core.storage.upsert import conflicting_insert

MOST_PLACES = 20


@dataclass(frozen=True, slots=True)
class Place:
    """A group that the person has written in.

    `since` is when Mneme came to know it, `last` when they wrote last.
    """

    conversation_id: str
    channel: str
    kind: ConversationKind
    since: datetime
    last: datetime


def is_open_to(conversation_id: str) -> ColumnElement[bool]:
    """Whether a memory is open to the group."""
    return exists().where(
        openings.c.memory_id == memories.c.id, openings.c.conversation_id == conversation_id
    )


class Openings:
    """Opens and closes; only groups that the person has written in themselves."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def places(self, connection: AsyncConnection, user_id: str) -> Sequence[Place]:
        """The groups that the person wrote in, those of late first."""
        last = func.max(messages.c.said_at)
        wrote = (
            select(
                conversations.c.id,
                conversations.c.channel,
                conversations.c.kind,
                conversations.c.created_at,
                last,
            )
            .join(messages, messages.c.conversation_id == conversations.c.id)
            .where(
                messages.c.user_id == user_id,
                messages.c.role == "user",
                conversations.c.kind != ConversationKind.DIRECT,
            )
            .group_by(conversations.c.id)
            .order_by(last.desc(), conversations.c.id)
            .limit(MOST_PLACES)
        )
        rows = (await connection.execute(wrote)).all()
        return [Place(row[0], row[1], ConversationKind(row[2]), row[3], row[4]) for row in rows]

    async def of_user(self, connection: AsyncConnection, user_id: str) -> Mapping[str, set[str]]:
        """To which groups each of the user's memories is open, by its id."""
        mine = (
            select(openings.c.memory_id, openings.c.conversation_id)
            .join(memories, memories.c.id == openings.c.memory_id)
            .where(memories.c.user_id == user_id)
        )
        found: dict[str, set[str]] = {}
        for memory_id, conversation_id in (await connection.execute(mine)).all():
            found.setdefault(memory_id, set()).add(conversation_id)
        return found

    async def open(self, user_id: str, memory_id: str, conversation_id: str) -> bool:
        """Lets a group know the memory; False if the user has no such memory, or never wrote there."""
        async with self._database.write() as connection:
            mine = select(memories.c.id).where(
                memories.c.id == memory_id, memories.c.user_id == user_id, memories.c.retired_at.is_(None)
            )
            is_mine = await connection.scalar(mine) is not None
            places = {place.conversation_id for place in await self.places(connection, user_id)}
            if not is_mine or conversation_id not in places:
                return False
            await connection.execute(
                conflicting_insert(connection, openings)
                .values(memory_id=memory_id, conversation_id=conversation_id, opened_at=self._clock.now())
                .on_conflict_do_nothing()
            )
        return True

    async def close(self, user_id: str, memory_id: str) -> bool:
        """Keeps the memory private again, everywhere. Returns False if it was open nowhere."""
        mine = select(memories.c.id).where(memories.c.id == memory_id, memories.c.user_id == user_id)
        async with self._database.write() as connection:
            closed = await connection.execute(delete(openings).where(openings.c.memory_id.in_(mine)))
        return closed.rowcount > 0
