"""The transcript: what was said, by whom, to be read again by prompts and by the memory's jobs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import Boolean, Row, Select, String, and_, bindparam, exists, false, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.delivery.turns import Turn
from core.memory.asserted import is_statement
from core.memory.changes import message_entry, queue_change
from core.memory.special import SpecialCategories
from core.privacy.vault import Vault
from core.storage.database import new_id
from core.storage.schema import conversations, keys, messages, sources, turns

TEXT = "messages.text"

_UNKEPT = select(turns.c.id).where(~turns.c.kept)
_KEPT = messages.c.turn_id.not_in(_UNKEPT)


@dataclass(frozen=True, slots=True)
class Line:
    """One message of the transcript; `role` is "user" or "assistant". `said_at` in its writer's zone."""

    id: str
    turn_id: int
    user_id: str
    role: str
    text: str
    said_at: datetime
    audience: str


def _with_keys(query: Select[Any]) -> Select[Any]:
    return query.add_columns(keys.c.wrapped).outerjoin(keys, keys.c.owner == messages.c.user_id)


_OF_USER = _with_keys(
    select(messages).where(
        messages.c.user_id == bindparam("user", type_=String),
        messages.c.id.in_(bindparam("ids", expanding=True)),
        messages.c.remembered | bindparam("others_too", type_=Boolean),
    )
)
"""Made once: to make it takes longer than to run it, and every recall does."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a user said and no memory cites. `read`: it was searched for memories, so none will come of it."""

    line: Line
    read: bool


