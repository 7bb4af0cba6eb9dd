"""Signing in to the web chat: a link that works once, then a session."""

import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, Insert, delete, insert, select
from sqlalchemy.exc import IntegrityError

from core.clock import Clock
from core.messages import Sender, clean
from core.privacy.keys import MasterKey
from core.storage.database import Database
from core.storage.schema import sign_ins
from core.users.people import People

LINK_LIFE = timedelta(hours=24)
SESSION_LIFE = timedelta(days=30)
TOKEN_BYTES = 24
CHANNEL = "web"
WORKSPACE = "local"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is signed in: a user, and the name that is their account on the web."""

    user_id: str
    name: str


class SignIn:
    """Links and sessions. Tokens stand in the record only as keyed digests."""

    def __init__(self, database: Database, people: People, master: MasterKey, clock: Clock) -> None:
        self._database = database
        self._people = people
        self._master = master
        self._clock = clock

    async def link_token(self, name: str) -> str:
        """A token for `/sign-in?token=...` as the web user of this name; it works once, for a day."""
        sender = Sender(external_id=clean(name), display_name=clean(name))
        try:
            return await self._new_link(sender)
        except IntegrityError:
            # Somebody else met the same name just now: by now the account stands.
            return await self._new_link(sender)

    async def _new_link(self, sender: Sender) -> str:
        async with self._database.write() as connection:
            user = await self._people.meet(connection, CHANNEL, WORKSPACE, sender, admitted=True)
            token = secrets.token_urlsafe(TOKEN_BYTES)
            await connection.execute(delete(sign_ins).where(sign_ins.c.expires_at < self._clock.now()))
            await connection.execute(self._row(token, user.id, "link", LINK_LIFE))
        return token

    async def open_session(self, link_token: str) -> str | None:
        """Trades a link's token for a session's; None when it was used, has expired or never was."""
        async with self._database.write() as connection:
            user_id = await connection.scalar(
                delete(sign_ins).where(*self._valid(link_token, "link")).returning(sign_ins.c.user_id)
            )
            if user_id is None:
                return None
            token = secrets.token_urlsafe(TOKEN_BYTES)
            await connection.execute(self._row(token, user_id, "session", SESSION_LIFE))
        return token

    async def user_of(self, session_token: str) -> str | None:
        """The id of the user whose session this is."""
        async with self._database.read() as connection:
            found: str | None = await connection.scalar(
                select(sign_ins.c.user_id).where(*self._valid(session_token, "session"))
            )
        return found

    async def visitor(self, session_token: str) -> Visitor | None:
        """Whose session this is, by user and name; None when it has ended or never was.

        Raises:
            Undecryptable: the user was forgotten.
        """
        user_id = await self.user_of(session_token)
        if user_id is None:
            return None
        async with self._database.read() as connection:
            name = await self._people.named_account(connection, user_id, CHANNEL, WORKSPACE)
        return None if name is None else Visitor(user_id, name)

    async def close_session(self, session_token: str) -> None:
        async with self._database.write() as connection:
            await connection.execute(delete(sign_ins).where(*self._valid(session_token, "session")))

    def _row(self, token: str, user_id: str, kind: str, life: timedelta) -> Insert:
        return insert(sign_ins).values(
            token_digest=self._master.digest("sign-in", token),
            user_id=user_id,
            kind=kind,
            expires_at=self._clock.now() + life,
        )

    def _valid(self, token: str, kind: str) -> tuple[ColumnElement[bool], ...]:
        return (
            sign_ins.c.token_digest == self._master.digest("sign-in", token),
            sign_ins.c.kind == kind,
            sign_ins.c.expires_at >= self._clock.now(),
        )
