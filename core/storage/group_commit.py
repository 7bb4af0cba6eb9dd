"""Group commit: what arrives while a transaction is being written shares the next one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from core.errors import StoreUnavailable

T = TypeVar("T")
R = TypeVar("R")

MOST_ITEMS = 100
"""How much a transaction takes at once, if it isn't one caller's: others wait behind it."""


@dataclass(slots=True)
class _Group(Generic[T, R]):
    """What one caller wants written, all of it or nothing."""

    items: Sequence[T]
    written: asyncio.Future[Sequence[R]] = field(default_factory=asyncio.Future)


class GroupCommit(Generic[T, R]):
    """Has items written in the order in which they came, one transaction at a time.

    `write` writes all that it is given in one transaction, and returns a result for each; or it raises, and
    nothing was written.
    """

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[Sequence[R]]]) -> None:
        self._write = write
        self._waiting: deque[_Group[T, R]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def put(self, items: Sequence[T]) -> Sequence[R]:
        """Writes the items, together or not at all; returns their results. Raises what `write` raises.

        Who stops waiting leaves them to be written, or not, as if the process had ended just then.
        """
        group: _Group[T, R] = _Group(items)
        self._waiting.append(group)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_waiting(), name="group-commit")
        return await group.written

    async def _write_waiting(self) -> None:
        while self._waiting:
            await self._settle(self._next())

    def _next(self) -> list[_Group[T, R]]:
        groups = [self._waiting.popleft()]
        room = MOST_ITEMS - len(groups[0].items)
        while self._waiting and len(self._waiting[0].items) <= room:
            groups.append(self._waiting.popleft())
            room -= len(groups[-1].items)
        return groups

    async def _settle(self, groups: Sequence[_Group[T, R]]) -> None:
        try:
            results = deque(await self._write([item for group in groups for item in group.items]))
        except Exception as error:  # noqa: BLE001  # it is raised where the items came from
            if len(groups) > 1 and not isinstance(error, StoreUnavailable):
                for group in groups:  # one of them can't be written: the others needn't suffer for it
                    await self._settle([group])
                return
            for group in groups:
                if not group.written.done():
                    group.written.set_exception(error)
            return
        for group in groups:
            its = [results.popleft() for _ in group.items]
            if not group.written.done():
                group.written.set_result(its)
