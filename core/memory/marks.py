"""Marks: what a person pins, which every prompt has, and what they mute, which none has."""

from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.memory.changes import message_entry, queue_change, take_back
from core.storage.schema import memories, messages, sources


async def inherit(connection: AsyncConnection, memory_id: str) -> None:
    """What came in the place of something pinned or muted is so, too."""
    before = memories.alias()
    marks = {
        name: func.coalesce(
            memories.c[name],
            select(func.max(before.c[name])).where(before.c.replaced_by == memory_id).scalar_subquery(),
        )
        for name in ("pinned_at", "muted_at")
    }
    await connection.execute(update(memories).where(memories.c.id == memory_id).values(marks))


async def keep_muted(
    connection: AsyncConnection,
    user_id: str,
    memory_id: str,
    words: tuple[str, int, int],
    now: datetime,
) -> None:
    """A memory that was learned of these words (message, start, end) is muted if others of them are.

    So is one of what was so before something muted. A message that says again what is muted isn't recalled.
    """
    message_id, start, end = words
    muted = select(sources.c.message_id).join(memories).where(_is_muted(user_id))
    there = muted.where(
        sources.c.message_id == message_id, sources.c.span_start < end, sources.c.span_end > start
    )
    later = memories.alias()
    after = select(later.c.id).where(later.c.id == memories.c.replaced_by, later.c.muted_at.is_not(None))
    learned = update(memories).where(memories.c.id == memory_id, memories.c.muted_at.is_(None))
    await connection.execute(learned.where(exists(there) | exists(after)).values(muted_at=now))
    await keep_back(connection, user_id)


async def keep_back(connection: AsyncConnection, user_id: str) -> None:
    """Lets no message be recalled that a muted memory rests on."""
    cited = select(sources.c.message_id).join(memories).where(_is_muted(user_id))
    hidden = await connection.scalars(
        update(messages)
        .where(messages.c.user_id == user_id, messages.c.id.in_(cited), messages.c.remembered)
        .values(remembered=False)
        .returning(messages.c.id)
    )
    for message_id in hidden.all():
        await take_back(connection, user_id)
        await queue_change(connection, user_id, message_entry(message_id))


def _is_muted(user_id: str) -> ColumnElement[bool]:
    return and_(memories.c.user_id == user_id, memories.c.muted_at.is_not(None))
