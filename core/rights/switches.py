"""Switches: what a person says while they paused Mneme, or in an incognito conversation, isn't kept.

It has to be written down all the same, sealed, until it is answered (P1), and while the talk goes on, so that
the next answer knows what the last one said. Once the talk rests, all of it is destroyed.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, and_, delete, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.delivery.turns import Turn
from core.storage.database import Database
from core.storage.schema import conversations, turns, users
from core.users.people import is_paused

REST = timedelta(minutes=30)
"""A talk of which nothing is kept is over when nothing was said in it for so long."""


class Mode(StrEnum):
    """What becomes of what is said."""

    OPEN = "open"
    PAUSED = "paused"
    """It isn't kept; what is known is used."""
    INCOGNITO = "incognito"
    """It isn't kept, and nothing that is known is used."""

    @property
    def keeps(self) -> bool:
        return self is Mode.OPEN


class Switches:
    """Turns keeping off and on, for a user everywhere or for one conversation of theirs."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def mode(self, connection: AsyncConnection, turn: Turn) -> Mode:
        """How the turn is to be treated; what came in before it was resumed belongs to the pause."""
        incognito = select(conversations.c.incognito_at).where(conversations.c.id == turn.conversation.id)
        row = (
            await connection.execute(
                select(
                    users.c.paused_at, users.c.resumed_at, incognito.scalar_subquery().label("incognito_at")
                ).where(users.c.id == turn.user_id)
            )
        ).one()
        if row.incognito_at is not None:
            return Mode.INCOGNITO
        received = [message.received_at for message in turn.messages]
        return Mode.PAUSED if _fell_into(row.paused_at, row.resumed_at, received) else Mode.OPEN

    async def is_paused(self, user_id: str) -> bool:
        """Whether nothing of what they say anywhere is kept now."""
        async with self._database.read() as connection:
            return bool(await connection.scalar(select(is_paused()).where(users.c.id == user_id)))

    async def pause(self, user_id: str) -> None:
        """Keeps nothing of what the user says from now on, on any channel, until it is resumed."""
        async with self._database.write() as connection:
            await connection.execute(
                update(users)
                .where(users.c.id == user_id, ~is_paused())
                .values(paused_at=self._clock.now(), resumed_at=None)
            )

    async def resume(self, user_id: str) -> None:
        """Keeps again what they say; what they said meanwhile is destroyed, but where it is incognito."""
        async with self._database.write() as connection:
            await connection.execute(
                update(users).where(users.c.id == user_id, is_paused()).values(resumed_at=self._clock.now())
            )
            incognito = select(conversations.c.id).where(conversations.c.incognito_at.is_not(None))
            await self._destroy(connection, user_id, turns.c.conversation_id.not_in(incognito))

    async def set_incognito(self, user_id: str, conversation_id: str, on: bool) -> bool:
        """Makes a direct conversation incognito, or no longer: then what was said in it so is destroyed.

        Returns False when the user has no such direct conversation.
        """
        async with self._database.write() as connection:
            theirs = and_(conversations.c.id == conversation_id, conversations.c.owner == user_id)
            at = func.coalesce(conversations.c.incognito_at, self._clock.now()) if on else None
            changed = await connection.execute(update(conversations).where(theirs).values(incognito_at=at))
            if not on:
                await self._destroy(connection, user_id, turns.c.conversation_id == conversation_id)
        return changed.rowcount > 0

    async def forget_unkept(self, connection: AsyncConnection, user_id: str, conversation_id: str) -> None:
        """Destroys what the user said in the conversation and that isn't kept, before it rests."""
        await self._destroy(connection, user_id, turns.c.conversation_id == conversation_id)

    async def destroy_rested(self) -> int:
        """Destroys what isn't kept of talks that are over; returns how many turns that were."""
        talks = (
            select(turns.c.user_id, turns.c.conversation_id)
            .where(~turns.c.kept)
            .group_by(turns.c.user_id, turns.c.conversation_id)
            .having(func.max(turns.c.finished_at) < self._clock.now() - REST)
        )
        async with self._database.read() as connection:
            over = [tuple(row) for row in await connection.execute(talks)]
        if not over:
            return 0
        async with self._database.write() as connection:
            # What was said meanwhile begins a talk of its own: it has the rest of this one to itself.
            ended = tuple_(turns.c.user_id, turns.c.conversation_id).in_(over)
            gone = await connection.execute(
                delete(turns).where(~turns.c.kept, ended, turns.c.finished_at < self._clock.now() - REST)
            )
        return gone.rowcount

    async def _destroy(self, connection: AsyncConnection, user_id: str, where: ColumnElement[bool]) -> None:
        # Messages, replies and what was shown of them go with their turn.
        await connection.execute(delete(turns).where(turns.c.user_id == user_id, ~turns.c.kept, where))


def _fell_into(paused_at: datetime | None, resumed_at: datetime | None, received: Sequence[datetime]) -> bool:
    if paused_at is None:
        return False
    return resumed_at is None or any(paused_at <= moment < resumed_at for moment in received)
