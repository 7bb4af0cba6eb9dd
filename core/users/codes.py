"""Codes that let people in: how they are made and read, the operator's own, and how often one may guess."""

import base64
import hmac
import os
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.privacy.keys import MasterKey
from core.storage.schema import wrong_codes
from core.storage.upsert import conflicting_insert

CODE_BYTES = 10
MOST_GUESSES = 5
GUESSES_REST = timedelta(hours=1)


def new_code() -> str:
    """16 letters and digits, 80 bits."""
    return base64.b32encode(os.urandom(CODE_BYTES)).decode()


def read_code(said: str) -> str:
    """A code as it was made, however it was typed."""
    return said.strip().upper()


class OperatorCode:
    """What whoever runs Mneme proves it by. It follows from the master key, so every process knows it."""

    def __init__(self, master: MasterKey) -> None:
        self.text = base64.b32encode(master.derive("access code")[:CODE_BYTES]).decode()

    def is_right(self, said: str) -> bool:
        """Whether this is the code; compared in constant time."""
        return hmac.compare_digest(read_code(said).encode("utf-8", "surrogatepass"), self.text.encode())


class Guesses:
    """How many wrong codes somebody has tried; after some of them none is looked at for an hour.

    To be asked in a transaction in which no other process asks.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def are_used_up(self, connection: AsyncConnection, user_id: str) -> bool:
        return await self._count(connection, user_id) >= MOST_GUESSES

    async def note(self, connection: AsyncConnection, user_id: str) -> None:
        """Counts one more."""
        count = await self._count(connection, user_id) + 1
        written = conflicting_insert(connection, wrong_codes).values(
            user_id=user_id, since=self._clock.now(), count=count
        )
        changed = {"count": count} if count > 1 else {"count": count, "since": self._clock.now()}
        await connection.execute(written.on_conflict_do_update(index_elements=["user_id"], set_=changed))

    async def clear(self, connection: AsyncConnection, user_id: str) -> None:
        await connection.execute(delete(wrong_codes).where(wrong_codes.c.user_id == user_id))

    async def _count(self, connection: AsyncConnection, user_id: str) -> int:
        fresh = wrong_codes.c.since > self._clock.now() - GUESSES_REST
        counted = select(wrong_codes.c.count).where(wrong_codes.c.user_id == user_id, fresh)
        return await connection.scalar(counted) or 0
