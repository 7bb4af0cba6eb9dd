"""Talking in the web chat: a message in, its reply as it grows, and what was said before."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from sqlalchemy import select

from bots.channel import Desk
from bots.web.event_stream import Event, EventStreams
from bots.web.gate import Refused, json_body
from bots.web.markdown import to_html
from core.app import App
from core.errors import InvalidMessage
from core.memory.transcript import Line
from core.messages import ConversationKind, ConversationRef, IncomingMessage, Sender, zone_of
from core.storage.schema import inbox
from core.users.sign_in import CHANNEL, WORKSPACE, Visitor

HISTORY_MESSAGES = 200
MAX_ROW_ID = 2**31 - 1
FIRST_KEY = "first"
"""The conversation of a page that names none and finds none."""

_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Chat:
    """The routes of a conversation. Each answers for its visitor alone."""

    def __init__(self, app: App, desk: Desk, streams: EventStreams) -> None:
        self._app = app
        self._desk = desk
        self._streams = streams

    async def accept(self, request: web.Request, visitor: Visitor) -> web.Response:
        """POST {text, event, conversation?, utc_offset?}: the same event twice is one message."""
        body = await json_body(request)
        text = body.get("text")
        if not isinstance(text, str):
            raise Refused(400, "no_text")
        account = _account(visitor)
        key = _key(body.get("conversation", FIRST_KEY))
        zone = zone_of(body.get("utc_offset"), timedelta(minutes=1))
        message = IncomingMessage(
            channel=CHANNEL,
            workspace=WORKSPACE,
            event=f"{visitor.user_id}:{_key(body.get('event'))}",
            sender=Sender(account, account, zone=zone),
            conversation=ConversationRef(f"{account}:{key}", ConversationKind.DIRECT, {"key": key}),
            text=text,
            sent_at=datetime.now(UTC),
        )
        try:
            accepted = await self._desk.accept(message)
        except InvalidMessage as error:
            raise Refused(400, str(error)) from error
        return web.json_response({"inbox": accepted.inbox_id, "conversation": accepted.conversation_id})

    async def reply(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """GET: events of the reply to one of the visitor's messages; each holds the whole text so far."""
        inbox_id = int(request.match_info["inbox"])
        if inbox_id > MAX_ROW_ID or await self._row(inbox_id, visitor.user_id) is None:
            raise Refused(404, "no_message")
        return await self._streams.send(request, self._progress(inbox_id, visitor.user_id))

    async def history(self, request: web.Request, visitor: Visitor) -> web.Response:
        """GET ?conversation=KEY: its messages since it was last begun afresh; without a key, the newest's."""
        key = request.query.get("conversation")
        async with self._app.database.read() as connection:
            if key is None:
                latest = await self._app.conversations.latest(connection, CHANNEL, visitor.user_id)
                found = latest.id if latest else None
                key = latest.address.get("key") if latest else None
            else:
                reference = f"{_account(visitor)}:{_key(key)}"
                found = await self._app.conversations.find(connection, CHANNEL, WORKSPACE, reference)
            own = found and await self._app.conversations.find_own(connection, found, visitor.user_id)
            lines: list[Line] = []
            if own:
                lines = await self._app.transcript.since_fresh_start(
                    connection, own.id, visitor.user_id, limit=HISTORY_MESSAGES
                )
        return web.json_response({"conversation": key, "messages": [_as_json(line) for line in lines]})

    async def _row(self, inbox_id: int, user_id: str) -> Any:
        async with self._app.database.read() as connection:
            return (
                await connection.execute(
                    select(inbox.c.turn_id).where(inbox.c.id == inbox_id, inbox.c.user_id == user_id)
                )
            ).one_or_none()

    async def _progress(self, inbox_id: int, user_id: str) -> AsyncGenerator[Event, None]:
        async with aclosing(self._app.screen.follow(inbox_id, user_id)) as following:
            async for progress in following:
                yield {
                    # Messages of one burst share a turn: the page shows their one reply once.
                    "turn": progress.turn,
                    "text": progress.text,
                    "html": to_html(progress.text),
                    "ended": progress.ended,
                    "failed": progress.failed,
                    "memories": progress.account.get("memories", []),
                    "timings": progress.account.get("timings", {}),
                }


def _key(value: object) -> str:
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise Refused(400, "bad_key")
    return value


def _account(visitor: Visitor) -> str:
    """Whom the conversation is with. A key holds no colon, so that no two visitors' conversations meet."""
    if visitor.account is None:
        raise Refused(403, "no_account")
    return visitor.account


def _as_json(line: Line) -> dict[str, Any]:
    said = {
        "id": line.id,
        "turn": line.turn_id,
        "role": line.role,
        "text": line.text,
        "said_at": line.said_at.isoformat(),
    }
    return said if line.role == "user" else {**said, "html": to_html(line.text)}
