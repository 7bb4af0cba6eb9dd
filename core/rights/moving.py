"""Moving what is somebody's to somebody else: all of it, or what belongs to one of their accounts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from core.delivery.conversations import ADDRESS
from core.delivery.inbox import PAYLOAD
from core.delivery.screen import ACCOUNT, SHOWN
from core.delivery.turns import REPLY
from core.memory.changes import memory_entry, message_entry, queue_change, take_back
from core.memory.claims import SUBJECT, Memories
from core.memory.claims import TEXT as CLAIM
from core.memory.summary import SUMMARY
from core.memory.transcript import TEXT as MESSAGE
from core.privacy.vault import Box, Vault
from core.storage.schema import (
    consolidations,
    conversations,
    deliveries,
    doors,
    identities,
    inbox,
    invites,
    memories,
    messages,
    sign_ins,
    sources,
    spendings,
    turns,
)
from core.storage.upsert import conflicting_insert
from core.users.people import NAME
from core.users.sign_in import CHANNEL as WEB


@dataclass(frozen=True, slots=True)
class Account:
    """One of somebody's accounts: a person has at most one on a channel and workspace that can be linked."""

    channel: str
    workspace: str


@dataclass(frozen=True, slots=True)
class _Hands:
    """From whom to whom: everything sealed is opened by one key and sealed by the other."""

    old: str
    new: str
    opens: Box
    seals: Box

    def reseal(self, sealed: bytes | None, context: str) -> bytes | None:
        return None if sealed is None else self.seals.seal(self.opens.open(sealed, context), context)


