"""Taking turns at something that serves one at a time, where some go before others."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Precedence:
    """A lock with two rows before it: nobody of the second is let in while somebody waits in the first."""

    def __init__(self) -> None:
        self._taken = False
        self._rows: tuple[deque[asyncio.Future[None]], deque[asyncio.Future[None]]] = (deque(), deque())

    @asynccontextmanager
    async def turn(self, *, first: bool) -> AsyncIterator[None]:
        """Has the thing for itself within the block; waits in the first row or in the second."""
        if self._taken:
            called = asyncio.get_running_loop().create_future()
            self._rows[0 if first else 1].append(called)
            try:
                await called
            except asyncio.CancelledError:
                if called.done() and not called.cancelled():
                    self._pass_on()  # it was our turn already
                raise
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        for row in self._rows:
            while row:
                called = row.popleft()
                if not called.done():
                    called.set_result(None)
                    return
        self._taken = False
