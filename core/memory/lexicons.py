"""The lexicons of those who talk now: read from the record when they are needed, kept up with it, let go."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Row, Select, String, bindparam, null, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from core.memory.changes import memory_entry, message_entry
from core.memory.claims import TEXT as CLAIM
from core.memory.lexicon import Lexicon
from core.memory.transcript import TEXT as MESSAGE
from core.privacy.vault import Box, Vault
from core.storage.database import Database, id_before
from core.storage.schema import keys, memories, messages, users

T = TypeVar("T")

ENTRY_BYTES = 1_000
"""Half a kilobyte to two."""

LATEST = timedelta(minutes=1)
"""A row may be committed so much later than its id was made: the newest are looked through again."""

SMALL = 200
"""More entries than this are read in a thread: a large lexicon takes seconds."""


def _new() -> Select[Any]:
    """What a user told since an id, messages first, in the order of their ids; in one query, made once."""
    user, after = bindparam("user", type_=String), bindparam("after", type_=String)
    said = select(
        messages.c.id,
        messages.c.text_sealed,
        messages.c.audience,
        messages.c.conversation_id,
        messages.c.said_at,
    ).where(messages.c.user_id == user, messages.c.remembered, messages.c.id > after)
    claimed = select(
        memories.c.id, memories.c.text_sealed, memories.c.audience, null(), memories.c.valid_from
    ).where(
        memories.c.user_id == user,
        memories.c.retired_at.is_(None),
        memories.c.muted_at.is_(None),
        memories.c.id > after,
    )
    both = union_all(said, claimed).subquery()
    return select(both).order_by(both.c.conversation_id.is_(None), both.c.id)


_NEW = _new()
_NOW = (
    select(users.c.memory_revision, keys.c.wrapped)
    .outerjoin(keys, keys.c.owner == users.c.id)
    .where(users.c.id == bindparam("user", type_=String))
)


@dataclass(frozen=True, slots=True)
class _Told:
    """A row to be added, still sealed."""

    entry_id: str
    sealed: bytes
    context: str
    audience: str
    at: datetime
    conversation: str


@dataclass(slots=True)
class _Held:
    revision: int
    lexicon: Lexicon = field(default_factory=Lexicon)
    newest: str = ""
    """The highest id of a message or a memory seen so far."""


class Lexicons:
    """Each user's lexicon, as the record stands. Words are nowhere but in this process's memory."""

    def __init__(self, database: Database, vault: Vault, *, kept_bytes: int) -> None:
        """`kept_bytes`: for all users together; who was silent for the longest is let go first."""
        self._database = database
        self._vault = vault
        self._kept_entries = kept_bytes // ENTRY_BYTES
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._turns: dict[str, asyncio.Lock] = {}

    async def of_user(self, user_id: str) -> Lexicon:
        """The user's lexicon with all that is remembered now, and nothing that was taken back.

        Raises:
            Undecryptable: the user's key is destroyed.
        """
        turn = self._turns.setdefault(user_id, asyncio.Lock())
        try:
            async with turn:
                return await self._brought_up(user_id)
        finally:
            if not turn.locked():
                self._turns.pop(user_id, None)

    async def _brought_up(self, user_id: str) -> Lexicon:
        held, rows, box = await self._read(user_id, self._held.pop(user_id, None))
        if len(rows) > SMALL and len(held.lexicon):
            # Somebody may be reading it: it mustn't grow in a thread meanwhile.
            held, rows, box = await self._read(user_id, None)
        if rows:
            if len(rows) > SMALL:
                await asyncio.to_thread(_add, held.lexicon, rows, box)
            else:
                _add(held.lexicon, rows, box)
            held.newest = max(held.newest, *(row.entry_id[1:] for row in rows))
        self._held[user_id] = held
        let_go(self._held, lambda each: len(each.lexicon), self._kept_entries)
        return held.lexicon

    async def _read(self, user_id: str, held: _Held | None) -> tuple[_Held, list[_Told], Box]:
        """What is held, if nothing was taken back since; what it lacks; and the user's key."""

        async def read(connection: AsyncConnection) -> tuple[_Held, list[_Told], bytes | None]:
            now = (await connection.execute(_NOW, {"user": user_id})).one_or_none()
            revision = now.memory_revision if now else 0
            kept = held if held is not None and held.revision == revision else _Held(revision)
            after = id_before(kept.newest, LATEST) if kept.newest else ""
            rows = await connection.execute(_NEW, {"user": user_id, "after": after})
            told = [_told(row) for row in rows.all()]
            wrapped = now.wrapped if now else None
            return kept, [row for row in told if row.entry_id not in kept.lexicon], wrapped

        kept, lacking, wrapped = await self._database.look(read)
        return kept, lacking, self._vault.box_of(user_id, wrapped)


def let_go(held: OrderedDict[str, T], size: Callable[[T], int], most: int) -> None:
    """Drops what is held of those who were silent for the longest, until at most that is left, or one."""
    taken = sum(map(size, held.values()))
    while taken > most and len(held) > 1:
        _, gone = held.popitem(last=False)
        taken -= size(gone)


def _told(row: Row[Any]) -> _Told:
    if row.conversation_id is None:
        return _Told(memory_entry(row.id), row.text_sealed, CLAIM, row.audience, row.said_at, "")
    entry_id = message_entry(row.id)
    return _Told(entry_id, row.text_sealed, MESSAGE, row.audience, row.said_at, row.conversation_id)


def _add(lexicon: Lexicon, rows: Iterable[_Told], box: Box) -> None:
    for row in rows:
        lexicon.add(row.entry_id, box.open(row.sealed, row.context), row.audience, row.at, row.conversation)
