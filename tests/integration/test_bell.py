"""The bell between processes, over a real Redis: it is heard, and its silence costs nobody a message."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from core.errors import BellUnavailable
from core.storage.bell import CALL_TIMEOUT_SECONDS, CHANNEL, LIFE, Bell
from tests.processes import until
from tests.servers import free_port, redis_server

NEVER_SECONDS = 600.0


@pytest.fixture
async def bell(redis_url: str) -> AsyncIterator[Bell]:
    made = Bell(redis_url)
    yield made
    await made.close()


@pytest.fixture
async def other(redis_url: str) -> AsyncIterator[Bell]:
    """Another process's bell."""
    made = Bell(redis_url)
    yield made
    await made.close()


@asynccontextmanager
async def listening(bell: Bell, ringer: Bell) -> AsyncIterator[list[str]]:
    """The topics that the bell hears while it listens within the block."""
    heard: list[str] = []
    bell.on_ring(heard.append)
    task = asyncio.create_task(bell.listen())
    await hears(heard, ringer)
    yield heard
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def hears(heard: list[str], ringer: Bell) -> None:
    """Returns once rings arrive, and nothing more is on its way."""
    heard.clear()

    async def ring() -> bool:
        await ringer.ring("anybody?")
        return bool(heard)

    await until(ring)
    await ringer.ring("the last")
    await until(lambda: "the last" in heard)
    heard.clear()


async def test_a_ring_is_heard_in_another_process(bell: Bell, other: Bell) -> None:
    async with (
        listening(other, bell) as heard,
        other.hearing("lane:1") as rung,
        other.hearing("lane:2") as not_rung,
    ):
        await bell.ring("lane:1")
        await until(rung.is_set)
        assert heard == ["lane:1"]
        assert not not_rung.is_set()


async def test_a_ring_is_heard_at_once_where_it_is_rung(bell: Bell) -> None:
    heard: list[str] = []
    bell.on_ring(heard.append)
    async with bell.hearing("turn:1") as first, bell.hearing("turn:1") as second:
        await bell.ring("turn:1")
        assert first.is_set()
        assert second.is_set()
    await bell.ring("turn:1")
    assert heard == ["turn:1"] * 2


async def test_who_rings_hears_it_once_though_it_listens(bell: Bell, other: Bell) -> None:
    async with listening(bell, other) as heard:
        await bell.ring("lane:1")
        await other.ring("the end")
        await until(lambda: "the end" in heard)
        assert heard == ["lane:1", "the end"]


async def test_waiting_ends_with_a_ring_or_with_time(bell: Bell) -> None:
    async with bell.hearing("turn:1") as rung:
        await bell.wait(rung, 0.01)
        await bell.ring("turn:1")
        # What is rung before the wait begins isn't lost; what was waited for is over.
        await bell.wait(rung, NEVER_SECONDS)
        assert not rung.is_set()
        waiting = asyncio.create_task(bell.wait(rung, NEVER_SECONDS))
        await asyncio.sleep(0)
        await bell.ring("turn:1")
        await waiting


async def test_who_left_is_not_called(bell: Bell) -> None:
    async with bell.hearing("turn:1") as left:
        pass
    with pytest.raises(ZeroDivisionError):
        async with bell.hearing("turn:1") as failed:
            raise ZeroDivisionError
    await bell.ring("turn:1")
    assert not left.is_set()
    assert not failed.is_set()


async def test_noise_on_the_line_is_no_end(bell: Bell, other: Bell, redis_url: str) -> None:
    async with listening(other, bell) as heard, Redis.from_url(redis_url) as redis:
        for noise in (b"\xff\xfe", b"", "ä:\x00".encode()):
            await redis.publish(CHANNEL, noise)
        await bell.ring("lane:1")
        await until(lambda: "lane:1" in heard)


async def test_life_is_seen_elsewhere_until_it_ends(bell: Bell, other: Bell, redis_url: str) -> None:
    assert not await other.is_alive("a-part")
    await bell.show_life("a-part", 3600)
    assert await other.is_alive("a-part")
    assert not await other.is_alive("another-part")
    async with Redis.from_url(redis_url) as redis:
        assert 0 < await redis.ttl(LIFE + "a-part") <= 3600
        await bell.show_life("a-part", 0.001)
        await until(lambda: is_over(other, "a-part"))


async def is_over(bell: Bell, name: str) -> bool:
    return not await bell.is_alive(name)


async def test_without_redis_a_ring_is_still_heard_here() -> None:
    bell = Bell(f"redis://127.0.0.1:{free_port()}/0")
    async with bell.hearing("lane:1") as rung:
        await bell.ring("lane:1")
        assert rung.is_set()
    for call in (bell.ping(), bell.is_alive("worker"), bell.show_life("worker", 1)):
        with pytest.raises(BellUnavailable) as away:
            await call
        assert "127.0.0.1" not in str(away.value)
    await bell.close()


async def test_redis_that_comes_back_is_heard_again(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        ringer, listener = Bell(url), Bell(url)
        heard: list[str] = []
        listener.on_ring(heard.append)
        task = asyncio.create_task(listener.listen())
        await hears(heard, ringer)
    await ringer.ring("lost")
    with pytest.raises(BellUnavailable):
        await ringer.ping()
    with redis_server(tmp_path, port):
        await hears(heard, ringer)
        await ringer.ping()
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await ringer.close()
    await listener.close()


async def test_a_redis_that_hangs_holds_up_one_ring_alone(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        bell = Bell(url)
        await bell.ring("lane:1")
        async with Redis.from_url(url) as client:
            process_id = (await client.info("server"))["process_id"]
        os.kill(process_id, signal.SIGSTOP)
        try:
            async with asyncio.timeout(10 * CALL_TIMEOUT_SECONDS):
                for number in range(50):
                    await bell.ring(f"lane:{number}")
        finally:
            os.kill(process_id, signal.SIGCONT)
        await bell.close()
