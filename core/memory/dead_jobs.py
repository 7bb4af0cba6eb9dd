"""Dead letters of the memory: jobs that failed, kept until retried, dropped, or done by a newer one."""

from typing import Any

from sqlalchemy import Result, Row, Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.delivery.dead_letters import DROPPED, Circumstances, DeadLetter, Words
from core.delivery.inbox import InboxState
from core.errors import NotDead
from core.memory.jobs import JobKind, JobState, about, schedule
from core.storage.database import Database
from core.storage.schema import conversations, jobs

LETTER = "j"
RETRIED = "Retried"


class DeadJobs:
    """As `DeadLetters`, for jobs. Calls that name one raise `NotDead` when no failed job has that number."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def all(self) -> list[DeadLetter]:
        """Oldest first."""
        async with self._database.read() as connection:
            return [_letter(row) for row in await connection.execute(_failed().order_by(jobs.c.id))]

    async def count(self) -> int:
        async with self._database.read() as connection:
            failed = select(func.count()).select_from(jobs).where(jobs.c.state == JobState.FAILED)
            return await connection.scalar(failed) or 0

    async def examine(self, number: int) -> Circumstances:
        async with self._database.read() as connection:
            row = (await connection.execute(_failed().where(jobs.c.id == number))).one_or_none()
            if row is None:
                raise await self._not_dead(connection, number)
        return Circumstances(_letter(row))

    async def words(self, number: int) -> Words:
        """None: a job only points at a conversation."""
        await self.examine(number)
        return Words((), None)

    async def retry(self, number: int) -> None:
        """Has the job's work done now: by the one of its kind that waits already, else by a new one.

        The failed row isn't made to wait again: its attempts are what a late worker is fenced off by.
        """
        async with self._database.write() as connection:
            row = await self._end(connection, number, RETRIED)
            await schedule(connection, self._clock, JobKind(row.kind), about(row))

    async def drop(self, number: int) -> None:
        """Gives the job up for good; what it should have read is read with what is said next.

        One that was dropped may be dropped again.
        """
        async with self._database.write() as connection:
            reason = await connection.scalar(select(jobs.c.reason).where(jobs.c.id == number))
            if reason != DROPPED:
                await self._end(connection, number, DROPPED)

    async def _end(self, connection: AsyncConnection, number: int, reason: str) -> Row[Any]:
        ended: Result[Any] = await connection.execute(
            update(jobs)
            .where(jobs.c.id == number, jobs.c.state == JobState.FAILED)
            .values(state=JobState.DONE, reason=reason, finished_at=self._clock.now())
            .returning(jobs)
        )
        row = ended.one_or_none()
        if row is None:
            raise await self._not_dead(connection, number)
        return row

    async def _not_dead(self, connection: AsyncConnection, number: int) -> NotDead:
        row = (await connection.execute(select(jobs).where(jobs.c.id == number))).one_or_none()
        return NotDead(f"{LETTER}{number} is no dead letter: {_instead(row)}.")


def _failed() -> Select[Any]:
    every = select(jobs, conversations.c.channel).outerjoin(conversations)
    return every.where(jobs.c.state == JobState.FAILED)


def _letter(row: Row[Any]) -> DeadLetter:
    return DeadLetter(
        id=f"{LETTER}{row.id}",
        kind="job",
        state=InboxState.DEAD,
        since=row.finished_at or row.created_at,
        channel=row.channel,
        conversation_id=row.conversation_id,
        user_id=row.user_id,
        reason=f"{row.kind}: {row.reason}",
        attempts=row.attempts,
    )


def _instead(row: Row[Any] | None) -> str:
    if row is None:
        return "there is no such job"
    if row.state != JobState.DONE:
        return "it isn't done yet"
    return {DROPPED: "it was dropped", RETRIED: "it was retried"}.get(row.reason, "it was done")
