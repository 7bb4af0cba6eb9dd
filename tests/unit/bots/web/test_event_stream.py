"""Event streams against real connections: signs of life, readers who leave, an orderly end."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import httpx
from aiohttp import web

from bots.web.event_stream import Event, EventStreams

HEARTBEAT_SECONDS = 0.05


class Source:
    """Events that a test hands out; notes when its reader is gone."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def events(self) -> AsyncGenerator[Event, None]:
        try:
            while (event := await self.queue.get()) is not None:
                yield event
        finally:
            self.closed.set()


@asynccontextmanager
async def served(streams: EventStreams, source: Source) -> AsyncIterator[httpx.AsyncClient]:
    async def stream(request: web.Request) -> web.StreamResponse:
        return await streams.send(request, source.events())

    application = web.Application()
    application.add_routes([web.get("/", stream)])
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
        yield client
    await runner.cleanup()


async def test_events_arrive_as_json_one_each() -> None:
    source = Source()
    async with served(EventStreams(), source) as client:
        for event in ({"text": "línea\n1"}, {"text": "2"}, None):
            source.queue.put_nowait(event)
        answer = await client.get("/")
    data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [json.loads(each) for each in data] == [{"text": "línea\n1"}, {"text": "2"}]
    assert answer.headers["content-type"] == "text/event-stream"


async def test_silence_is_broken_by_heartbeats() -> None:
    source = Source()
    async with (
        served(EventStreams(HEARTBEAT_SECONDS), source) as client,
        client.stream("GET", "/") as answer,
    ):
        lines = answer.aiter_lines()
        while await anext(lines) != ":":
            pass
        source.queue.put_nowait({"late": True})
        while not (await anext(lines)).startswith("data: "):
            pass
        source.queue.put_nowait(None)


async def test_a_reader_who_leaves_is_noticed() -> None:
    source = Source()
    async with served(EventStreams(HEARTBEAT_SECONDS), source) as client:
        async with client.stream("GET", "/") as answer:
            await anext(answer.aiter_lines())
        await asyncio.wait_for(source.closed.wait(), timeout=30)


async def test_closing_ends_open_streams() -> None:
    source, streams = Source(), EventStreams()
    async with served(streams, source) as client, client.stream("GET", "/") as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        streams.close()
        assert [line async for line in lines if line.startswith("data")] == []
    assert source.closed.is_set()