class Moving:
    """Moves rows within the caller's transaction. Whoever works on them meanwhile loses the lane.

    The index is told by its queue of changes under the new owner; what it has under the old one stays to the
    caller.
    """

    def __init__(self, vault: Vault, memories: Memories) -> None:
        self._vault = vault
        self._memories = memories

    async def move(
        self,
        connection: AsyncConnection,
        old: str,
        new: str,
        *,
        account: Account | None = None,
        but_lane: str | None = None,
    ) -> Sequence[str]:
        """Moves all, or what was said from the account; `but_lane`: where the caller works, it stays leased.

        A memory goes if all goes that it rests on. What was concluded from words on both sides is undone.
        Returns what went, as the index calls it.
        """
        for user_id in sorted((old, new)):  # as everybody takes two: or they wait for each other
            await take_back(connection, user_id)
        hands = _Hands(
            old, new, await self._vault.box(connection, old), await self._vault.box(connection, new)
        )
        await self._accounts(connection, hands, account)
        await self._conversations(connection, hands, account, but_lane)
        await self._turns(connection, hands, account)
        said = await self._messages(connection, hands, account)
        held = await self._claims(connection, hands, whole=account is None)
        if account is None:
            await self._rest(connection, hands)
        elif account.channel == WEB:
            await connection.execute(delete(sign_ins).where(sign_ins.c.user_id == old))
        entries = (*map(message_entry, said), *map(memory_entry, held))
        for entry in entries:
            await queue_change(connection, new, entry)
        return entries

    async def _accounts(self, connection: AsyncConnection, hands: _Hands, account: Account | None) -> None:
        theirs = and_(identities.c.user_id == hands.old, _on(identities, account))
        await _reseal(
            connection, hands, identities, theirs, {identities.c.name_sealed: NAME}, user_id=hands.new
        )

    async def _conversations(
        self, connection: AsyncConnection, hands: _Hands, account: Account | None, but_lane: str | None
    ) -> None:
        theirs = and_(conversations.c.owner == hands.old, _on(conversations, account))
        await connection.execute(
            update(conversations)
            .where(theirs, conversations.c.id != (but_lane or ""))
            .values(lease_token=conversations.c.lease_token + 1, lease_holder=None, lease_until=None)
        )
        sealed = {conversations.c.address_sealed: ADDRESS, conversations.c.summary_sealed: SUMMARY}
        await _reseal(connection, hands, conversations, theirs, sealed, owner=hands.new)

    async def _turns(self, connection: AsyncConnection, hands: _Hands, account: Account | None) -> None:
        theirs = and_(turns.c.user_id == hands.old, turns.c.conversation_id.in_(_places(account)))
        shown = deliveries.c.turn_id.in_(select(turns.c.id).where(theirs))
        await _reseal(connection, hands, deliveries, shown, {deliveries.c.shown_sealed: SHOWN})
        sealed = {turns.c.reply_sealed: REPLY, turns.c.account_sealed: ACCOUNT}
        await _reseal(connection, hands, turns, theirs, sealed, user_id=hands.new)
        waiting = and_(inbox.c.user_id == hands.old, _on(inbox, account))
        await _reseal(connection, hands, inbox, waiting, {inbox.c.payload_sealed: PAYLOAD}, user_id=hands.new)

    async def _messages(
        self, connection: AsyncConnection, hands: _Hands, account: Account | None
    ) -> Sequence[str]:
        theirs = and_(messages.c.user_id == hands.old, messages.c.conversation_id.in_(_places(account)))
        ids: Sequence[str] = (await connection.scalars(select(messages.c.id).where(theirs))).all()
        await _reseal(
            connection, hands, messages, theirs, {messages.c.text_sealed: MESSAGE}, user_id=hands.new
        )
        return ids

    async def _claims(self, connection: AsyncConnection, hands: _Hands, *, whole: bool) -> list[str]:
        cited = select(sources.c.memory_id).join(messages)
        stays = memories.c.id.in_(cited.where(messages.c.user_id == hands.old))
        goes = memories.c.id.in_(cited.where(messages.c.user_id == hands.new))
        mine = memories.c.user_id == hands.old
        made = select(memories.c.id).where(mine, stays, goes, memories.c.derivation.is_not(None))
        for id in (await connection.scalars(made)).all():
            await self._memories.drop(connection, hands.old, id)
        rows = (await connection.execute(select(memories).where(mine, goes, ~stays))).all()
        moved = []
        for row in rows:
            text = hands.opens.open(row.text_sealed, CLAIM)
            digest = self._memories.digest(hands.new, text)
            if row.retired_at is None and await self._joined(connection, hands.new, row, digest):
                continue
            await connection.execute(
                update(memories)
                .where(memories.c.id == row.id)
                .values(
                    user_id=hands.new,
                    text_sealed=hands.seals.seal(text, CLAIM),
                    subject_sealed=hands.reseal(row.subject_sealed, SUBJECT),
                    claim_digest=digest,
                    **({} if whole else {"made_in": None, "retired_in": None}),
                )
            )
            moved.append(row.id)
        await self._part(connection, hands)
        return moved

    async def _joined(self, connection: AsyncConnection, new: str, row: Any, digest: str) -> bool:
        """Whether the new owner knows just that: then it is theirs on all sources of both."""
        same = select(memories.c.id).where(
            memories.c.user_id == new,
            memories.c.audience == row.audience,
            memories.c.claim_digest == digest,
            memories.c.retired_at.is_(None),
        )
        known = await connection.scalar(same)
        if known is None:
            return False
        columns = [column.name for column in sources.c]
        both = select(literal(known), *(sources.c[name] for name in columns if name != "memory_id")).where(
            sources.c.memory_id == row.id
        )
        joined = conflicting_insert(connection, sources).from_select(columns, both.where(true()))
        await connection.execute(joined.on_conflict_do_nothing())
        await connection.execute(
            update(memories).where(memories.c.replaced_by == row.id).values(replaced_by=known)
        )
        await connection.execute(delete(memories).where(memories.c.id == row.id))
        await queue_change(connection, new, memory_entry(known))
        return True

    async def _part(self, connection: AsyncConnection, hands: _Hands) -> None:
        """No memory cites, or names, what is now somebody else's."""
        theirs = select(memories.c.id).where(memories.c.user_id == hands.old)
        gone = select(messages.c.id).where(messages.c.user_id == hands.new)
        await connection.execute(
            delete(sources).where(sources.c.memory_id.in_(theirs), sources.c.message_id.in_(gone))
        )
        other = memories.alias()
        elsewhere = exists().where(
            other.c.id == memories.c.replaced_by, other.c.user_id != memories.c.user_id
        )
        await connection.execute(
            update(memories)
            .where(memories.c.user_id.in_((hands.old, hands.new)), elsewhere)
            .values(replaced_by=None)
        )

    async def _rest(self, connection: AsyncConnection, hands: _Hands) -> None:
        """What isn't said from an account; the rest goes with its user."""
        for column in (consolidations.c.user_id, sign_ins.c.user_id, doors.c.owner_id, invites.c.made_by):
            await connection.execute(
                update(column.table).where(column == hands.old).values({column.name: hands.new})
            )
        spent = (await connection.execute(select(spendings).where(spendings.c.user_id == hands.old))).all()
        for row in spent:
            values = {"user_id": hands.new, "day": row.day, "tokens": row.tokens}
            together = conflicting_insert(connection, spendings).values(values)
            await connection.execute(
                together.on_conflict_do_update(
                    index_elements=["user_id", "day"], set_={"tokens": spendings.c.tokens + row.tokens}
                )
            )


def _on(table: Table, account: Account | None) -> ColumnElement[bool]:
    if account is None:
        return true()
    return and_(table.c.channel == account.channel, table.c.workspace == account.workspace)


def _places(account: Account | None) -> Any:
    return select(conversations.c.id).where(_on(conversations, account))


async def _reseal(
    connection: AsyncConnection,
    hands: _Hands,
    table: Table,
    where: ColumnElement[bool],
    sealed: Mapping[Column[Any], str],
    **values: str,
) -> None:
    """Seals the rows' columns, by the context of each, for the new owner; and sets what else changes."""
    (key,) = table.primary_key.columns
    rows = (await connection.execute(select(key, *sealed).where(where))).all()
    if not rows:
        return
    changed = [
        {
            "row_key": row[0],
            **{
                f"row_{c.name}": hands.reseal(row[at], context)
                for at, (c, context) in enumerate(sealed.items(), 1)
            },
        }
        for row in rows
    ]
    new_values: dict[str, BindParameter[Any]] = {c.name: bindparam(f"row_{c.name}") for c in sealed}
    await connection.execute(
        update(table).where(key == bindparam("row_key")).values({**new_values, **values}), changed
    )
