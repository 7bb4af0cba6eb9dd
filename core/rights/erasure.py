"""Erasing a person: all that is theirs goes, their key with it, and a receipt says so."""

import asyncio
import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Row,
    Select,
    String,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from core.clock import Clock
from core.delivery.conversations import ADDRESS
from core.delivery.inbox import PAYLOAD
from core.delivery.turns import Turn, Turns, TurnState
from core.errors import IndexMismatch, MnemeError, ModelError, Unavailable
from core.memory.changes import take_back
from core.memory.forgetting import Forgetting
from core.memory.indexing import EVERY, Indexer
from core.messages import ConversationKind
from core.privacy.vault import Vault
from core.rights.erasure_list import ErasureList, Receipt
from core.storage.database import Database, new_id
from core.storage.schema import (
    conversations,
    deliveries,
    erasures,
    identities,
    inbox,
    index_changes,
    jobs,
    keys,
    memories,
    messages,
    metadata,
    sign_ins,
    turns,
    users,
)
from core.storage.upsert import conflicting_insert

RECEIPT_BYTES = 10
BEARER_LIFE = timedelta(minutes=2)
"""For so long whoever watches a reply may still read the receipt in it."""
KEEPS_A_NUMBER = frozenset({"erasures", "audit"})
"""Tables that outlive an erasure: in them, a person is a random number."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Remains:
    """What an erased person still has: rows by table, and entries of the index (None: not known)."""

    rows: Mapping[str, int]
    vectors: int | None

    @property
    def is_nothing(self) -> bool:
        return not self.rows and self.vectors == 0


class Erasure:
    """Erases people, and shows that they are gone.

    The record forgets in one transaction. The index and the database's own leftovers follow at once or, if
    they are away, by `tidy`, which a worker calls.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        turns: Turns,
        forgetting: Forgetting,
        indexer: Indexer,
        erasure_list: ErasureList,
        clock: Clock,
    ) -> None:
        self._database = database
        self._vault = vault
        self._turns = turns
        self._forgetting = forgetting
        self._indexer = indexer
        self._list = erasure_list
        self._clock = clock

    async def erase(self, user_id: str) -> Receipt:
        """Erases the person. Whoever has their account and writes again is a stranger.

        Raises:
            LookupError: there is no such user.
            StoreUnavailable: nothing was erased.
        """
        async with self._database.write() as connection:
            receipt = await self._receipt(connection, user_id)
            await self._destroy(connection, receipt)
        await self._after(receipt)
        return receipt

    async def erase_in_turn(self, turn: Turn, reply: Callable[[Receipt], str]) -> tuple[Turn, str]:
        """Erases the person whose turn this is; returns the turn as it goes on, and the reply to it.

        When the receipt is read all is gone already: the turn goes on as that of a bearer, a user of whom
        nothing is known but this reply, and who goes when it was delivered.

        Raises:
            LookupError, StoreUnavailable: as `erase`.
            LeaseLost: somebody else answers the turn; nothing was erased.
        """
        async with self._database.write() as connection:
            await self._turns.fence(connection, turn.lease)
            receipt = await self._receipt(connection, turn.user_id)
            bearer = await self._hand_over(connection, turn)
            await self._destroy(connection, receipt, bearer=bearer.user_id)
            text = reply(receipt)
            await self._turns.compose(connection, bearer, text)
        await self._after(receipt)
        return bearer, text

    async def tidy(self) -> None:
        """Does what an erasure left to be done: the index, and bearers whose reply was delivered.

        Raises:
            IndexUnavailable, IndexMismatch, ModelUnavailable, ModelError: the index waits for the next call.
        """
        await self._let_bearers_go()
        async with self._database.read() as connection:
            waiting = select(erasures.c.id, erasures.c.user_id).where(~erasures.c.index_cleared)
            left = (await connection.execute(waiting)).all()
        for row in left:
            await self._clear_index(row.id, row.user_id)

    async def reapply(self) -> list[Receipt]:
        """Brings the record and the list beside it together, and erases again who came back with a backup.

        Raises:
            StoreUnavailable: the list or the record can't be used.
        """
        listed = {receipt.id: receipt for receipt in await asyncio.to_thread(self._list.read)}
        async with self._database.read() as connection:
            recorded = {row.id: _read(row) for row in (await connection.execute(select(erasures))).all()}
        for id in recorded.keys() - listed.keys():
            await asyncio.to_thread(self._list.add, recorded[id])
        again = []
        for receipt in listed.values():
            async with self._database.write() as connection:
                if await connection.scalar(select(users.c.id).where(users.c.id == receipt.user_id)):
                    await self._destroy(connection, receipt)
                    again.append(receipt)
                elif receipt.id not in recorded:
                    await self._note(connection, receipt)
        for receipt in again:
            log.warning("erased_again", receipt=receipt.id)
            await self._after(receipt, is_listed=True)
        return again

    async def find(self, receipt_id: str) -> Receipt | None:
        """The receipt of this id, as it was given to the person."""
        async with self._database.read() as connection:
            asked = select(erasures).where(erasures.c.id == receipt_id.strip().upper())
            row = (await connection.execute(asked)).one_or_none()
        return None if row is None else _read(row)

    async def remains(self, receipt: Receipt) -> Remains:
        """Looks through every table, and through the index, for what still names the erased person."""
        rows: dict[str, int] = {}
        async with self._database.read() as connection:
            for table in metadata.sorted_tables:
                if table.name in KEEPS_A_NUMBER:
                    continue
                naming = [column == receipt.user_id for column in table.c if _may_name(column.type)]
                if naming and (count := await connection.scalar(_count(table, or_(*naming)))):
                    rows[table.name] = count
        try:
            vectors: int | None = await self._indexer.count_of(receipt.user_id)
        except (Unavailable, IndexMismatch, ModelError):
            vectors = None
        return Remains(rows, vectors)

    async def _receipt(self, connection: AsyncConnection, user_id: str) -> Receipt:
        """Locks the person's memory, and counts what goes.

        Raises:
            LookupError: there is no such user.
        """
        await take_back(connection, user_id)
        if not await connection.scalar(select(users.c.id).where(users.c.id == user_id)):
            raise LookupError("no such user")
        theirs = turns.c.user_id == user_id
        replies = select(messages.c.id).join(turns).where(theirs, messages.c.role == "assistant")
        mine = select(conversations.c.id).where(conversations.c.owner == user_id)
        working = or_(jobs.c.user_id == user_id, jobs.c.conversation_id.in_(mine))
        asked = {
            "accounts": _count(identities, identities.c.user_id == user_id),
            "conversations": _count(conversations, conversations.c.owner == user_id),
            "messages": _count(messages, messages.c.user_id == user_id, messages.c.role == "user"),
            "replies": select(func.count()).select_from(replies.subquery()),
            "memories": _count(memories, memories.c.user_id == user_id),
            "vectors": _count(EVERY, EVERY.c.user_id == user_id),
            "jobs": _count(jobs, working),
            "sign-ins": _count(sign_ins, sign_ins.c.user_id == user_id),
        }
        counts: dict[str, int] = {name: await connection.scalar(query) or 0 for name, query in asked.items()}
        return Receipt(_new_number(), user_id, self._clock.now(), counts)

    async def _destroy(
        self, connection: AsyncConnection, receipt: Receipt, *, bearer: str | None = None
    ) -> None:
        """Takes away the rows and the key; what refers to them goes by its foreign keys."""
        user_id = receipt.user_id
        await self._forgetting.begin_afresh(connection, user_id)
        for conversation_id in await self._groups_alone(connection, user_id):
            await self._vault.destroy(connection, conversation_id)
        await connection.execute(delete(index_changes).where(index_changes.c.user_id == user_id))
        await connection.execute(delete(users).where(users.c.id == user_id))
        await self._vault.destroy(connection, user_id)
        await self._note(connection, receipt, bearer=bearer)

    async def _note(
        self, connection: AsyncConnection, receipt: Receipt, *, bearer: str | None = None
    ) -> None:
        row = {
            "user_id": receipt.user_id,
            "erased_at": receipt.erased_at,
            "counts": dict(receipt.counts),
            "bearer_id": bearer,
            "index_cleared": False,
        }
        noted = conflicting_insert(connection, erasures).values(id=receipt.id, **row)
        await connection.execute(
            noted.on_conflict_do_update(index_elements=["id"], set_={"index_cleared": False})
        )

    async def _groups_alone(self, connection: AsyncConnection, user_id: str) -> list[str]:
        """Groups in which only this person ever talked with Mneme: nobody misses their key."""
        others = turns.alias()
        alone = (
            select(turns.c.conversation_id)
            .join(conversations)
            .where(
                turns.c.user_id == user_id,
                conversations.c.kind != ConversationKind.DIRECT,
                ~exists().where(
                    others.c.conversation_id == turns.c.conversation_id, others.c.user_id != user_id
                ),
            )
            .distinct()
        )
        return list(await connection.scalars(alone))

    async def _hand_over(self, connection: AsyncConnection, turn: Turn) -> Turn:
        """Makes a bearer, and gives them the turn and the way to its platform, sealed under their own key."""
        was = await self._vault.box(connection, turn.user_id)
        bearer = new_id()
        now = self._clock.now()
        await connection.execute(insert(users).values(id=bearer, created_at=now, admitted_at=now))
        await self._vault.create(connection, bearer)
        box = await self._vault.box(connection, bearer)
        # Under its old name, the next message from there would be taken for the bearer's.
        await connection.execute(
            update(conversations)
            .where(conversations.c.id == turn.conversation.id)
            .values(
                owner=bearer,
                ref_digest=bearer,
                address_sealed=box.seal_json(turn.conversation.address, ADDRESS),
                summary_sealed=None,
            )
        )
        here = inbox.c.turn_id == turn.id
        for row in (await connection.execute(select(inbox.c.id, inbox.c.payload_sealed).where(here))).all():
            payload = box.seal_json(was.open_json(row.payload_sealed, PAYLOAD), PAYLOAD)
            await connection.execute(
                update(inbox).where(inbox.c.id == row.id).values(user_id=bearer, payload_sealed=payload)
            )
        await connection.execute(
            update(turns)
            .where(turns.c.id == turn.id)
            .values(user_id=bearer, reply_sealed=None, account_sealed=None)
        )
        await connection.execute(
            update(deliveries).where(deliveries.c.turn_id == turn.id).values(shown_sealed=None)
        )
        return replace(turn, user_id=bearer, conversation=replace(turn.conversation, owner=bearer))

    async def _after(self, receipt: Receipt, *, is_listed: bool = False) -> None:
        """What follows the commit; what can't be done now, `reapply` or `tidy` does."""
        try:
            if not is_listed:
                await asyncio.to_thread(self._list.add, receipt)
            await self._database.scrub()
            await self._clear_index(receipt.id, receipt.user_id)
        except MnemeError as error:
            log.warning("erasure_unfinished", receipt=receipt.id, reason=type(error).__name__)
        log.info("erased", receipt=receipt.id)

    async def _clear_index(self, receipt_id: str, user_id: str) -> None:
        await self._indexer.erase(user_id)
        async with self._database.write() as connection:
            await connection.execute(
                update(erasures).where(erasures.c.id == receipt_id).values(index_cleared=True)
            )

    async def _let_bearers_go(self) -> None:
        open_still = exists().where(
            turns.c.user_id == erasures.c.bearer_id,
            or_(turns.c.state == TurnState.OPEN, turns.c.finished_at > self._clock.now() - BEARER_LIFE),
        )
        done = erasures.c.bearer_id.is_not(None) & ~open_still
        async with self._database.read() as connection:
            bearers = list(await connection.scalars(select(erasures.c.bearer_id).where(done)))
        if not bearers:
            return
        async with self._database.write() as connection:
            await connection.execute(delete(users).where(users.c.id.in_(bearers)))
            await connection.execute(delete(keys).where(keys.c.owner.in_(bearers)))
            await connection.execute(
                update(erasures).where(erasures.c.bearer_id.in_(bearers)).values(bearer_id=None)
            )
        await self._database.scrub()


def _may_name(kind: TypeEngine[Any]) -> bool:
    return isinstance(kind, String)


def _count(table: FromClause, *where: ColumnElement[bool]) -> Select[Any]:
    return select(func.count()).select_from(table).where(*where)


def _new_number() -> str:
    """80 random bits, to be read out and typed in: MN-ABCD-EFGH-IJKL-MNOP."""
    letters = base64.b32encode(secrets.token_bytes(RECEIPT_BYTES)).decode()
    return "-".join(["MN", *(letters[at : at + 4] for at in range(0, len(letters), 4))])


def _read(row: Row[Any]) -> Receipt:
    return Receipt(row.id, row.user_id, row.erased_at, row.counts)
