"""Users and their identities: which person an account on a platform is."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.messages import Sender, clean
from core.privacy.keys import MasterKey
from core.privacy.vault import Vault
from core.storage.database import new_id
from core.storage.schema import identities, sign_ins, users

NAME = "identities.name"
STANDING = (users.c.id, users.c.admitted_at, users.c.admitted_by, users.c.blocked_at)


class Admission(StrEnum):
    """What let somebody in."""

    HOME = "home"
    """A link or a key from this machine."""
    OPEN = "open"
    """A door that stood open."""
    CODE = "code"
    """The operator's own code."""
    INVITE = "invite"
    APPROVAL = "approval"


@dataclass(frozen=True, slots=True)
class User:
    """A person. `admitted`: may talk to Mneme, not only ask to be let in; nobody `blocked` may.

    `by`: what let them in; None where that was before it was noted, and for who isn't in.
    """

    id: str
    admitted: bool
    blocked: bool = False
    by: Admission | None = None


def is_paused() -> ColumnElement[bool]:
    """Whether nothing of what a row's user says is to be kept now."""
    return and_(users.c.paused_at.is_not(None), users.c.resumed_at.is_(None))


class People:
    """Finds users by their accounts, and makes them. All calls take part in the caller's transaction."""

    def __init__(self, vault: Vault, master: MasterKey, clock: Clock) -> None:
        self._vault = vault
        self._master = master
        self._clock = clock

    async def find(
        self, connection: AsyncConnection, channel: str, workspace: str, account: str
    ) -> User | None:
        """Who this account belongs to, if it was ever seen."""
        row = (
            await connection.execute(
                select(*STANDING)
                .join(identities)
                .where(
                    identities.c.channel == channel,
                    identities.c.workspace == workspace,
                    identities.c.account_digest == self._digest(account),
                )
            )
        ).one_or_none()
        return None if row is None else _user(row)

    async def meet(
        self,
        connection: AsyncConnection,
        channel: str,
        workspace: str,
        sender: Sender,
        *,
        admitted: Admission | None,
    ) -> User:
        """The user of this account; a new one, with a key of their own, when it is seen for the first time.

        `admitted` is what lets a new one in, if anything does.

        Raises:
            IntegrityError: another process met the same account just now; try again.
        """
        known = await self.find(connection, channel, workspace, sender.external_id)
        if known is not None:
            return known
        user = User(new_id(), admitted is not None, by=admitted)
        now = self._clock.now()
        await connection.execute(
            insert(users).values(
                id=user.id, created_at=now, admitted_at=now if admitted else None, admitted_by=admitted
            )
        )
        await self._vault.create(connection, user.id)
        box = await self._vault.box(connection, user.id)
        await connection.execute(
            insert(identities).values(
                user_id=user.id,
                channel=channel,
                workspace=workspace,
                account_digest=self._digest(sender.external_id),
                name_sealed=box.seal(clean(sender.display_name), NAME),
            )
        )
        return user

    async def get(self, connection: AsyncConnection, user_id: str) -> User | None:
        row = (await connection.execute(select(*STANDING).where(users.c.id == user_id))).one_or_none()
        return None if row is None else _user(row)

    async def name(self, connection: AsyncConnection, user_id: str) -> str:
        """What the person's first account calls them."""
        sealed = await connection.scalar(
            select(identities.c.name_sealed).where(identities.c.user_id == user_id).order_by(identities.c.id)
        )
        return (await self._vault.box(connection, user_id)).open(sealed, NAME) if sealed else ""

    async def called(self, connection: AsyncConnection, name: str) -> list[str]:
        """The ids of users who go by the name: their own id, or one of their accounts'."""
        found = await connection.scalars(
            select(users.c.id)
            .outerjoin(identities)
            .where((users.c.id == name) | (identities.c.account_digest == self._digest(name)))
            .distinct()
        )
        return list(found)

    async def named_account(
        self, connection: AsyncConnection, user_id: str, channel: str, workspace: str
    ) -> str | None:
        """The person's account on a channel where the name is the account, such as the web."""
        box = await self._vault.box(connection, user_id)
        rows = await connection.execute(
            select(identities.c.name_sealed, identities.c.account_digest)
            .where(
                identities.c.user_id == user_id,
                identities.c.channel == channel,
                identities.c.workspace == workspace,
            )
            .order_by(identities.c.id)
        )
        names = ((box.open(row.name_sealed, NAME), row.account_digest) for row in rows)
        return next((name for name, digest in names if self._digest(name) == digest), None)

    async def admit(self, connection: AsyncConnection, user_id: str, by: Admission) -> bool:
        """Lets somebody in who isn't; returns False for who is in already or blocked."""
        let_in = await connection.execute(
            update(users)
            .where(users.c.id == user_id, users.c.admitted_at.is_(None), users.c.blocked_at.is_(None))
            .values(admitted_at=self._clock.now(), admitted_by=by)
        )
        return let_in.rowcount > 0

    async def is_alone(self, connection: AsyncConnection, user_id: str) -> bool:
        """Whether somebody has a single account."""
        accounts = select(func.count()).where(identities.c.user_id == user_id)
        return await connection.scalar(accounts) == 1

    async def put_out(self, connection: AsyncConnection, user_id: str) -> None:
        """Takes back that somebody was let in; what they told stays theirs."""
        await connection.execute(
            update(users).where(users.c.id == user_id).values(admitted_at=None, admitted_by=None)
        )

    async def block(self, connection: AsyncConnection, user_id: str) -> bool:
        """Hears no more of somebody, and signs them out; returns False for who is blocked already."""
        blocked = await connection.execute(
            update(users)
            .where(users.c.id == user_id, users.c.blocked_at.is_(None))
            .values(blocked_at=self._clock.now(), told_on=None)
        )
        await connection.execute(delete(sign_ins).where(sign_ins.c.user_id == user_id))
        return blocked.rowcount > 0

    async def unblock(self, connection: AsyncConnection, user_id: str) -> bool:
        """Whoever was in before is in again; returns False for who isn't blocked."""
        unblocked = await connection.execute(
            update(users)
            .where(users.c.id == user_id, users.c.blocked_at.is_not(None))
            .values(blocked_at=None, told_on=None)
        )
        return unblocked.rowcount > 0

    async def blocked(self, connection: AsyncConnection) -> list[str]:
        """The ids of those who are blocked, in the order in which they came."""
        return list(
            await connection.scalars(
                select(users.c.id).where(users.c.blocked_at.is_not(None)).order_by(users.c.id)
            )
        )

    async def first_today(self, connection: AsyncConnection, user_id: str) -> bool:
        """Whether somebody who isn't let in wasn't told so yet on this day (UTC); from now on they were."""
        today = self._clock.now().date()
        told = await connection.execute(
            update(users)
            .where(users.c.id == user_id, or_(users.c.told_on.is_(None), users.c.told_on < today))
            .values(told_on=today)
        )
        return told.rowcount > 0

    def _digest(self, account: str) -> str:
        return self._master.digest("account", account)


def _user(row: Row[*tuple[Any, ...]]) -> User:
    by = Admission(row.admitted_by) if row.admitted_by else None
    blocked = row.blocked_at is not None
    return User(row.id, row.admitted_at is not None and not blocked, blocked, by)
