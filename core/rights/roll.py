"""The roll: who is known here, by numbers and names, without a word of what they said."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.privacy.vault import Vault
from core.storage.schema import erasures, identities, memories, messages, users
from core.users.people import NAME


@dataclass(frozen=True, slots=True)
class Account:
    """Where somebody writes from; `workspace` is a Slack team's id, say."""

    channel: str
    workspace: str
    name: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One person. `messages` counts their own; `memories` those that hold; `last_said_at`: None, if never."""

    id: str
    accounts: tuple[Account, ...]
    known_since: datetime
    admitted: bool
    blocked: bool
    messages: int
    memories: int
    last_said_at: datetime | None

    @property
    def channels(self) -> tuple[str, ...]:
        """Where they write from, each once."""
        return tuple(dict.fromkeys(account.channel for account in self.accounts))


class Roll:
    """Reads the roll within the caller's transaction."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def everybody(self, connection: AsyncConnection) -> Sequence[Entry]:
        """All people, in the order in which they came."""
        bearers = select(erasures.c.bearer_id).where(erasures.c.bearer_id.is_not(None))
        ids = await connection.scalars(
            select(users.c.id).where(users.c.id.not_in(bearers)).order_by(users.c.id)
        )
        return [await self.entry(connection, id) for id in ids.all()]

    async def entry(self, connection: AsyncConnection, user_id: str) -> Entry:
        """One person's.

        Raises:
            NoResultFound: there is no such user.
        """
        user = (await connection.execute(select(users).where(users.c.id == user_id))).one()
        said = select(func.count(), func.max(messages.c.said_at)).where(
            messages.c.user_id == user_id, messages.c.role == "user"
        )
        count, last = (await connection.execute(said)).one()
        held = select(func.count()).where(memories.c.user_id == user_id, memories.c.retired_at.is_(None))
        theirs = select(identities).where(identities.c.user_id == user_id).order_by(identities.c.id)
        rows = (await connection.execute(theirs)).all()
        box = await self._vault.box(connection, user_id) if rows else None
        return Entry(
            id=user_id,
            accounts=tuple(
                Account(row.channel, row.workspace, box.open(row.name_sealed, NAME)) for row in rows if box
            ),
            known_since=user.created_at,
            admitted=user.admitted_at is not None,
            blocked=user.blocked_at is not None,
            messages=count,
            memories=await connection.scalar(held) or 0,
            last_said_at=last,
        )
