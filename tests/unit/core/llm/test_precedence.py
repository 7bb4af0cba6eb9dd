"""Precedence: one at a time, the first row before the second, and nobody is forgotten who left the queue."""

import asyncio

import pytest

from core.llm.precedence import Precedence


class Counter:
    """Something that serves one at a time."""

    def __init__(self) -> None:
        self.precedence = Precedence()
        self.served: list[str] = []
        self.open = asyncio.Event()

    async def serve(self, name: str, *, first: bool) -> None:
        async with self.precedence.turn(first=first):
            await self.open.wait()
            self.served.append(name)

    def queue(self, *names: str) -> list[asyncio.Task[None]]:
        """Those who begin with "q" go first."""
        return [asyncio.create_task(self.serve(name, first=name.startswith("q"))) for name in names]


async def test_the_first_row_goes_before_the_second_each_in_order() -> None:
    counter = Counter()
    tasks = counter.queue("p1", "p2", "p3", "q1", "q2")
    await asyncio.sleep(0)
    counter.open.set()
    await asyncio.gather(*tasks)
    assert counter.served == ["p1", "q1", "q2", "p2", "p3"]
    await counter.serve("p4", first=False)
    assert counter.served[-1] == "p4", "it serves on after a rest"


async def test_who_leaves_the_queue_holds_nobody_up() -> None:
    counter = Counter()
    holder, leaver, last = counter.queue("p1", "q1", "p2")
    await asyncio.sleep(0)
    leaver.cancel()
    counter.open.set()
    await asyncio.gather(holder, last)
    assert counter.served == ["p1", "p2"]


async def test_who_is_called_and_leaves_just_then_passes_the_turn_on() -> None:
    counter = Counter()
    counter.open.set()
    async with counter.precedence.turn(first=True):
        leaver, last = counter.queue("q1", "p1")
        await asyncio.sleep(0)
    leaver.cancel()  # called a moment ago, but not yet awake
    with pytest.raises(asyncio.CancelledError):
        await leaver
    await asyncio.wait_for(last, 5)
    assert counter.served == ["p1"]


async def test_a_fault_amid_a_turn_ends_it() -> None:
    precedence = Precedence()
    with pytest.raises(ZeroDivisionError):
        async with precedence.turn(first=False):
            raise ZeroDivisionError
    async with asyncio.timeout(5), precedence.turn(first=False):
        pass
