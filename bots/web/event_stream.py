"""Server-Sent Events: what changes is told to the page as it happens, with a sign of life in between."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import Any

from aiohttp import web

from bots.web.gate import HEADERS
from core.errors import StoreUnavailable, Undecryptable

HEARTBEAT_SECONDS = 15.0
RECONNECT_MS = 1_500
"""How long the browser waits before it asks again, when a stream broke."""

Event = Mapping[str, Any]


class EventStreams:
    """The open streams of the page; `close` ends them all, so that the service can stop."""

    def __init__(self, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        self._heartbeat_seconds = heartbeat_seconds
        self._closing = asyncio.Event()

    def close(self) -> None:
        self._closing.set()

    async def send(self, request: web.Request, events: AsyncGenerator[Event, None]) -> web.StreamResponse:
        """Sends each event as JSON, until there are no more or the reader leaves."""
        headers = {**HEADERS, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        # A reader who left, a store that is away, a person who was forgotten: the page asks again by itself.
        with suppress(ConnectionError, StoreUnavailable, LookupError, Undecryptable):
            await response.write(f"retry: {RECONNECT_MS}\n\n".encode())
            async with aclosing(self._with_heartbeats(events)) as beats:
                async for event in beats:
                    line = ":" if event is None else f"data: {json.dumps(event)}"
                    await response.write(f"{line}\n\n".encode())
        return response

    async def _with_heartbeats(
        self, events: AsyncGenerator[Event, None]
    ) -> AsyncGenerator[Event | None, None]:
        """The events, and None after each while without one: a reader who left is noticed only by writing."""
        closing = asyncio.create_task(self._closing.wait())
        coming = asyncio.create_task(_next(events))
        try:
            while not closing.done():
                await asyncio.wait(
                    {coming, closing},
                    timeout=self._heartbeat_seconds,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not coming.done():
                    yield None
                elif (event := coming.result()) is None:
                    return
                else:
                    yield event
                    coming = asyncio.create_task(_next(events))
        finally:
            closing.cancel()
            coming.cancel()
            await asyncio.gather(closing, coming, return_exceptions=True)
            await events.aclose()


async def _next(events: AsyncGenerator[Event, None]) -> Event | None:
    return await anext(events, None)