class Transcript:
    """Reads and writes messages. All calls take part in the caller's transaction."""

    def __init__(self, vault: Vault, clock: Clock, special: SpecialCategories) -> None:
        self._vault = vault
        self._clock = clock
        self._special = special

    async def may_keep(self, connection: AsyncConnection, user_id: str, text: str) -> bool:
        """Whether the user lets what the text says be remembered."""
        return await self._special.may_keep(connection, user_id, text)

    async def is_to_be_remembered(self, connection: AsyncConnection, user_id: str, text: str) -> bool:
        """Whether what the user wrote is a statement, and one that they let be remembered."""
        return is_statement(text) and await self.may_keep(connection, user_id, text)

    async def record(
        self, connection: AsyncConnection, turn: Turn, reply: str | None, *, kept: bool = True
    ) -> list[Line]:
        """Writes down a turn's messages and its reply, if there is one; statements are queued for the index.

        Of a turn that isn't `kept` nothing is a statement.

        What was written down before, when the reply's fate was unknown, stays as it is. Returns those of the
        user's messages that are new.
        """
        written: list[Line] = []
        box = await self._vault.box(connection, turn.user_id)
        known, is_answered = await self._written_down(connection, turn)
        rows: list[dict[str, Any]] = [
            # A message first seen as an edit stands for the one it replaces, so that later edits find it.
            {
                "role": "user",
                "text": m.text,
                "said_at": m.sent_at,
                "utc_offset": offset_minutes(m.sent_at),
                "event_digest": m.edits or m.event_digest,
            }
            for m in turn.messages
            if m.text
        ]
        if reply is not None and not is_answered:
            said = {"role": "assistant", "text": reply, "said_at": self._clock.now(), "event_digest": None}
            rows.append(said)
        for position, row in enumerate(rows):
            if row["event_digest"] in known:
                continue
            text = row.pop("text")
            row_id = new_id()
            is_own = kept and row["role"] == "user"
            remembered = is_own and await self.is_to_be_remembered(connection, turn.user_id, text)
            await connection.execute(
                insert(messages).values(
                    **row,
                    id=row_id,
                    turn_id=turn.id,
                    conversation_id=turn.conversation.id,
                    user_id=turn.user_id,
                    position=position,
                    text_sealed=box.seal(text, TEXT),
                    audience=turn.conversation.audience,
                    remembered=remembered,
                )
            )
            if remembered:
                await queue_change(connection, turn.user_id, message_entry(row_id))
            if row["role"] == "user":
                audience = turn.conversation.audience
                written.append(Line(row_id, turn.id, turn.user_id, "user", text, row["said_at"], audience))
        return written

    async def _written_down(self, connection: AsyncConnection, turn: Turn) -> tuple[set[str | None], bool]:
        """Which of the turn's messages, by event, stand here already, and whether a reply to them does."""
        mine = and_(
            messages.c.user_id == turn.user_id,
            messages.c.event_digest.in_([m.edits or m.event_digest for m in turn.messages]),
        )
        found = (
            await connection.execute(select(messages.c.event_digest, messages.c.turn_id).where(mine))
        ).all()
        reply = exists().where(
            messages.c.turn_id.in_([row.turn_id for row in found]), messages.c.role == "assistant"
        )
        return {row.event_digest for row in found}, bool(found and await connection.scalar(select(reply)))

    async def of_conversation(
        self,
        connection: AsyncConnection,
        conversation_id: str,
        *,
        after_turn: int,
        limit: int,
        newest: bool = True,
        kept: bool = True,
        unkept_of: str | None = None,
    ) -> list[Line]:
        """The newest (or oldest) `limit` messages of a conversation after a turn, oldest first.

        Of what is `kept`, if asked, and of one user also of what isn't.
        """
        order = (messages.c.turn_id, messages.c.position)
        theirs = messages.c.turn_id.in_(_UNKEPT.where(turns.c.user_id == unkept_of))
        wanted = (
            select(messages)
            .where(messages.c.conversation_id == conversation_id, messages.c.turn_id > after_turn)
            .where(or_(_KEPT if kept else false(), theirs if unkept_of else false()))
            .order_by(*(column.desc() if newest else column for column in order))
            .limit(limit)
        )
        lines = await self._lines(connection, wanted)
        return list(reversed(lines)) if newest else list(lines)

    async def since_fresh_start(
        self, connection: AsyncConnection, conversation_id: str, user_id: str, *, limit: int
    ) -> list[Line]:
        """The newest messages since the conversation was last begun afresh, folded ones too; oldest first.

        With what of this user's isn't kept, as long as it is there.
        """
        begun: int | None = await connection.scalar(
            select(conversations.c.window_from).where(conversations.c.id == conversation_id)
        )
        return await self.of_conversation(
            connection, conversation_id, after_turn=begun or 0, limit=limit, unkept_of=user_id
        )

    async def statements_without_memory(
        self,
        connection: AsyncConnection,
        user_id: str,
        *,
        limit: int,
        offset: int = 0,
        audience: str | None = None,
    ) -> list[Statement]:
        """The newest remembered messages that no memory cites, newest first; if asked, of one audience."""
        read_through = (
            select(messages.c.id, messages.c.turn_id <= conversations.c.extracted_through)
            .join(conversations, messages.c.conversation_id == conversations.c.id)
            .where(
                messages.c.user_id == user_id,
                messages.c.remembered,
                ~exists().where(sources.c.message_id == messages.c.id),
            )
            .order_by(messages.c.id.desc())
            .offset(offset)
            .limit(limit)
        )
        if audience is not None:
            read_through = read_through.where(messages.c.audience == audience)
        found = [(id, bool(read)) for id, read in (await connection.execute(read_through)).all()]
        lines = await self.of_user(connection, user_id, [id for id, _ in found])
        return [Statement(lines[id], read) for id, read in found if id in lines]

    async def count(self, connection: AsyncConnection, conversation_id: str, *, after_turn: int) -> int:
        """How many kept messages a conversation has after a turn."""
        counted: int | None = await connection.scalar(
            select(func.count())
            .select_from(messages)
            .where(messages.c.conversation_id == conversation_id, messages.c.turn_id > after_turn, _KEPT)
        )
        return counted or 0

    async def of_user(
        self, connection: AsyncConnection, user_id: str, ids: Collection[str], *, remembered: bool = False
    ) -> dict[str, Line]:
        """Those of the messages that are this user's own, by id; if asked, only what is `remembered`."""
        if not ids:
            return {}
        given = {"user": user_id, "ids": list(ids), "others_too": not remembered}
        return {line.id: line for line in self._opened((await connection.execute(_OF_USER, given)).all())}

    async def _lines(self, connection: AsyncConnection, query: Select[Any]) -> Sequence[Line]:
        return self._opened((await connection.execute(_with_keys(query))).all())

    def _opened(self, rows: Sequence[Row[Any]]) -> Sequence[Line]:
        wrapped = {row.user_id: row.wrapped for row in rows}
        boxes = {user_id: self._vault.box_of(user_id, key) for user_id, key in wrapped.items()}
        return [
            Line(
                id=row.id,
                turn_id=row.turn_id,
                user_id=row.user_id,
                role=row.role,
                text=boxes[row.user_id].open(row.text_sealed, TEXT),
                said_at=there(row.said_at, row.utc_offset),
                audience=row.audience,
            )
            for row in rows
        ]


def there(said_at: datetime, utc_offset: int) -> datetime:
    """The time where it was said, so many minutes ahead of UTC."""
    return said_at.astimezone(timezone(timedelta(minutes=utc_offset)))


def offset_minutes(moment: datetime) -> int:
    """How far ahead of UTC the moment's zone is."""
    return round((moment.utcoffset() or timedelta()).total_seconds() / 60)
