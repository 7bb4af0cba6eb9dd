"""The audit: who did what to whose access or data, in machine words, kept longer than the people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.storage.schema import audit

MOST_DETAIL_CHARS = 64


@dataclass(frozen=True, slots=True)
class Noted:
    """A deed as it was noted; see `Audit.note`."""

    at: datetime
    deed: str
    actor: str | None
    user_id: str | None
    detail: str | None


class Audit:
    """Notes deeds within the caller's transaction: what didn't happen isn't noted."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def note(
        self,
        connection: AsyncConnection,
        deed: str,
        *,
        actor: str | None = None,
        user_id: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Adds a row. `deed` (32 characters) and `detail` are machine words, never anybody's own.

        `actor` is the user who did it, None the operator on the command line; `user_id` whom it is about.
        """
        await connection.execute(
            insert(audit).values(
                at=self._clock.now(),
                actor=actor,
                deed=deed,
                user_id=user_id,
                detail=detail and detail[:MOST_DETAIL_CHARS],
            )
        )

    async def newest(
        self, connection: AsyncConnection, *, limit: int, about: str | None = None
    ) -> Sequence[Noted]:
        """The newest deeds, the oldest of them first; `about`: what a user did, or what was done to them."""
        asked = select(audit).order_by(audit.c.id.desc()).limit(limit)
        if about is not None:
            asked = asked.where((audit.c.actor == about) | (audit.c.user_id == about))
        rows = (await connection.execute(asked)).all()
        return [Noted(row.at, row.deed, row.actor, row.user_id, row.detail) for row in reversed(rows)]
