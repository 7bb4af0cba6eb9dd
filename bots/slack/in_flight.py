"""What is under way right now, so that a stop can wait for it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class InFlight:
    """Counts pieces of work by a context manager around each."""

    def __init__(self) -> None:
        self._pieces: set[asyncio.Future[None]] = set()

    @contextmanager
    def piece(self) -> Iterator[None]:
        """One piece of work, for as long as the block runs."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pieces.add(ended)
        try:
            yield
        finally:
            self._pieces.discard(ended)
            ended.set_result(None)

    async def settled(self, within_seconds: float) -> None:
        """Returns when what is under way has ended, or the time is over."""
        if self._pieces:
            await asyncio.wait(set(self._pieces), timeout=within_seconds)
