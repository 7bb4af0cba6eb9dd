"""Invitations: codes that let some people in for some days, kept as keyed digests alone."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.privacy.keys import MasterKey
from core.storage.schema import invites
from core.users.audit import Audit
from core.users.codes import new_code, read_code
from core.users.doors import Door

DAYS = 7
MOST_DAYS = 365
MOST_USES = 1_000


@dataclass(frozen=True, slots=True)
class Invite:
    """An invitation without its code, which nobody can read any more. `door`: None for all of them.

    `made_by`: a user's id, None for the operator.
    """

    id: int
    door: Door | None
    uses_left: int
    expires_at: datetime
    made_by: str | None


class Invites:
    """Makes and takes invitations within the caller's transaction."""

    def __init__(self, master: MasterKey, audit: Audit, clock: Clock) -> None:
        self._master = master
        self._audit = audit
        self._clock = clock

    async def make(
        self,
        connection: AsyncConnection,
        *,
        made_by: str | None,
        door: Door | None = None,
        uses: int = 1,
        days: int = DAYS,
    ) -> str:
        """The code of a new invitation, for as many people and days; it can't be read again."""
        code = new_code()
        now = self._clock.now()
        await connection.execute(
            delete(invites).where(or_(invites.c.expires_at <= now, invites.c.uses_left < 1))
        )
        number = await connection.scalar(
            insert(invites)
            .values(
                code_digest=self._digest(code),
                made_by=made_by,
                channel=door and door.channel,
                workspace=(door and door.workspace) or None,
                uses_left=uses,
                expires_at=now + timedelta(days=days),
            )
            .returning(invites.c.id)
        )
        await self._audit.note(connection, "invite", actor=made_by, detail=_name(number))
        return code

    async def use(self, connection: AsyncConnection, said: str, door: Door) -> str | None:
        """Takes one use of the invitation whose code this is, and names it; None where it opens nothing here.

        Of two at once who want the last use, one gets it.
        """
        taken = await connection.scalar(
            update(invites)
            .where(
                invites.c.code_digest == self._digest(read_code(said)),
                invites.c.uses_left > 0,
                invites.c.expires_at > self._clock.now(),
                or_(invites.c.channel.is_(None), invites.c.channel == door.channel),
                or_(invites.c.workspace.is_(None), invites.c.workspace == door.workspace),
            )
            .values(uses_left=invites.c.uses_left - 1)
            .returning(invites.c.id)
        )
        return None if taken is None else _name(taken)

    async def open(self, connection: AsyncConnection) -> list[Invite]:
        """Those that still let somebody in, the oldest first."""
        rows = await connection.execute(
            select(invites)
            .where(invites.c.uses_left > 0, invites.c.expires_at > self._clock.now())
            .order_by(invites.c.id)
        )
        return [
            Invite(
                row.id,
                Door(row.channel, row.workspace or "") if row.channel else None,
                row.uses_left,
                row.expires_at,
                row.made_by,
            )
            for row in rows
        ]

    async def revoke(self, connection: AsyncConnection, number: int) -> bool:
        """Lets an invitation open nothing any more; False where there is none of that number."""
        gone = await connection.execute(delete(invites).where(invites.c.id == number))
        if gone.rowcount:
            await self._audit.note(connection, "revoke", detail=_name(number))
        return gone.rowcount > 0

    async def revoke_all_of(self, connection: AsyncConnection, user_id: str) -> None:
        await connection.execute(delete(invites).where(invites.c.made_by == user_id))

    def _digest(self, code: str) -> str:
        return self._master.digest("invite", code)


def _name(number: int | None) -> str:
    return f"invite {number}"
