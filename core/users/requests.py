"""Requests to be let in: asked once a person, decided by an owner or the operator."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.storage.schema import admission_requests, doors
from core.storage.upsert import conflicting_insert
from core.users.doors import Door
from core.users.people import People

MOST_WAITING = 100
"""More strangers than that aren't noted: nobody could decide on them."""


class RequestState(StrEnum):
    WAITING = "waiting"
    APPROVED = "approved"
    DENIED = "denied"


class News(StrEnum):
    """What somebody who is in doesn't know yet."""

    LET_IN = "let in"
    """Their request was approved."""
    ASKED = "asked"
    """Somebody asks to be let in where they decide."""


@dataclass(frozen=True, slots=True)
class Request:
    """`name`: what the person is called at the door where they asked."""

    id: int
    user_id: str
    name: str
    door: Door
    asked_at: datetime
    state: RequestState


class Requests:
    """Notes and decides requests within the caller's transaction."""

    def __init__(self, people: People, clock: Clock) -> None:
        self._people = people
        self._clock = clock

    async def ask(self, connection: AsyncConnection, user_id: str, door: Door) -> RequestState | None:
        """Notes that somebody who isn't in asks; returns how that stands, None where too many ask.

        One that was denied stays denied.
        """
        state = await self.state(connection, user_id)
        if state in (RequestState.WAITING, RequestState.DENIED):
            return state
        waiting = select(func.count()).where(_in(RequestState.WAITING))
        if (await connection.scalar(waiting) or 0) >= MOST_WAITING:
            return None
        facts = {
            "channel": door.channel,
            "workspace": door.workspace,
            "asked_at": self._clock.now(),
            "state": RequestState.WAITING,
            "told": False,
        }
        written = conflicting_insert(connection, admission_requests).values(user_id=user_id, **facts)
        await connection.execute(written.on_conflict_do_update(index_elements=["user_id"], set_=facts))
        return RequestState.WAITING

    async def state(self, connection: AsyncConnection, user_id: str) -> RequestState | None:
        """How somebody's request stands, None where they never asked."""
        found = await connection.scalar(
            select(admission_requests.c.state).where(admission_requests.c.user_id == user_id)
        )
        return None if found is None else RequestState(found)

    async def waiting(self, connection: AsyncConnection) -> list[Request]:
        """Those to be decided, the oldest first."""
        return await self._read(connection, _in(RequestState.WAITING))

    async def get(self, connection: AsyncConnection, number: int) -> Request | None:
        """The request of this number, if it isn't approved already."""
        found = await self._read(
            connection, (admission_requests.c.id == number) & ~_in(RequestState.APPROVED)
        )
        return found[0] if found else None

    async def decide(self, connection: AsyncConnection, number: int, state: RequestState) -> None:
        await connection.execute(
            update(admission_requests)
            .where(admission_requests.c.id == number)
            .values(state=state, told=False)
        )

    async def withdraw(self, connection: AsyncConnection, user_id: str) -> None:
        """Drops the request of somebody who got in, or won't, without it."""
        await connection.execute(delete(admission_requests).where(admission_requests.c.user_id == user_id))

    async def news(self, connection: AsyncConnection, user_id: str) -> Sequence[News]:
        """What somebody who is in is to be told of requests; each is told once."""
        decides = select(doors.c.channel).where(doors.c.owner_id == user_id).exists()
        mine = (admission_requests.c.user_id == user_id) & _in(RequestState.APPROVED)
        theirs = _in(RequestState.WAITING) & decides
        rows = (
            await connection.execute(
                select(admission_requests.c.id, admission_requests.c.state).where(
                    admission_requests.c.told.is_(False), mine | theirs
                )
            )
        ).all()
        if rows:
            told = admission_requests.c.id.in_([row.id for row in rows])
            await connection.execute(update(admission_requests).where(told).values(told=True))
        states = {row.state for row in rows}
        told_by = {RequestState.APPROVED: News.LET_IN, RequestState.WAITING: News.ASKED}
        return [news for state, news in told_by.items() if state in states]

    async def _read(self, connection: AsyncConnection, which: ColumnElement[bool]) -> list[Request]:
        rows = (
            await connection.execute(
                select(admission_requests).where(which).order_by(admission_requests.c.id)
            )
        ).all()
        return [await self._request(connection, row) for row in rows]

    async def _request(self, connection: AsyncConnection, row: Row[Any]) -> Request:
        return Request(
            row.id,
            row.user_id,
            await self._people.name(connection, row.user_id),
            Door(row.channel, row.workspace),
            row.asked_at,
            RequestState(row.state),
        )


def _in(state: RequestState) -> ColumnElement[bool]:
    return admission_requests.c.state == state
