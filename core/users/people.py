"""Users and their identities: which person an account on a platform is."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.messages import Sender, clean
from core.privacy.keys import MasterKey
from core.privacy.vault import Vault
from core.storage.database import new_id
from core.storage.schema import identities, users

NAME = "identities.name"


@dataclass(frozen=True, slots=True)
class User:
    """A person. `admitted`: may talk to Mneme, not only ask to be let in."""

    id: str
    admitted: bool


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
                select(users.c.id, users.c.admitted_at)
                .join(identities)
                .where(
                    identities.c.channel == channel,
                    identities.c.workspace == workspace,
                    identities.c.account_digest == self._digest(account),
                )
            )
        ).one_or_none()
        return None if row is None else User(row.id, row.admitted_at is not None)

    async def meet(
        self, connection: AsyncConnection, channel: str, workspace: str, sender: Sender, *, admitted: bool
    ) -> User:
        """The user of this account; a new one, with a key of their own, when it is seen for the first time.

        Raises:
            IntegrityError: another process met the same account just now; try again.
        """
        known = await self.find(connection, channel, workspace, sender.external_id)
        if known is not None:
            return known
        user = User(new_id(), admitted)
        now = self._clock.now()
        await connection.execute(
            insert(users).values(id=user.id, created_at=now, admitted_at=now if admitted else None)
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
        row = (
            await connection.execute(select(users.c.admitted_at).where(users.c.id == user_id))
        ).one_or_none()
        return None if row is None else User(user_id, row.admitted_at is not None)

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

    async def admit(self, connection: AsyncConnection, user_id: str) -> None:
        await connection.execute(
            update(users)
            .where(users.c.id == user_id, users.c.admitted_at.is_(None))
            .values(admitted_at=self._clock.now())
        )

    def _digest(self, account: str) -> str:
        return self._master.digest("account", account)
