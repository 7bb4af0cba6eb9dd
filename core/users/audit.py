"""The audit: who did what to whose access or data, in machine words, kept longer than the people."""

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.storage.schema import audit

MOST_DETAIL_CHARS = 64


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
