"""The outbox: one message is opened at the platform, its id is stored, and from then on it is only edited."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, and_, case, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.delivery.outlet import Outlet
from core.delivery.turns import Turn, Turns, TurnState
from core.errors import DeliveryError, DeliveryUnknown, LeaseLost, NotDelivered, Undeliverable
from core.privacy.keys import MasterKey
from core.storage.database import Database
from core.storage.pacer import Pacer
from core.storage.schema import deliveries, turns
from core.storage.upsert import conflicting_insert

LONGEST_PAUSE_SECONDS = 60.0
"""A platform that asks for a longer rest is written to in a later attempt; the lane is free until then."""
SETTLED_SECONDS = 30.0
"""A message that can't be found so long after it was sent never arrived: it may be sent again."""
AFTERWORD = 1_000
"""The part number of a line that stands behind a reply of unknown fate, and is no part of it."""


class DeliveryState(StrEnum):
    """How one part of a reply stands: `pending → sending → open → sent`, or `unknown`, or `failed`."""

    PENDING = "pending"
    """Certainly not at the platform: it will be sent again."""
    SENDING = "sending"
    """Written before the platform is called: after a crash, nobody knows whether it arrived."""
    OPEN = "open"
    """It stands there, and is edited until the reply is whole."""
    SENT = "sent"
    UNKNOWN = "unknown"
    """It was sent and no answer came. Where the platform can be asked, its fate is found out."""
    FAILED = "failed"


UNENDED_STATES = (
    DeliveryState.PENDING,
    DeliveryState.SENDING,
    DeliveryState.OPEN,
    DeliveryState.UNKNOWN,
)


@dataclass(slots=True)
class Part:
    """One message of a reply at its platform, and what it was last made to show."""

    delivery_id: int
    platform_id: str
    shown: str | None
    final: bool = False
    stored: bool = True


