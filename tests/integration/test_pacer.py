"""The pacer over a real Redis: several processes keep to a platform's limits together, or each alone."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.storage.pacer import Limit, Pacer
from tests.servers import free_port, redis_server


@pytest.fixture
async def pacers(redis_url: str) -> AsyncIterator[list[Pacer]]:
    """Those of two processes."""
    made = [Pacer(redis_url) for _ in range(2)]
    yield made
    for pacer in made:
        await pacer.close()


def nowhere() -> str:
    return f"redis://127.0.0.1:{free_port()}/0"


async def booked(pacers: list[Pacer], limits: list[Limit], count: int) -> list[float]:
    """When so many writes may be made, from the first on, booked by each process in turn at once."""
    time = asyncio.get_running_loop().time
    began = time()

    async def one(pacer: Pacer) -> float:
        return await pacer.book(limits, within_seconds=60) + time() - began

    return sorted(await asyncio.gather(*(one(pacers[n % len(pacers)]) for n in range(count))))


@pytest.mark.parametrize("together", [True, False], ids=["through Redis", "alone"])
async def test_no_window_holds_more_than_its_limit(pacers: list[Pacer], together: bool) -> None:
    if not together:
        pacers = [Pacer(nowhere())]
        await pacers[0].book([Limit("warm up", 1, 1.0)], within_seconds=0)
    times = await booked(pacers, [Limit(f"chat {together}", 3, 20.0)], 12)
    for first, fourth in zip(times, times[3:], strict=False):
        assert fourth - first > 15
    assert times[-1] < 70, "no longer than it takes"


async def test_each_limit_counts_by_itself_and_all_bind(pacers: list[Pacer]) -> None:
    overall = Limit("all of it", 4, 60.0)
    for chat in range(4):
        limits = [Limit(f"one of {chat}", 1, 60.0), overall]
        assert await pacers[chat % 2].book(limits, within_seconds=0) == 0
    assert await pacers[0].book([Limit("one of 9", 1, 60.0), overall], within_seconds=0) > 0
    assert await pacers[0].book([Limit("one of 9", 1, 60.0)], within_seconds=0) == 0
    assert await pacers[1].book([Limit("one of 9", 1, 60.0)], within_seconds=0) > 0


async def test_what_comes_too_late_is_not_booked(pacers: list[Pacer]) -> None:
    limits = [Limit("late", 1, 50.0)]
    assert await pacers[0].book(limits, within_seconds=0) == 0
    for _ in range(3):
        assert 40 < await pacers[1].book(limits, within_seconds=1) <= 50
    assert 40 < await pacers[1].book(limits, within_seconds=100) <= 50
    assert 90 < await pacers[0].book(limits, within_seconds=100) <= 100


async def test_a_rest_binds_every_process_and_ends(pacers: list[Pacer]) -> None:
    limits = [Limit("tired", 30, 1.0)]
    await pacers[0].rest("tired", 30)
    assert 20 < await pacers[1].book(limits, within_seconds=0) <= 30.1
    await pacers[0].rest("tired", 0.5)
    await asyncio.sleep(0.6)
    assert await pacers[1].book(limits, within_seconds=0) == 0


async def test_a_rest_is_kept_though_redis_goes(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        pacer = Pacer(url)
        await pacer.rest("tired", 30)
    assert 20 < await pacer.book([Limit("tired", 1, 1.0)], within_seconds=0) <= 30
    await pacer.close()


async def test_without_limits_nothing_is_asked() -> None:
    pacer = Pacer(nowhere())
    assert await pacer.book([], within_seconds=0) == 0
    await pacer.close()
