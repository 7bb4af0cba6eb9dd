"""The memory's slow work, as rows: announced by id, done once in effect however often it is started."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, ColumnElement, Row, and_, case, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.errors import LeaseLost
from core.storage.database import Database, database_seconds, lease_is_over
from core.storage.schema import conversations, jobs, messages
from core.storage.upsert import conflicting_insert

MAX_ATTEMPTS = 3
RETRY_SECONDS = 20.0
POSTPONED = "BudgetExhausted"
"""The reason on the row of a job that waits for the next day's budget."""
KEPT_DAYS = 14
"""For so long an operator can see that a job was done; one that failed stays until it is dropped."""
SUPERSEDED = "Superseded"
"""Why a job ended that a newer one of its kind does, or did, the work of."""


class JobKind(StrEnum):
    EXTRACT = "extract"
    FOLD = "fold"
    CONSOLIDATE = "consolidate"

    @property
    def about(self) -> Column[str]:
        """What a job of this kind is about: a conversation, or a user."""
        return jobs.c.user_id if self is JobKind.CONSOLIDATE else jobs.c.conversation_id


class JobState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """A job under a lease: `attempts` is its fence, it grows with each who starts it.

    `about`: the id of the conversation or, for a consolidation, of the user.
    """

    id: int
    kind: JobKind
    about: str
    attempts: int


def about(row: Row[Any]) -> str:
    """The id of what the job of this row is about."""
    return str(row.conversation_id or row.user_id)


async def schedule(
    connection: AsyncConnection, clock: Clock, kind: JobKind, about: str, rest_seconds: float = 0.0
) -> None:
    """Has a job done after a rest: the one of its kind that waits already, else a new one."""
    due = database_seconds() + rest_seconds
    moved = await connection.execute(
        update(jobs)
        .where(
            jobs.c.kind == kind,
            kind.about == about,
            jobs.c.state == JobState.WAITING,
        )
        # What waits for a new day's budget isn't asked for in vain with every message until then.
        .values(not_before=case((jobs.c.reason == POSTPONED, jobs.c.not_before), else_=due))
    )
    if moved.rowcount == 0:
        # Somebody else may do so at this moment; one of a kind is enough.
        await connection.execute(
            conflicting_insert(connection, jobs)
            .values(
                {
                    jobs.c.kind: kind,
                    kind.about: about,
                    jobs.c.state: JobState.WAITING,
                    jobs.c.not_before: due,
                    jobs.c.created_at: clock.now(),
                }
            )
            .on_conflict_do_nothing()
        )


