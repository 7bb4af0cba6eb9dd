"""Where entries come from, by the record: whose they are, and who heard them."""

from collections.abc import Collection, Mapping

from sqlalchemy import false, select, true, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from core.memory.changes import memory_entry, message_entry
from core.privacy.audience import Origin
from core.storage.schema import memories, messages, openings, sources


async def origins_of(
    connection: AsyncConnection, *, memory_ids: Collection[str], message_ids: Collection[str]
) -> Mapping[str, Collection[Origin]]:
    """By the index's id of each entry: a message's origin, or a memory's own, those of all its sources, and
    the groups that it is open to.

    What no longer stands in the record isn't there. One query.
    """
    if not memory_ids and not message_ids:
        return {}
    said = select(messages.c.id, messages.c.user_id, messages.c.audience, false())
    claimed = select(memories.c.id, memories.c.user_id, memories.c.audience, false())
    cited = select(sources.c.memory_id, messages.c.user_id, messages.c.audience, false()).join(messages)
    opened = select(openings.c.memory_id, memories.c.user_id, openings.c.conversation_id, true())
    opened = opened.join(memories, memories.c.id == openings.c.memory_id)
    rows = await connection.execute(
        union_all(
            said.where(messages.c.id.in_(message_ids)),
            claimed.where(memories.c.id.in_(memory_ids)),
            cited.where(sources.c.memory_id.in_(memory_ids)),
            opened.where(openings.c.memory_id.in_(memory_ids)),
        )
    )
    found: dict[str, set[Origin]] = {}
    wanted = {id: memory_entry(id) for id in memory_ids} | {id: message_entry(id) for id in message_ids}
    for id, owner, audience, is_opening in rows.all():
        found.setdefault(wanted[id], set()).add(Origin(owner, audience, bool(is_opening)))
    return found
