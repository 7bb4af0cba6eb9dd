"""What the index has yet to hear of: written with the record, so that a lost index call loses nothing."""

from sqlalchemy import Select, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.storage.database import new_id
from core.storage.schema import index_changes, users
from core.storage.upsert import conflicting_insert

MESSAGE, MEMORY = "m", "c"


def message_entry(message_id: str) -> str:
    """The index's id of a message."""
    return MESSAGE + message_id


def memory_entry(memory_id: str) -> str:
    """The index's id of a memory."""
    return MEMORY + memory_id


async def hold_memory(connection: AsyncConnection, user_id: str) -> None:
    """Lets one transaction at a time change what is remembered of a user.

    Otherwise, where writers run side by side (PostgreSQL), one could cite the words that another strikes out.
    """
    await connection.execute(select(users.c.id).where(users.c.id == user_id).with_for_update(key_share=True))


async def take_back(connection: AsyncConnection, user_id: str) -> None:
    """As `hold_memory`; once it is committed, what a process has read of the user's memory doesn't count."""
    await connection.execute(
        users.update().where(users.c.id == user_id).values(memory_revision=users.c.memory_revision + 1)
    )


async def queue_change(connection: AsyncConnection, user_id: str, entry_id: str) -> None:
    """Has the entry brought up to date in the index once the transaction has committed."""
    await queue_changes(connection, select(literal(user_id), literal(entry_id)))


async def queue_changes(connection: AsyncConnection, found: Select[str, str]) -> None:
    """As `queue_change`, for every (user id, entry id) that the query finds."""
    rows = found.subquery()
    # The stamp tells a change that comes while the index is being told from the one it is told of.
    queued = conflicting_insert(connection, index_changes).from_select(
        ["user_id", "entry_id", "stamp"],
        select(rows.c[0], rows.c[1], literal(new_id())).where(literal(True)),
    )
    await connection.execute(
        queued.on_conflict_do_update(index_elements=["entry_id"], set_={"stamp": queued.excluded.stamp})
    )
