"""Dead letters: messages that were given up, kept until the operator retries or drops them (P6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.delivery.inbox import UNANSWERED_STATES, InboxState, read_waiting
from core.delivery.outbox import AFTERWORD, DeliveryState
from core.delivery.turns import REPLY, TurnState
from core.errors import NotDead
from core.privacy.vault import Vault
from core.storage.database import Database, database_seconds
from core.storage.schema import conversations, deliveries, inbox, messages, turns

LETTER = "m"
AGAIN_STATES = (DeliveryState.UNKNOWN, DeliveryState.FAILED)
"""What the operator decides to send once more."""
DROPPED = "Dropped"
"""Why something ended that the operator has dropped."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What was given up, without anybody's words: a person's burst of messages, or a job of the memory.

    `id` is "m" and the number of the burst's first message in the inbox, or "j" and the job's number.
    """

    id: str
    kind: str
    state: InboxState
    since: datetime
    channel: str | None
    conversation_id: str | None
    user_id: str | None
    """A job is a conversation's or a user's: the other one, and the channel with it, is None."""
    reason: str | None
    attempts: int


@dataclass(frozen=True, slots=True)
class DeliveredPart:
    """One message at the platform that the last attempt sent, or tried to; `state` is the delivery's.

    `part` counts from 0; None for the line behind a reply of unknown fate.
    """

    part: int | None
    state: str
    reason: str | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else an operator may know of a dead letter: a burst's messages as (number, received at)."""

    letter: DeadLetter
    turn_id: int | None = None
    messages: tuple[tuple[int, datetime], ...] = ()
    parts: tuple[DeliveredPart, ...] = ()


@dataclass(frozen=True, slots=True)
class Words:
    """What the person wrote, a text a message, and the reply if it was composed."""

    said: tuple[str, ...]
    reply: str | None


