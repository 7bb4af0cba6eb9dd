"""Linking: one person's accounts on several channels become one, and are parted again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

import structlog
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.delivery.turns import Turn, Turns
from core.errors import IndexMismatch, ModelError, Unavailable
from core.memory.forgetting import Forgetting
from core.memory.indexing import Indexer
from core.privacy.keys import MasterKey
from core.privacy.vault import Vault
from core.rights.moving import Account, Moving
from core.rights.roll import Entry, Roll
from core.storage.database import Database, new_id, one_at_a_time
from core.storage.schema import identities, link_codes, link_news, users
from core.users.audit import Audit
from core.users.codes import Guesses, new_code, read_code
from core.users.people import is_paused

CODE_LIFE = timedelta(minutes=5)
MOST_CODES = 3
"""So many codes of one person may be good at a time."""

log = structlog.get_logger()


class Refusal(StrEnum):
    """Why two accounts can't be linked."""

    WRONG = "wrong"
    WAIT = "wait"
    """So many codes were wrong that none is looked at for an hour."""
    SELF = "self"
    """They are one already."""
    SAME_CHANNEL = "same channel"
    """Both have an account on one channel: it couldn't be told any more which of them speaks."""
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Match:
    """Who made a code, and who gives it."""

    there: Entry
    here: Entry


@dataclass(frozen=True, slots=True)
class News:
    """What somebody is to be told on one of their channels: another account was `linked`, or `unlinked`."""

    deed: str
    channel: str


