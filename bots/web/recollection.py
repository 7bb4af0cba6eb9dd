"""What Mneme remembers about its visitor, told as it changes, and taken back when the visitor says so."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web

from bots.web.event_stream import Event, EventStreams
from bots.web.gate import Refused, json_body
from core.app import App
from core.errors import ModelError, Unavailable
from core.memory.claims import Derivation
from core.memory.indexing import memory_topic
from core.memory.overview import Held
from core.memory.transcript import Line
from core.users.sign_in import Visitor

STATEMENTS = 100
LOOK_SECONDS = 5.0
"""How often the memory is looked at though no bell rang: Redis may be away."""
STREAM_SECONDS = 300.0
"""After which the page asks anew, and its session is checked again: it may have ended elsewhere."""

log = structlog.get_logger()


class Recollection:
    """The routes of the memory panel. Each answers for its visitor alone."""

    def __init__(self, app: App, streams: EventStreams) -> None:
        self._app = app
        self._streams = streams

    async def show(self, request: web.Request, visitor: Visitor) -> web.Response:
        """GET: memories with their sources; statements not yet read ("unread"), or kept word for word."""
        return web.json_response(await self._remembered(visitor.user_id))

    async def watch(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """GET: the same as events, one now and one whenever it has changed."""
        return await self._streams.send(request, self._changes(visitor.user_id))

    async def forget_memory(self, request: web.Request, visitor: Visitor) -> web.Response:
        """POST: the memory goes, and the words that it rests on."""
        return await self._forget(request, visitor, self._app.forgetting.memory)

    async def forget_message(self, request: web.Request, visitor: Visitor) -> web.Response:
        """POST: the message goes, and all that rests on it alone."""
        return await self._forget(request, visitor, self._app.forgetting.message)

    async def _forget(
        self, request: web.Request, visitor: Visitor, forget: Callable[[str, str], Awaitable[bool]]
    ) -> web.Response:
        await json_body(request)
        if not await forget(visitor.user_id, request.match_info["id"]):
            raise Refused(404, "no_memory")
        await tell_index(self._app, visitor.user_id)
        return web.json_response({"forgotten": True})

    async def _changes(self, user_id: str) -> AsyncGenerator[Event, None]:
        told: Event | None = None
        until = time.monotonic() + STREAM_SECONDS
        async with self._app.bell.hearing(memory_topic(user_id)) as rung:
            while time.monotonic() < until:
                remembered = await self._remembered(user_id)
                if remembered != told:
                    yield remembered
                told = remembered
                await self._app.bell.wait(rung, LOOK_SECONDS)

    async def _remembered(self, user_id: str) -> dict[str, Any]:
        async with self._app.database.read() as connection:
            memories = await self._app.memories.of_user(connection, user_id)
            held = await self._app.overview.attached(connection, user_id, memories)
            statements = await self._app.transcript.statements_without_memory(
                connection, user_id, limit=STATEMENTS
            )
        return {
            "memories": [_memory(each) for each in reversed(held)],
            "unread": [_statement(s.line) for s in statements if not s.read],
            "kept": [_statement(s.line) for s in statements if s.read],
        }


async def tell_index(app: App, user_id: str) -> None:
    """Lets the pages that watch, and the index, hear of what a visitor changed."""
    await app.bell.ring(memory_topic(user_id))
    try:
        await app.indexer.flush(user_id)
    except (Unavailable, ModelError) as error:
        # The change waits in the record: a worker tells the index of it later.
        log.warning("index_behind", reason=type(error).__name__)


def _memory(held: Held) -> dict[str, Any]:
    memory = held.memory
    return {
        "id": memory.id,
        "kind": memory.kind,
        "text": memory.text,
        "recorded_at": memory.recorded_at.isoformat(),
        "believed": memory.is_believed,
        "concluded": memory.derivation is Derivation.CONCLUDED,
        "before": [
            {
                "text": each.text,
                "from": each.valid_from.isoformat(),
                "until": each.valid_until and each.valid_until.isoformat(),
            }
            for each in held.before
        ],
        "sources": [
            {
                "quote": source.quote,
                "said_at": source.said_at.isoformat(),
                "message": held.said[source.message_id].text,
            }
            for source in memory.sources
            if source.message_id in held.said
        ],
    }


def _statement(line: Line) -> dict[str, Any]:
    return {"message": line.id, "text": line.text, "said_at": line.said_at.isoformat()}
