"""What the record says in the end, read by the core's own means."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, select

from core.app import App
from core.delivery.inbox import OPEN_STATES, UNANSWERED_STATES
from core.memory.jobs import JobState
from core.storage.database import database_seconds
from core.storage.schema import (
    conversations,
    deliveries,
    inbox,
    index_changes,
    jobs,
    messages,
    turns,
)
from tests.chaos.words import TOKEN

OPEN_JOBS = (JobState.WAITING, JobState.RUNNING)


@dataclass(frozen=True)
class Record:
    """The rows that matter. `rows` and `told` go by the event's digest; `memories` count tokens by user."""

    rows: Mapping[str, Row[Any]]
    told: Mapping[str, int]
    memories: Mapping[tuple[str, str], int]
    deliveries: Mapping[str, int]
    jobs: Mapping[str, int]
    turns_given_up: int
    """Those that are dead or of unknown fate: each may have had a line of its own."""


async def unrest(app: App) -> dict[str, int]:
    """What isn't done yet, by name; empty once all is quiet."""
    counts = {
        "messages": select(func.count()).select_from(inbox).where(inbox.c.state.in_(OPEN_STATES)),
        "jobs": select(func.count()).select_from(jobs).where(jobs.c.state.in_(OPEN_JOBS)),
        "leases": select(func.count())
        .select_from(conversations)
        .where(conversations.c.lease_until > database_seconds()),
        "index changes": select(func.count()).select_from(index_changes),
        "turns": select(func.count()).select_from(turns).where(turns.c.state == "open"),
    }
    async with app.database.read() as connection:
        found = {name: int(await connection.scalar(query) or 0) for name, query in counts.items()}
    return {name: count for name, count in found.items() if count}


async def read(app: App) -> Record:
    """All of it, at one moment."""
    async with app.database.read() as connection:
        rows = {row.event_digest: row for row in (await connection.execute(select(inbox))).all()}
        told = Counter(
            (await connection.scalars(select(messages.c.event_digest).where(messages.c.role == "user"))).all()
        )
        sent = Counter((await connection.scalars(select(deliveries.c.state))).all())
        done = Counter((await connection.scalars(select(jobs.c.state))).all())
        given_up = select(func.count()).select_from(turns).where(turns.c.state.in_(UNANSWERED_STATES))
        lines = int(await connection.scalar(given_up) or 0)
        known: Counter[tuple[str, str]] = Counter()
        for user_id in {row.user_id for row in rows.values()}:
            for memory in await app.memories.of_user(connection, user_id):
                known.update((user_id, token) for token in TOKEN.findall(memory.text))
    return Record(rows, told, known, sent, done, lines)