class Linking:
    """Joins and parts the accounts of a person. Each change is noted in the audit, and told on both sides."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        master: MasterKey,
        turns: Turns,
        indexer: Indexer,
        roll: Roll,
        moving: Moving,
        forgetting: Forgetting,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._database = database
        self._vault = vault
        self._master = master
        self._turns = turns
        self._indexer = indexer
        self._roll = roll
        self._moving = moving
        self._forgetting = forgetting
        self._audit = audit
        self._guesses = Guesses(clock)
        self._clock = clock

    async def code(self, user_id: str) -> str | None:
        """A code by which another account of the person's joins them: once, within five minutes.

        None while too many are good already.
        """
        code = new_code()
        async with self._database.write() as connection:
            await one_at_a_time(connection, "access")
            await connection.execute(delete(link_codes).where(link_codes.c.expires_at < self._clock.now()))
            good = select(func.count()).where(link_codes.c.user_id == user_id)
            if (await connection.scalar(good) or 0) >= MOST_CODES:
                return None
            await connection.execute(
                insert(link_codes).values(
                    code_digest=self._digest(code),
                    user_id=user_id,
                    expires_at=self._clock.now() + CODE_LIFE,
                )
            )
        return code

    async def match(self, user_id: str, code: str) -> Match | Refusal:
        """Whom the code would make one; it stays good."""
        async with self._database.write() as connection:
            return await self._match(connection, user_id, code)

    async def link_in_turn(self, turn: Turn, code: str, reply: str) -> tuple[Turn, str] | Refusal:
        """Joins whose turn this is to who made the code; the turn goes on as theirs, with the reply composed.

        Raises:
            LeaseLost, StoreUnavailable: nothing was changed.
        """
        async with self._database.write() as connection:
            await self._turns.fence(connection, turn.lease)
            found = await self._match(connection, turn.user_id, code)
            if isinstance(found, Refusal):
                return found
            old, new = turn.user_id, found.there.id
            await connection.execute(delete(link_codes).where(link_codes.c.code_digest == self._digest(code)))
            await self._announce(connection, new, "linked", turn.conversation.channel)
            await self._join_states(connection, old, new)
            await self._moving.move(connection, old, new, but_lane=turn.conversation.id)
            await connection.execute(delete(users).where(users.c.id == old))
            await self._vault.destroy(connection, old)
            await self._audit.note(
                connection, "link", actor=new, user_id=new, detail=turn.conversation.channel
            )
            after = _as(turn, new)
            await self._turns.compose(connection, after, reply)
        await self._tidy(old, None)
        return after, reply

    async def unlink_in_turn(self, turn: Turn, account: Account, reply: str) -> Turn:
        """Parts an account, with what was said from it, from the rest; it is somebody of its own then.

        Replies may repeat to one what only the other said: all that were given go. The turn goes on as that
        of whosever account it is of, with the reply composed.

        Raises:
            LeaseLost, StoreUnavailable: nothing was changed.
        """
        user_id, new = turn.user_id, new_id()
        async with self._database.write() as connection:
            await self._turns.fence(connection, turn.lease)
            was = (await connection.execute(select(users).where(users.c.id == user_id))).one()
            await connection.execute(
                insert(users).values(
                    id=new,
                    created_at=self._clock.now(),
                    admitted_at=was.admitted_at,
                    admitted_by=was.admitted_by,
                    paused_at=was.paused_at,
                    resumed_at=was.resumed_at,
                    informed_at=was.informed_at,
                    special_consent=was.special_consent,
                )
            )
            await self._vault.create(connection, new)
            await self._forgetting.begin_afresh(connection, user_id)
            entries = await self._moving.move(
                connection, user_id, new, account=account, but_lane=turn.conversation.id
            )
            here = Account(turn.conversation.channel, turn.conversation.workspace)
            after = _as(turn, new) if here == account else turn
            other = user_id if after.user_id == new else new
            await self._announce(connection, other, "unlinked", account.channel)
            await self._audit.note(
                connection, "unlink", actor=user_id, user_id=user_id, detail=account.channel
            )
            await self._turns.compose(connection, after, reply)
        await self._tidy(user_id, entries)
        return after

    async def accounts(self, user_id: str) -> Sequence[Account]:
        """All accounts of the person, the first one first."""
        async with self._database.read() as connection:
            return await self._accounts(connection, user_id)

    async def news(self, connection: AsyncConnection, user_id: str, channel: str) -> list[News]:
        """What the person is to be told on this channel; each is told once."""
        told = delete(link_news).where(link_news.c.user_id == user_id, link_news.c.told_on == channel)
        rows = await connection.execute(told.returning(link_news.c.deed, link_news.c.channel))
        return [News(row.deed, row.channel) for row in rows.all()]

    async def _match(self, connection: AsyncConnection, user_id: str, code: str) -> Match | Refusal:
        await one_at_a_time(connection, "access")
        if await self._guesses.are_used_up(connection, user_id):
            return Refusal.WAIT
        other = await connection.scalar(
            select(link_codes.c.user_id).where(
                link_codes.c.code_digest == self._digest(code), link_codes.c.expires_at >= self._clock.now()
            )
        )
        if other is None:
            await self._guesses.note(connection, user_id)
            return Refusal.WRONG
        if other == user_id:
            return Refusal.SELF
        if await connection.scalar(
            select(users.c.id).where(users.c.id.in_((other, user_id)), users.c.blocked_at.is_not(None))
        ):
            return Refusal.BLOCKED
        there, here = await self._accounts(connection, other), await self._accounts(connection, user_id)
        if set(there) & set(here):
            return Refusal.SAME_CHANNEL
        return Match(await self._roll.entry(connection, other), await self._roll.entry(connection, user_id))

    async def _accounts(self, connection: AsyncConnection, user_id: str) -> list[Account]:
        theirs = select(identities.c.channel, identities.c.workspace).where(identities.c.user_id == user_id)
        rows = (await connection.execute(theirs.order_by(identities.c.id))).all()
        return [Account(row.channel, row.workspace) for row in rows]

    async def _join_states(self, connection: AsyncConnection, old: str, new: str) -> None:
        """Who was in on either side is in. Who paused, or declined, on either side, did so on both."""
        was = (await connection.execute(select(users).where(users.c.id == old))).one()
        if was.paused_at is not None and was.resumed_at is None:
            await connection.execute(
                update(users)
                .where(users.c.id == new, ~is_paused())
                .values(paused_at=was.paused_at, resumed_at=None)
            )
        asked = select(users.c.special_consent).where(users.c.id == new)
        answers = {was.special_consent, await connection.scalar(asked)} - {None}
        if answers:
            agrees = update(users).where(users.c.id == new).values(special_consent=False not in answers)
            await connection.execute(agrees)
        if was.admitted_at is not None:
            await connection.execute(
                update(users)
                .where(users.c.id == new, users.c.admitted_at.is_(None))
                .values(admitted_at=was.admitted_at, admitted_by=was.admitted_by)
            )

    async def _announce(self, connection: AsyncConnection, user_id: str, deed: str, channel: str) -> None:
        for on in {account.channel for account in await self._accounts(connection, user_id)}:
            await connection.execute(
                insert(link_news).values(user_id=user_id, told_on=on, deed=deed, channel=channel)
            )

    async def _tidy(self, old: str, entries: Sequence[str] | None) -> None:
        """Takes out of the index what is somebody else's now: all, or some entries."""
        try:
            if entries is None:
                await self._indexer.erase(old)
            else:
                await self._indexer.leave(old, entries)
        except (Unavailable, IndexMismatch, ModelError) as error:
            log.warning("index_behind", reason=type(error).__name__)

    def _digest(self, code: str) -> str:
        return self._master.digest("link code", read_code(code))


def _as(turn: Turn, user_id: str) -> Turn:
    """The turn as that of another user."""
    return replace(turn, user_id=user_id, conversation=replace(turn.conversation, owner=user_id))