class DeadLetters:
    """Those of the inbox: messages that are dead or of unknown fate, and whose words weren't forgotten.

    A letter is named by the number of any of its messages. All calls that name one raise `NotDead` when there
    is none of that name.
    """

    def __init__(self, database: Database, vault: Vault, clock: Clock) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock

    async def all(self) -> list[DeadLetter]:
        """Oldest first."""
        async with self._database.read() as connection:
            rows = (await connection.execute(_rows())).all()
        bursts = [list(burst) for _, burst in groupby(rows, key=lambda row: row.turn_id or -row.id)]
        return [_letter(burst) for burst in bursts]

    async def count(self) -> int:
        async with self._database.read() as connection:
            bursts = func.count(func.coalesce(inbox.c.turn_id, -inbox.c.id).distinct())
            return await connection.scalar(select(bursts).where(_is_dead())) or 0

    async def examine(self, number: int) -> Circumstances:
        async with self._database.read() as connection:
            rows = await self._find(connection, number)
            parts = await connection.execute(
                select(deliveries).where(deliveries.c.turn_id == rows[0].turn_id).order_by(deliveries.c.part)
            )
            return Circumstances(
                _letter(rows),
                rows[0].turn_id,
                tuple((row.id, row.received_at) for row in rows),
                tuple(_delivered(row) for row in parts),
            )

    async def words(self, number: int) -> Words:
        """What the operator reads who looks on purpose.

        Raises:
            Undecryptable: they don't open any more.
        """
        async with self._database.read() as connection:
            rows = await self._find(connection, number)
            box = await self._vault.box(connection, rows[0].user_id)
            reply = rows[0].reply_sealed
            return Words(
                tuple(read_waiting(row._asdict(), box).text for row in rows),
                None if reply is None else box.open(reply, REPLY),
            )

    async def retry(self, number: int) -> None:
        """Puts the letter back into its lane, due now, with all its attempts before it.

        A reply that was composed goes along and is delivered as it is: a command isn't run twice.
        """
        async with self._database.write() as connection:
            await self._hold_lane(connection, number)
            rows = await self._find(connection, number)
            turn_id = rows[0].turn_id
            if await self._is_written_down(connection, turn_id):
                await self._reopen(connection, turn_id)
            else:
                turn_id = await self._begin_anew(connection, rows[0])
            await self._change(
                connection,
                rows,
                state=InboxState.WAITING,
                turn_id=turn_id,
                attempts=0,
                not_before=database_seconds(),
                reason=None,
            )

    async def drop(self, number: int) -> None:
        """Gives the letter up for good: its words are destroyed. Dropping it again changes nothing."""
        async with self._database.write() as connection:
            await self._hold_lane(connection, number)
            known = (await connection.execute(select(inbox).where(inbox.c.id == number))).one_or_none()
            if known is not None and known.reason == DROPPED:
                return
            rows = await self._find(connection, number)
            await self._drop_reply(connection, rows[0].turn_id)
            await self._change(connection, rows, state=InboxState.DONE, payload_sealed=None, reason=DROPPED)

    async def _hold_lane(self, connection: AsyncConnection, number: int) -> None:
        # As whoever takes from the lane or forgets: turns are begun one at a time, in the order of their ids.
        lane = select(inbox.c.conversation_id).where(inbox.c.id == number).scalar_subquery()
        await connection.execute(
            select(conversations.c.id).where(conversations.c.id == lane).with_for_update(key_share=True)
        )

    async def _find(self, connection: AsyncConnection, number: int) -> Sequence[Row[Any]]:
        """The rows of the letter with this message."""
        burst = select(inbox.c.turn_id).where(inbox.c.id == number).scalar_subquery()
        of_letter = (inbox.c.id == number) | (inbox.c.turn_id == burst)
        rows: Sequence[Row[Any]] = (await connection.execute(_rows().where(of_letter))).all()
        if not rows:
            row = (await connection.execute(select(inbox).where(inbox.c.id == number))).one_or_none()
            raise NotDead(f"{LETTER}{number} is no dead letter: {_instead(row)}.")
        return rows

    async def _is_written_down(self, connection: AsyncConnection, turn_id: int | None) -> bool:
        """Whether the turn stands in the transcript, as one does whose reply may have arrived."""
        found = await connection.scalar(select(messages.c.id).where(messages.c.turn_id == turn_id).limit(1))
        return found is not None

    async def _reopen(self, connection: AsyncConnection, turn_id: int) -> None:
        """Lets the turn go on where it ended: what isn't known to be at the platform may be sent again."""
        await connection.execute(
            update(turns).where(turns.c.id == turn_id).values(state=TurnState.OPEN, finished_at=None)
        )
        await connection.execute(
            update(deliveries)
            .where(deliveries.c.turn_id == turn_id, deliveries.c.state.in_(AGAIN_STATES))
            .values(state=DeliveryState.PENDING, updated_at=self._clock.now())
        )

    async def _begin_anew(self, connection: AsyncConnection, row: Row[Any]) -> int:
        """A new turn for a letter, behind those that have begun.

        In its old place in the transcript it would be overlooked by what reads that from some turn on.
        """
        turn_id: int = await connection.scalar(
            insert(turns)
            .values(
                conversation_id=row.conversation_id,
                user_id=row.user_id,
                state=TurnState.OPEN,
                started_at=self._clock.now(),
                reply_sealed=row.reply_sealed,
            )
            .returning(turns.c.id)
        )
        await self._drop_reply(connection, row.turn_id)
        return turn_id

    async def _drop_reply(self, connection: AsyncConnection, turn_id: int | None) -> None:
        await connection.execute(update(turns).where(turns.c.id == turn_id).values(reply_sealed=None))

    async def _change(self, connection: AsyncConnection, rows: Sequence[Row[Any]], **values: Any) -> None:
        await connection.execute(
            update(inbox).where(inbox.c.id.in_([row.id for row in rows])).values(**values)
        )


def _is_dead() -> ColumnElement[bool]:
    return and_(inbox.c.state.in_(UNANSWERED_STATES), inbox.c.payload_sealed.is_not(None))


def _rows() -> Select[Any]:
    """The dead letters' rows with what their turns say, a burst's rows together, the oldest burst first."""
    first = func.min(inbox.c.id).over(partition_by=func.coalesce(inbox.c.turn_id, -inbox.c.id))
    return (
        select(inbox, turns.c.finished_at, turns.c.reply_sealed)
        .join(turns, isouter=True)
        .where(_is_dead())
        .order_by(first, inbox.c.id)
    )


def _letter(rows: Sequence[Row[Any]]) -> DeadLetter:
    row = rows[0]
    return DeadLetter(
        id=f"{LETTER}{row.id}",
        kind="message",
        state=InboxState(row.state),
        since=row.finished_at or row.received_at,
        channel=row.channel,
        conversation_id=row.conversation_id,
        user_id=row.user_id,
        reason=row.reason,
        attempts=row.attempts,
    )


def _delivered(row: Row[Any]) -> DeliveredPart:
    part = None if row.part == AFTERWORD else row.part
    return DeliveredPart(part, row.state, row.reason, row.updated_at)


def _instead(row: Row[Any] | None) -> str:
    if row is None:
        return "there is no such message"
    if row.reason == DROPPED:
        return "it was dropped"
    if row.state in UNANSWERED_STATES:
        return "its words were forgotten"
    return "it was answered" if row.state == InboxState.DONE else "it waits for its answer"
