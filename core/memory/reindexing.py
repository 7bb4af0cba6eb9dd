"""Making the index anew while the old one serves, and going on where that was broken off.

An index of another embedding model is filled beside the one that serves. Once it is complete, whoever runs
with the new settings uses it: what changed meanwhile is made up for, and the old one is removed. An index of
the same model is mended in place. In both cases only what it lacks, or has of another text, is embedded.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from core.memory.changes import queue_change
from core.memory.indexing import BATCH, EVERY, Indexer, Place
from core.storage.database import Database
from core.storage.index import MemoryIndex, State
from core.storage.schema import users


@dataclass(frozen=True, slots=True)
class Reindexed:
    """So many entries stand in the index, of which so many were put there just now; whether it serves yet."""

    entries: int
    made: int
    serves: bool


@dataclass(frozen=True, slots=True)
class _Compared:
    """Some of a user's entries: how many were looked at, how many of them belong into the index, and those
    that stand there differently or not at all, or shouldn't."""

    looked_at: int
    belong: int
    differing: Sequence[str]


class Reindexing:
    """Fills an index from the record. Raises as `Indexer` does; what was done until then stays."""

    def __init__(self, database: Database, index: MemoryIndex, indexer: Indexer) -> None:
        self._database = database
        self._index = index
        self._indexer = indexer

    async def run(self, progress: Callable[[int, int], None]) -> Reindexed:
        """Brings the index of our make in line with the record.

        `progress` is called with how many entries were looked at, and how many there are.
        """
        state = await self._index.begin()
        async with self._database.read() as connection:
            total = (await connection.scalar(select(func.count()).select_from(EVERY))) or 0
        seen = entries = made = 0
        for user_id in await self._everybody():
            async for some in self._compared(user_id):
                if await self._indexer.tell(user_id, some.differing):
                    await self._queue(user_id, some.differing)
                seen += some.looked_at
                entries += some.belong
                made += len(some.differing)
                progress(seen, total)
        if state is State.FILLING:
            await self._index.settle(State.FILLED)
        if state is State.SERVING:
            await self._indexer.flush()
        return Reindexed(entries, made, state is State.SERVING)

    async def take_up(self) -> None:
        """Makes an index that was filled beside another one the only one, with what changed since then.

        The other one goes first: what is told to it after the comparison would be missing here.
        """
        await self._index.leave_others()
        for user_id in await self._everybody():
            async for some in self._compared(user_id):
                await self._queue(user_id, some.differing)
        await self._index.settle(State.SERVING)

    async def _compared(self, user_id: str) -> AsyncIterator[_Compared]:
        async with self._database.read() as connection:
            ids = await self._indexer.entries(connection, user_id)
            alone = await self._indexer.place(connection, user_id) is Place.ALONE
        pseudonym = self._indexer.pseudonym(user_id)
        held = await self._index.digests(pseudonym, alone=alone)
        if alone:
            await self._index.leave(pseudonym)  # from a move that was broken off
        for at in range(0, len(ids), BATCH):
            some = ids[at : at + BATCH]
            belong = await self._indexer.digests(user_id, some)
            yield _Compared(len(some), len(belong), [id for id in some if belong.get(id) != held.get(id)])
        yield _Compared(0, 0, list(held.keys() - set(ids)))

    async def _everybody(self) -> Sequence[str]:
        async with self._database.read() as connection:
            return (await connection.scalars(select(users.c.id))).all()

    async def _queue(self, user_id: str, entry_ids: Sequence[str]) -> None:
        if not entry_ids:
            return
        async with self._database.write() as connection:
            for entry_id in entry_ids:
                await queue_change(connection, user_id, entry_id)