class JobQueue:
    """The rows: what is to be done, and by when."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        idle_seconds: float,
        extract_messages: int,
        consolidate_seconds: float,
        lease_seconds: float,
    ) -> None:
        self._database = database
        self._clock = clock
        self.lease_seconds = lease_seconds
        self._idle_seconds = idle_seconds
        self._consolidate_seconds = consolidate_seconds
        self._extract_messages = extract_messages

    async def schedule_extraction(self, connection: AsyncConnection, conversation_id: str) -> None:
        """Has the conversation read once it rests, or soon when much is unread."""
        unread = await connection.scalar(
            select(func.count())
            .select_from(messages.join(conversations, messages.c.conversation_id == conversations.c.id))
            .where(
                messages.c.conversation_id == conversation_id,
                messages.c.remembered,
                messages.c.turn_id > conversations.c.extracted_through,
            )
        )
        if unread:
            rest = 0.0 if unread >= self._extract_messages else self._idle_seconds
            await schedule(connection, self._clock, JobKind.EXTRACT, conversation_id, rest)

    async def schedule_fold(self, connection: AsyncConnection, conversation_id: str) -> None:
        """Has the conversation's older part folded into its summary, soon."""
        await schedule(connection, self._clock, JobKind.FOLD, conversation_id)

    async def schedule_consolidation(self, connection: AsyncConnection, user_id: str) -> None:
        """Has the user's memories consolidated once nothing new was learned of them for a while."""
        if self._consolidate_seconds:
            await schedule(connection, self._clock, JobKind.CONSOLIDATE, user_id, self._consolidate_seconds)

    async def due(self, limit: int = 100) -> Sequence[int]:
        """The ids of jobs to start: those whose time has come, and those whose worker died."""
        async with self._database.read() as connection:
            found = await connection.scalars(
                select(jobs.c.id).where(_startable()).order_by(jobs.c.not_before).limit(limit)
            )
            return found.all()

    async def start(self, job_id: int) -> Job | None:
        """Leases the job; None when it isn't due, is done, or somebody is at it."""
        async with self._database.write() as connection:
            row = (
                await connection.execute(
                    update(jobs)
                    .where(jobs.c.id == job_id, _startable())
                    .values(
                        state=JobState.RUNNING,
                        attempts=jobs.c.attempts + 1,
                        lease_until=database_seconds() + self.lease_seconds,
                    )
                    .returning(jobs)
                )
            ).one_or_none()
        return None if row is None else Job(row.id, JobKind(row.kind), about(row), row.attempts)

    async def renew(self, job: Job) -> None:
        async with self._database.write() as connection:
            await self._change(connection, job, lease_until=database_seconds() + self.lease_seconds)

    async def finish(self, connection: AsyncConnection, job: Job) -> None:
        """Ends the job within the transaction that holds its result, and with it those before it that failed.

        Raises:
            LeaseLost: somebody else has started it meanwhile; the transaction must not commit.
        """
        now = self._clock.now()
        await self._change(connection, job, state=JobState.DONE, finished_at=now, reason=None)
        await connection.execute(
            update(jobs)
            .where(
                jobs.c.kind == job.kind,
                job.kind.about == job.about,
                jobs.c.state == JobState.FAILED,
            )
            .values(state=JobState.DONE, reason=SUPERSEDED)
        )
        old = jobs.c.finished_at < now - timedelta(days=KEPT_DAYS)
        await connection.execute(delete(jobs).where(jobs.c.state == JobState.DONE, old))

    async def put_back(self, job: Job, reason: str) -> None:
        """Lets the job rest before its next attempt; the last one ends it as failed."""
        if job.attempts >= MAX_ATTEMPTS:
            return await self.fail(job, reason)
        return await self._let_wait(job, RETRY_SECONDS * job.attempts, reason=reason)

    async def postpone(self, job: Job, until: datetime) -> None:
        """Lets the job rest until there is a budget for it again. That was no attempt: it isn't counted."""
        rest = (until - self._clock.now()).total_seconds()
        # The next who starts it has this fence again, but whoever postponed it doesn't come back.
        await self._let_wait(job, rest, reason=POSTPONED, attempts=job.attempts - 1)

    async def _let_wait(self, job: Job, rest_seconds: float, *, reason: str, **values: object) -> None:
        due = database_seconds() + rest_seconds
        try:
            async with self._database.write() as connection:
                await self._change(
                    connection, job, state=JobState.WAITING, not_before=due, reason=reason, **values
                )
        except IntegrityError:
            # A newer job of the kind waits already: this one has nothing left to do.
            await self._end(job, JobState.DONE, SUPERSEDED)

    async def fail(self, job: Job, reason: str) -> None:
        """Ends the job as failed, with nothing written: a dead letter, until it is retried or dropped."""
        await self._end(job, JobState.FAILED, reason)

    async def _end(self, job: Job, state: JobState, reason: str) -> None:
        async with self._database.write() as connection:
            await self._change(connection, job, state=state, finished_at=self._clock.now(), reason=reason)

    async def _change(self, connection: AsyncConnection, job: Job, **values: object) -> None:
        changed = await connection.execute(
            update(jobs)
            .where(jobs.c.id == job.id, jobs.c.attempts == job.attempts, jobs.c.state == JobState.RUNNING)
            .values(**values)
        )
        if changed.rowcount == 0:
            raise LeaseLost("the job was started again by somebody else")


def _startable() -> ColumnElement[bool]:
    return or_(
        and_(jobs.c.state == JobState.WAITING, jobs.c.not_before <= database_seconds()),
        and_(jobs.c.state == JobState.RUNNING, lease_is_over(jobs.c.lease_until)),
    )
