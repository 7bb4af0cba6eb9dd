"""Signing in to the web pages: a link that works once, then a session."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.messages import Sender, clean
from core.privacy.keys import MasterKey
from core.storage.database import Database
from core.storage.schema import sign_ins
from core.storage.upsert import conflicting_insert
from core.users.people import Admission, People

LINK_LIFE = timedelta(hours=24)
SESSION_LIFE = timedelta(days=30)
PAGE_LINK_LIFE = timedelta(minutes=10)
PAGE_SESSION_LIFE = timedelta(days=1)
"""Of links that were sent into a chat: others may look at that screen later."""
APP_SESSION_LIFE = timedelta(hours=2)
"""A platform's window opens a new one each time."""
SESSIONS = ("session", "app")
TOKEN_BYTES = 24
CHANNEL = "web"
WORKSPACE = "local"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is signed in: a user, what they are called, and their account on the web, None without one.

    `in_app`: within a platform's own window, which may have the page in a frame.
    """

    user_id: str
    name: str
    account: str | None
    in_app: bool


@dataclass(frozen=True, slots=True)
class Session:
    """A session just opened: its token, how long it lasts, whether it is for the page of one's memory."""

    token: str
    life: timedelta
    for_memory: bool


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
            user = await self._people.meet(connection, CHANNEL, WORKSPACE, sender, admitted=Admission.HOME)
            return await self._issue(connection, user.id, "link", LINK_LIFE)

    async def page_token(self, user_id: str) -> str:
        """A token for the same address that opens the user's memory; it works once, for ten minutes."""
        async with self._database.write() as connection:
            return await self._issue(connection, user_id, "page", PAGE_LINK_LIFE)

    async def open_session(self, link_token: str) -> Session | None:
        """Trades a link's token for a session's; None when it was used, has expired or never was."""
        async with self._database.write() as connection:
            used = delete(sign_ins).where(*self._valid(link_token, "link", "page"))
            link = (
                await connection.execute(used.returning(sign_ins.c.user_id, sign_ins.c.kind))
            ).one_or_none()
            if link is None:
                return None
            for_memory = link.kind == "page"
            life = PAGE_SESSION_LIFE if for_memory else SESSION_LIFE
            token = await self._issue(connection, link.user_id, "session", life)
        return Session(token, life, for_memory)

    async def open_app_session(self, user_id: str, proof: str, until: datetime) -> Session | None:
        """A session for who a platform proves to be this user; None when the proof was used before.

        `until` is when the proof is worth nothing anyway.
        """
        spent = {"token_digest": self._master.digest("proof", proof), "user_id": user_id, "kind": "spent"}
        async with self._database.write() as connection:
            noted = conflicting_insert(connection, sign_ins).values(**spent, expires_at=until)
            once = noted.on_conflict_do_nothing().returning(sign_ins.c.user_id)
            if await connection.scalar(once) is None:
                return None
            token = await self._issue(connection, user_id, "app", APP_SESSION_LIFE)
        return Session(token, APP_SESSION_LIFE, for_memory=True)

    async def user_of(self, session_token: str) -> str | None:
        """The id of the user whose session this is."""
        async with self._database.read() as connection:
            found: str | None = await connection.scalar(
                select(sign_ins.c.user_id).where(*self._valid(session_token, *SESSIONS))
            )
        return found

    async def visitor(self, session_token: str) -> Visitor | None:
        """Whose session this is; None when it has ended or never was, or they aren't admitted any more.

        Raises:
            Undecryptable: the user was forgotten.
        """
        session = select(sign_ins.c.user_id, sign_ins.c.kind).where(*self._valid(session_token, *SESSIONS))
        async with self._database.read() as connection:
            found = (await connection.execute(session)).one_or_none()
            user = await self._people.get(connection, found.user_id) if found else None
            if found is None or user is None or not user.admitted:
                return None
            account = await self._people.named_account(connection, user.id, CHANNEL, WORKSPACE)
            name = account or await self._people.name(connection, user.id)
        return Visitor(user.id, name, account, in_app=found.kind == "app")

    async def close_session(self, session_token: str) -> None:
        async with self._database.write() as connection:
            await connection.execute(delete(sign_ins).where(*self._valid(session_token, *SESSIONS)))

    async def _issue(self, connection: AsyncConnection, user_id: str, kind: str, life: timedelta) -> str:
        now = self._clock.now()
        await connection.execute(delete(sign_ins).where(sign_ins.c.expires_at < now))
        token = secrets.token_urlsafe(TOKEN_BYTES)
        digest = self._master.digest("sign-in", token)
        row = {"token_digest": digest, "user_id": user_id, "kind": kind, "expires_at": now + life}
        await connection.execute(insert(sign_ins).values(row))
        return token

    def _valid(self, token: str, *kinds: str) -> tuple[ColumnElement[bool], ...]:
        return (
            sign_ins.c.token_digest == self._master.digest("sign-in", token),
            sign_ins.c.kind.in_(kinds),
            sign_ins.c.expires_at >= self._clock.now(),
        )
