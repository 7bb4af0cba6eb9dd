"""Turns: what a lane's holder takes from the inbox, and how it gives it back."""

from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile

from sqlalchemy import ColumnElement, and_, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.delivery.conversations import Conversation, Conversations
from core.delivery.inbox import OPEN_STATES, InboxState, Waiting, read_waiting
from core.errors import LeaseLost
from core.privacy.vault import Vault
from core.storage.database import Database, database_seconds, lease_is_over
from core.storage.schema import conversations, inbox, turns

REPLY = "turns.reply"
MAX_ATTEMPTS = 3
MOST_ATTEMPTS = 12
"""Of a reply that stands but that its platform doesn't take: rests between them, three quarters of an hour.
An attempt that never came to its end, because its process was killed, counts as well."""
RETRY_SECONDS = (1.0, 5.0, 30.0, 120.0, 300.0)
"""How long a message that failed rests before its next attempts."""


LANE_ORDER = (inbox.c.turn_id.is_(None), inbox.c.turn_id, inbox.c.id)
"""A lane ends what it has begun, then goes by arrival: turns end in the order of their ids, also when an old
message is put back into the lane."""


class TurnState(StrEnum):
    OPEN = "open"
    DONE = "done"
    DEAD = "dead"
    """Given up; the person was told, if that was possible."""
    UNKNOWN = "unknown"
    """Nobody knows whether its reply arrived."""


@dataclass(slots=True)
class Lease:
    """The right to work on a conversation; `token` grows with each holder.

    `renewed_at`: when the record last said that it is ours, in monotonic seconds.
    """

    conversation_id: str
    token: int
    renewed_at: float


@dataclass(frozen=True, slots=True)
class Turn:
    """One burst of one person's messages, and the reply to it. `attempt` counts from 1."""

    id: int
    conversation: Conversation
    user_id: str
    messages: tuple[Waiting, ...]
    attempt: int
    lease: Lease

    @property
    def text(self) -> str:
        """The person's own words, as one."""
        return "\n".join(message.text for message in self.messages if message.text)

    @property
    def reply_to(self) -> str | None:
        return self.messages[-1].reply_to


