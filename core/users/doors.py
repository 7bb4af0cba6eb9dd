"""Doors: where people come in, who is let in there, and who claimed it."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.storage.schema import doors
from core.storage.upsert import conflicting_insert

HOME_CHANNELS = frozenset({"web", "console"})
"""Reached only with a link or a key from this machine: who is there was let in already."""


class Mode(StrEnum):
    """Who is let in at a door."""

    INVITE = "invite"
    """Whoever has an invitation, or whose request was approved."""
    OPEN = "open"
    """Everybody but outsiders, who need what others need at a door of invitations."""
    CLOSED = "closed"
    """Nobody new."""


@dataclass(frozen=True, slots=True)
class Door:
    """A workspace of a channel; "" stands for the channel as a whole."""

    channel: str
    workspace: str = ""

    def __str__(self) -> str:
        return f"{self.channel}/{self.workspace}" if self.workspace else self.channel


@dataclass(frozen=True, slots=True)
class DoorState:
    """What the record has of a door. `mode`: None, as its channel or the settings say."""

    door: Door
    mode: Mode | None
    owner_id: str | None


class Doors:
    """Reads and sets doors within the caller's transaction. `default` holds where nothing was set."""

    def __init__(self, default: Mode, clock: Clock) -> None:
        self.default = default
        self._clock = clock

    async def mode(self, connection: AsyncConnection, door: Door) -> Mode:
        """What was set for the workspace, else for its channel, else for all."""
        chosen = await connection.scalar(
            select(doors.c.mode)
            .where(
                doors.c.channel == door.channel,
                doors.c.workspace.in_(("", door.workspace)),
                doors.c.mode.is_not(None),
            )
            .order_by(doors.c.workspace.desc())  # the workspace's own before its channel's
            .limit(1)
        )
        return self.default if chosen is None else Mode(chosen)

    async def set_mode(self, connection: AsyncConnection, door: Door, mode: Mode | None) -> None:
        await self._know(connection, door)
        await connection.execute(update(doors).where(_is(door)).values(mode=mode))

    async def claim(self, connection: AsyncConnection, door: Door, user_id: str) -> bool:
        """Makes somebody the door's owner; False where it has one. Of two at once, one succeeds."""
        await self._know(connection, door)
        claimed = await connection.execute(
            update(doors)
            .where(_is(door), doors.c.owner_id.is_(None))
            .values(owner_id=user_id, claimed_at=self._clock.now())
        )
        return claimed.rowcount > 0

    async def owner(self, connection: AsyncConnection, door: Door) -> str | None:
        found: str | None = await connection.scalar(select(doors.c.owner_id).where(_is(door)))
        return found

    async def owns_any(self, connection: AsyncConnection, user_id: str) -> bool:
        """Whether somebody claimed a door: they showed the operator's code, so they decide at all of them."""
        return await connection.scalar(select(doors.c.channel).where(doors.c.owner_id == user_id)) is not None

    async def give_up(self, connection: AsyncConnection, *, door: Door | None, user_id: str | None) -> None:
        """Leaves a door, or all of somebody's, without an owner: it can be claimed again."""
        mine = _is(door) if door is not None else doors.c.owner_id == user_id
        await connection.execute(update(doors).where(mine).values(owner_id=None, claimed_at=None))

    async def all(self, connection: AsyncConnection) -> list[DoorState]:
        """Those of which something is known, a channel before its workspaces."""
        rows = await connection.execute(select(doors).order_by(doors.c.channel, doors.c.workspace))
        return [
            DoorState(Door(row.channel, row.workspace), Mode(row.mode) if row.mode else None, row.owner_id)
            for row in rows
        ]

    async def _know(self, connection: AsyncConnection, door: Door) -> None:
        made = conflicting_insert(connection, doors).values(channel=door.channel, workspace=door.workspace)
        await connection.execute(made.on_conflict_do_nothing())


def _is(door: Door) -> ColumnElement[bool]:
    return (doors.c.channel == door.channel) & (doors.c.workspace == door.workspace)