class Outbox:
    """Makes the way out for turns."""

    def __init__(
        self,
        database: Database,
        turns: Turns,
        outlets: Mapping[str, Outlet],
        pacer: Pacer,
        master: MasterKey,
        clock: Clock,
    ) -> None:
        self._database = database
        self._turns = turns
        self._outlets = outlets
        self._pacer = pacer
        self._master = master
        self._clock = clock

    def outlet(self, turn: Turn) -> Outlet:
        """The way out to where the turn came from.

        Raises:
            Undeliverable: this process doesn't serve the channel.
        """
        outlet = self._outlets.get(turn.conversation.channel)
        if outlet is None:
            raise Undeliverable(f"no {turn.conversation.channel} channel runs here")
        return outlet

    async def stored(self, turn: Turn, outlet: Outlet) -> list[Part]:
        """What earlier attempts opened, in order.

        Raises:
            DeliveryUnknown: an earlier attempt died while opening a message: it must not be sent again.
            NotDelivered: the fate of such a message isn't known yet.
            Undeliverable: the platform refused one for good.
            LeaseLost: somebody else writes the reply.
        """
        parts = []
        for row in await self._settled(turn):
            if row.state == DeliveryState.FAILED:
                raise Undeliverable("the platform refused an earlier attempt's message")
            platform_id = row.platform_id
            if row.state == DeliveryState.UNKNOWN:
                platform_id = await self._find(turn, outlet, row)
            if platform_id is not None:
                parts.append(Part(row.id, platform_id, shown=None))
        return parts

    async def _settled(self, turn: Turn) -> Sequence[Row[Any]]:
        """The reply's messages in order. What was being sent when an attempt died is of unknown fate."""
        of_turn = select(deliveries).where(deliveries.c.turn_id == turn.id, deliveries.c.part < AFTERWORD)
        in_order = of_turn.order_by(deliveries.c.part)
        async with self._database.read() as connection:
            rows = (await connection.execute(in_order)).all()
        if not any(row.state == DeliveryState.SENDING for row in rows):
            return rows
        async with self._database.write() as connection:
            await self._turns.fence(connection, turn.lease)
            await connection.execute(
                update(deliveries)
                .where(deliveries.c.turn_id == turn.id, deliveries.c.state == DeliveryState.SENDING)
                .values(state=DeliveryState.UNKNOWN)
            )
            return (await connection.execute(in_order)).all()

    async def _find(self, turn: Turn, outlet: Outlet, row: Row[Any]) -> str | None:
        """What became of a message whose sending was begun; None when it may be sent again."""
        found = await outlet.find(turn.conversation.address, row.id, row.updated_at)
        if found is not None:
            await self.opened(row.id, found)
            return found
        age = (self._clock.now() - row.updated_at).total_seconds()
        if age < SETTLED_SECONDS:
            raise NotDelivered("its fate isn't known yet", SETTLED_SECONDS - max(0.0, age))
        async with self._database.write() as connection:
            await self._turns.fence(connection, turn.lease)
            await self._set(connection, row.id, DeliveryState.PENDING)
        return None

    async def make_room(self, turn: Turn, outlet: Outlet, *, live: bool, urgent: bool) -> None:
        """Returns when the platform may be written to; what isn't urgent doesn't wait.

        Raises:
            NotDelivered: not soon.
        """
        limits = [
            replace(limit, key=self._key(limit.key))
            for limit in outlet.limits(turn.conversation.address, live=live)
        ]
        patience = LONGEST_PAUSE_SECONDS if urgent else 0.0
        wait = await self._pacer.book(limits, within_seconds=patience)
        if wait > patience:
            raise NotDelivered("the platform's pace", wait)
        await asyncio.sleep(wait)

    def require_hold(self, turn: Turn) -> None:
        """Goes before every call to a platform, which knows of no leases.

        Raises:
            LeaseLost: somebody else may be writing this reply.
        """
        if not self._turns.holds(turn.lease):
            raise LeaseLost("this process stood still for too long")

    async def whole(self, turn: Turn) -> str | None:
        """The reply, if it was composed by whoever holds the lane now."""
        return await self._turns.composed(turn)

    async def rest(self, turn: Turn, outlet: Outlet, seconds: float) -> None:
        """The platform asks not to be written to there for so long."""
        for limit in outlet.limits(turn.conversation.address, live=False)[:1]:
            await self._pacer.rest(self._key(limit.key), seconds)

    def _key(self, name: str) -> str:
        """Redis must not learn who talks."""
        return self._master.digest("pace", name)[:32]

    async def begin_part(self, turn: Turn, part: int) -> int:
        """Writes down that a message is about to be opened; returns its delivery's id.

        Raises:
            DeliveryUnknown: it was begun before, and what became of it isn't known.
        """
        now = {"state": DeliveryState.SENDING, "updated_at": self._clock.now(), "reason": None}
        async with self._database.write() as connection:
            await self._turns.fence(connection, turn.lease)
            delivery_id: int | None = await connection.scalar(
                conflicting_insert(connection, deliveries)
                .values(turn_id=turn.id, part=part, **now)
                .on_conflict_do_update(
                    index_elements=["turn_id", "part"],
                    set_=now,
                    where=deliveries.c.state == DeliveryState.PENDING,
                )
                .returning(deliveries.c.id)
            )
        if delivery_id is None:
            raise DeliveryUnknown("this part was begun before")
        return delivery_id

    async def opened(self, delivery_id: int, platform_id: str) -> None:
        """Stores that a message stands at the platform; who lost the lane meanwhile tells it too."""
        async with self._database.write() as connection:
            await self._set(connection, delivery_id, DeliveryState.OPEN, platform_id=platform_id)

    async def not_opened(self, turn: Turn, delivery_id: int, error: DeliveryError) -> None:
        """Stores what is known of a message that couldn't be opened.

        Raises:
            LeaseLost: somebody else may have begun it again.
        """
        if isinstance(error, NotDelivered):
            state = DeliveryState.PENDING
        elif isinstance(error, DeliveryUnknown):
            state = DeliveryState.UNKNOWN
        else:
            state = DeliveryState.FAILED
        async with self._database.write() as connection:
            await self._turns.fence(connection, turn.lease)
            await self._set(connection, delivery_id, state, reason=type(error).__name__)

    async def close(self, connection: AsyncConnection, turn: Turn) -> bool:
        """Ends the turn's messages, in the transaction that ends the turn; whether one's fate is unknown."""
        end = case(
            {DeliveryState.OPEN: DeliveryState.SENT, DeliveryState.PENDING: DeliveryState.FAILED},
            value=deliveries.c.state,
            else_=DeliveryState.UNKNOWN,
        )
        ended = await connection.scalars(
            update(deliveries)
            .where(deliveries.c.turn_id == turn.id, deliveries.c.state.in_(UNENDED_STATES))
            .values(state=end, updated_at=self._clock.now())
            .returning(deliveries.c.state)
        )
        return DeliveryState.UNKNOWN in set(ended)

    async def _set(
        self, connection: AsyncConnection, delivery_id: int, state: DeliveryState, **values: str
    ) -> None:
        """Settles the fate of a message, unless somebody else has done so, or the turn has ended."""
        unsettled = and_(
            deliveries.c.state.in_((DeliveryState.SENDING, DeliveryState.UNKNOWN)),
            deliveries.c.turn_id.in_(select(turns.c.id).where(turns.c.state == TurnState.OPEN)),
        )
        await connection.execute(
            update(deliveries)
            .where(deliveries.c.id == delivery_id, unsettled)
            .values(state=state, updated_at=self._clock.now(), **values)
        )