class Turns:
    """Leases of conversations and what is taken under them."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        conversations: Conversations,
        clock: Clock,
        *,
        lease_seconds: float,
    ) -> None:
        self._database = database
        self._vault = vault
        self._conversations = conversations
        self._clock = clock
        self._lease_seconds = lease_seconds

    async def waiting(self) -> list[str]:
        """The conversations in which something is due and nobody works."""
        async with self._database.read() as connection:
            found = await connection.scalars(
                select(inbox.c.conversation_id)
                .join(conversations)
                .where(inbox.c.state.in_(OPEN_STATES), inbox.c.not_before <= database_seconds(), _free())
                .distinct()
            )
            return list(found)

    async def oldest_wait_seconds(self) -> float:
        """How long the oldest message that isn't answered has waited; 0 when none waits."""
        async with self._database.read() as connection:
            oldest = await connection.scalar(
                select(inbox.c.received_at)
                .where(inbox.c.state.in_(OPEN_STATES))
                .order_by(inbox.c.id)
                .limit(1)
            )
        return max(0.0, (self._clock.now() - oldest).total_seconds()) if oldest else 0.0

    async def lease(self, conversation_id: str, holder: str) -> Lease | None:
        """Takes the lane, if its first message is due and nobody holds it."""
        began = self._clock.monotonic()
        async with self._database.write() as connection:
            token = await connection.scalar(
                update(conversations)
                .where(conversations.c.id == conversation_id, _free(), _first_due(conversation_id))
                .values(
                    lease_token=conversations.c.lease_token + 1,
                    lease_holder=holder,
                    lease_until=database_seconds() + self._lease_seconds,
                )
                .returning(conversations.c.lease_token)
            )
        return None if token is None else Lease(conversation_id, token, began)

    async def renew(self, lease: Lease) -> None:
        """Holds the lane for longer.

        Raises:
            LeaseLost: somebody else took it over.
        """
        began = self._clock.monotonic()
        async with self._database.write() as connection:
            await self.fence(connection, lease)
        lease.renewed_at = began

    def holds(self, lease: Lease) -> bool:
        """Whether nobody else can have taken the lane since it was last renewed, told without asking.

        A process that stood still finds so before it does what can't be fenced, as at a platform.
        """
        return self._clock.monotonic() - lease.renewed_at < self._lease_seconds

    async def fence(self, connection: AsyncConnection, lease: Lease) -> None:
        """Lets the transaction go on only if the lane is still ours, and renews the lease with it.

        Raises:
            LeaseLost: somebody else took it over; the transaction must not commit.
        """
        held = await connection.execute(
            update(conversations)
            .where(conversations.c.id == lease.conversation_id, conversations.c.lease_token == lease.token)
            .values(lease_until=database_seconds() + self._lease_seconds)
        )
        if held.rowcount == 0:
            raise LeaseLost("the lane was taken over")

    async def release(self, lease: Lease, *, though_waiting: bool = False) -> bool:
        """Gives the lane back, unless something is due in it: then it stays ours, and False is returned."""
        mine = and_(conversations.c.id == lease.conversation_id, conversations.c.lease_token == lease.token)
        idle = mine if though_waiting else and_(mine, ~_first_due(lease.conversation_id))
        async with self._database.write() as connection:
            given = await connection.execute(
                update(conversations).where(idle).values(lease_holder=None, lease_until=None)
            )
            if given.rowcount > 0:
                return True
            still_mine = await connection.scalar(select(conversations.c.id).where(mine))
        return still_mine is None

    async def count_waiting(self, lease: Lease) -> int:
        """How many messages stand in the lane."""
        async with self._database.read() as connection:
            return (
                await connection.scalar(
                    select(func.count())
                    .select_from(inbox)
                    .where(inbox.c.conversation_id == lease.conversation_id, inbox.c.state.in_(OPEN_STATES))
                )
                or 0
            )

    async def take(self, lease: Lease) -> Turn | None:
        """The next turn: the first person's messages up to the next person's, a command, or an edit.

        What a dead holder had taken is taken again, with its turn.

        Raises:
            LeaseLost: the lane is somebody else's by now.
            Undecryptable: its words don't open any more.
        """
        async with self._database.write() as connection:
            await self.fence(connection, lease)
            rows = (
                (
                    await connection.execute(
                        select(inbox)
                        .where(
                            inbox.c.conversation_id == lease.conversation_id, inbox.c.state.in_(OPEN_STATES)
                        )
                        .order_by(*LANE_ORDER)
                    )
                )
                .mappings()
                .all()
            )
            if not rows:
                return None
            first = rows[0]
            mine = list(
                takewhile(
                    lambda r: r["user_id"] == first["user_id"] and r["turn_id"] == first["turn_id"], rows
                )
            )
            box = await self._vault.box(connection, first["user_id"])
            burst = _burst([read_waiting(dict(row), box) for row in mine])
            turn_id = first["turn_id"] or await self._begin(connection, lease, first["user_id"])
            await connection.execute(
                update(inbox)
                .where(inbox.c.id.in_([message.id for message in burst]))
                .values(state=InboxState.TAKEN, turn_id=turn_id, attempts=inbox.c.attempts + 1)
            )
            conversation = await self._conversations.get(connection, lease.conversation_id)
        return Turn(turn_id, conversation, first["user_id"], tuple(burst), first["attempts"] + 1, lease)

    async def _begin(self, connection: AsyncConnection, lease: Lease, user_id: str) -> int:
        turn_id: int = await connection.scalar(
            insert(turns)
            .values(
                conversation_id=lease.conversation_id,
                user_id=user_id,
                state=TurnState.OPEN,
                started_at=self._clock.now(),
            )
            .returning(turns.c.id)
        )
        return turn_id

    async def bury(self, lease: Lease, reason: str) -> None:
        """Ends as dead what the first person in the lane wrote: it can't be read, and others wait behind it.

        Raises:
            LeaseLost: the lane is somebody else's by now.
        """
        waits = and_(inbox.c.conversation_id == lease.conversation_id, inbox.c.state.in_(OPEN_STATES))
        async with self._database.write() as connection:
            await self.fence(connection, lease)
            writer = await connection.scalar(
                select(inbox.c.user_id).where(waits).order_by(*LANE_ORDER).limit(1)
            )
            theirs = and_(turns.c.conversation_id == lease.conversation_id, turns.c.user_id == writer)
            await connection.execute(
                update(turns)
                .where(theirs, turns.c.state == TurnState.OPEN)
                .values(state=TurnState.DEAD, finished_at=self._clock.now())
            )
            await connection.execute(
                update(inbox)
                .where(waits, inbox.c.user_id == writer)
                .values(state=InboxState.DEAD, reason=reason)
            )

    async def composed(self, turn: Turn) -> str | None:
        """The reply that an earlier attempt made whole, but didn't see delivered."""
        async with self._database.read() as connection:
            sealed = await connection.scalar(select(turns.c.reply_sealed).where(turns.c.id == turn.id))
            box = await self._vault.box(connection, turn.user_id)
        return None if sealed is None else box.open(sealed, REPLY)

    async def compose(self, connection: AsyncConnection, turn: Turn, reply: str) -> None:
        """Stores the whole reply within the caller's transaction: it is delivered, and never made again.

        Raises:
            LeaseLost: somebody else makes it; the transaction must not commit.
        """
        await self.fence(connection, turn.lease)
        box = await self._vault.box(connection, turn.user_id)
        await connection.execute(
            update(turns).where(turns.c.id == turn.id).values(reply_sealed=box.seal(reply, REPLY))
        )

    async def put_back(self, turn: Turn, reason: str, *, at_least_seconds: float = 0.0) -> None:
        """Lets a turn that failed rest before its next attempt; the lane's order is kept."""
        rest = max(RETRY_SECONDS[min(turn.attempt, len(RETRY_SECONDS)) - 1], at_least_seconds)
        async with self._database.write() as connection:
            await self.fence(connection, turn.lease)
            await connection.execute(
                update(inbox)
                .where(inbox.c.turn_id == turn.id, inbox.c.state == InboxState.TAKEN)
                .values(state=InboxState.WAITING, not_before=database_seconds() + rest, reason=reason)
            )

    async def finish(
        self,
        connection: AsyncConnection,
        turn: Turn,
        state: TurnState,
        account: bytes | None,
        reason: str | None,
        *,
        kept: bool = True,
    ) -> None:
        """Ends the turn within the caller's transaction: its words now stand in the transcript alone.

        What isn't `kept` leaves no words for an operator either, whatever became of it.

        Raises:
            LeaseLost: the transaction must not commit.
        """
        await self.fence(connection, turn.lease)
        await connection.execute(
            update(turns)
            .where(turns.c.id == turn.id)
            .values(state=state, finished_at=self._clock.now(), account_sealed=account, kept=kept)
        )
        ended: dict[str, object] = {"state": InboxState(state.value), "reason": reason}
        if state is TurnState.DONE or not kept:
            ended["payload_sealed"] = None
        await connection.execute(
            update(inbox).where(inbox.c.turn_id == turn.id, inbox.c.state == InboxState.TAKEN).values(**ended)
        )


def _burst(messages: list[Waiting]) -> list[Waiting]:
    """The messages that make one turn: a command, an edit, a refusal are each a turn of their own."""
    if _stands_alone(messages[0]):
        return messages[:1]
    return list(takewhile(lambda message: not _stands_alone(message), messages))


def _stands_alone(message: Waiting) -> bool:
    return bool(message.edits or message.declined) or message.text.startswith("/")


def _free() -> ColumnElement[bool]:
    return lease_is_over(conversations.c.lease_until)


def _first_due(conversation_id: str) -> ColumnElement[bool]:
    first = (
        select(inbox.c.not_before)
        .where(inbox.c.conversation_id == conversation_id, inbox.c.state.in_(OPEN_STATES))
        .order_by(*LANE_ORDER)
        .limit(1)
        .scalar_subquery()
    )
    return func.coalesce(first <= database_seconds(), False)
