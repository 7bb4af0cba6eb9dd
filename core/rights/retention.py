"""Retention: what is older than the operator keeps it for goes, from every store."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.delivery.inbox import UNANSWERED_STATES
from core.memory.changes import message_entry, queue_change, take_back
from core.memory.forgetting import Forgetting
from core.settings import TRANSCRIPT
from core.storage.database import Database
from core.storage.schema import conversations, deliveries, inbox, memories, messages, sources, turns

BATCH = 200
"""So many turns or memories go in one transaction: others want to write, too."""
EVERY_SECONDS = 3_600.0

log = structlog.get_logger()


class Retention:
    """Knows how many days each kind is kept, and lets go of what is older."""

    def __init__(
        self, database: Database, forgetting: Forgetting, clock: Clock, days: Mapping[str, int]
    ) -> None:
        """`days` by "transcript" or a kind of memory; all else is kept until its person forgets it."""
        self._database = database
        self._forgetting = forgetting
        self._clock = clock
        self._days = days
        self._next = 0.0

    async def enforce_if_due(self) -> None:
        """As `enforce`, at most once an hour in a process."""
        now = self._clock.monotonic()
        if self._days and now >= self._next:
            self._next = now + EVERY_SECONDS
            gone = await self.enforce()
            if any(gone.values()):
                log.info("retention_enforced", **gone)

    async def enforce(self) -> dict[str, int]:
        """Lets go of what is too old; how many memories of each kind, and turns of the transcript.

        Memories first: a message that one cites is kept. What is pinned is kept, as its person wishes.
        """
        now = self._clock.now()
        kinds = [kind for kind in self._days if kind != TRANSCRIPT]
        gone = {kind: await self._let_go_of_memories(kind, now - self._age(kind)) for kind in kinds}
        if TRANSCRIPT in self._days:
            gone[TRANSCRIPT] = await self._let_go_of_turns(now - self._age(TRANSCRIPT))
        return gone

    def _age(self, kind: str) -> timedelta:
        return timedelta(days=self._days[kind])

    async def _let_go_of_memories(self, kind: str, before: datetime) -> int:
        """Those last said before, if they are about no later time."""
        said_since = (
            select(sources.c.memory_id)
            .join(messages)
            .where(sources.c.memory_id == memories.c.id, messages.c.said_at >= before)
        )
        too_old = and_(
            memories.c.kind == kind,
            memories.c.pinned_at.is_(None),
            memories.c.valid_from < before,
            or_(memories.c.valid_until.is_(None), memories.c.valid_until < before),
            ~exists(said_since),
        )
        gone = 0
        while True:
            async with self._database.write() as connection:
                found = select(memories.c.user_id, memories.c.id).where(too_old).limit(BATCH)
                rows = (await connection.execute(found.order_by(memories.c.id))).all()
                for user_id in sorted({row.user_id for row in rows}):
                    await take_back(connection, user_id)
                for row in rows:
                    await self._forgetting.expire(connection, row.user_id, row.id)
            gone += len(rows)
            if len(rows) < BATCH:
                return gone

    async def _let_go_of_turns(self, before: datetime) -> int:
        """The words of turns that ended before, but for the messages that a memory cites."""
        uncited = ~exists().where(sources.c.message_id == messages.c.id)
        said = exists().where(messages.c.turn_id == turns.c.id, uncited)
        shown = exists().where(deliveries.c.turn_id == turns.c.id, deliveries.c.shown_sealed.is_not(None))
        has_words = or_(turns.c.reply_sealed.is_not(None), turns.c.account_sealed.is_not(None), said, shown)
        gone = 0
        while True:
            async with self._database.write() as connection:
                found = select(turns.c.id).where(turns.c.finished_at < before, has_words).limit(BATCH)
                ids = (await connection.scalars(found.order_by(turns.c.id))).all()
                await self._strike(connection, messages.c.turn_id.in_(ids) & uncited)
                of_these = turns.c.id.in_(ids)
                await connection.execute(
                    update(turns).where(of_these).values(reply_sealed=None, account_sealed=None)
                )
                await connection.execute(
                    update(deliveries).where(deliveries.c.turn_id.in_(ids)).values(shown_sealed=None)
                )
                unanswered = inbox.c.turn_id.in_(ids) & inbox.c.state.in_(UNANSWERED_STATES)
                await connection.execute(update(inbox).where(unanswered).values(payload_sealed=None))
            gone += len(ids)
            if len(ids) < BATCH:
                break
        async with self._database.write() as connection:
            last = select(func.max(turns.c.started_at)).where(turns.c.conversation_id == conversations.c.id)
            silent = conversations.c.summary_sealed.is_not(None) & (last.scalar_subquery() < before)
            await connection.execute(update(conversations).where(silent).values(summary_sealed=None))
        return gone

    async def _strike(self, connection: AsyncConnection, which: ColumnElement[bool]) -> None:
        writers = await connection.scalars(select(messages.c.user_id).where(which).distinct())
        for user_id in sorted(writers):
            await take_back(connection, user_id)
        gone = await connection.execute(
            delete(messages).where(which).returning(messages.c.id, messages.c.user_id, messages.c.remembered)
        )
        for row in gone.all():
            if row.remembered:
                await queue_change(connection, row.user_id, message_entry(row.id))
