"""The terminal's channel: the command line on this machine talks to the running service over HTTP."""

import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from bots.channel import Desk
from bots.console.wire import LAST, NEW, PATH, console_key
from bots.screen_outlet import ScreenOutlet
from core.app import App
from core.errors import InvalidMessage, StoreUnavailable
from core.messages import ConversationKind, ConversationRef, IncomingMessage, Sender
from core.storage.database import new_id

CHANNEL = "console"
WORKSPACE = "local"
MAX_NAME_CHARS = 64


class ConsoleChannel(ScreenOutlet):
    """`POST /console/messages` {"as", "text", "conversation"}; answers with one JSON object a line.

    Lines have the reply's `text` so far; the last one has `ended`, `failed` and the account.
    """

    def __init__(self, app: App, desk: Desk) -> None:
        super().__init__(CHANNEL, app.screen)
        self._app = app
        self._desk = desk
        self._key = console_key(app.master).encode()

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.post(PATH, self._receive)]

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(shown.encode(errors="replace"), self._key):
            raise web.HTTPUnauthorized(text="this isn't the terminal of the machine that runs Mneme")
        name, text, wanted = _read(await _json(request))
        try:
            ref = await self._conversation(name, wanted)
            accepted = await self._desk.accept(
                IncomingMessage(
                    channel=CHANNEL,
                    workspace=WORKSPACE,
                    event=new_id(),
                    sender=Sender(name, name),
                    conversation=ref,
                    text=text,
                    sent_at=datetime.now(UTC),
                )
            )
            async with self._app.database.read() as connection:
                user = await self._app.people.find(connection, CHANNEL, WORKSPACE, name)
        except InvalidMessage as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        except StoreUnavailable as error:
            raise web.HTTPServiceUnavailable(text="the database is busy or gone; try again") from error
        assert user is not None  # noqa: S101  # accepting the message made the user
        return await self._stream(request, accepted.inbox_id, user.id, accepted.conversation_id)

    async def _conversation(self, name: str, wanted: str) -> ConversationRef:
        """The conversation to go on with: the last one, a new one, or that of an id."""
        key = f"{name}:{new_id()}"
        if wanted != NEW:
            async with self._app.database.read() as connection:
                user = await self._app.people.find(connection, CHANNEL, WORKSPACE, name)
                found = None
                if user is not None and wanted == LAST:
                    found = await self._app.conversations.latest(connection, CHANNEL, user.id)
                elif user is not None:
                    found = await self._app.conversations.find_own(connection, wanted, user.id)
            if found is None and wanted != LAST:
                raise web.HTTPNotFound(text="you have no such conversation")
            if found is not None:
                key = found.address["key"]
        return ConversationRef(key, ConversationKind.DIRECT, {"key": key})

    async def _stream(
        self, request: web.Request, inbox_id: int, user_id: str, conversation_id: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        async for progress in self._app.screen.follow(inbox_id, user_id):
            line: dict[str, Any] = {"text": progress.text}
            if progress.ended:
                line |= {"ended": True, "failed": progress.failed, "conversation": conversation_id}
                line |= progress.account
            await response.write(json.dumps(line).encode() + b"\n")
        await response.write_eof()
        return response


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise web.HTTPBadRequest(text="the body isn't JSON") from error
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="the body isn't a JSON object")
    return body


def _read(body: dict[str, Any]) -> tuple[str, str, str]:
    name, text, wanted = body.get("as"), body.get("text"), body.get("conversation", LAST)
    if not isinstance(name, str) or not 0 < len(name.strip()) <= MAX_NAME_CHARS:
        raise web.HTTPBadRequest(text=f"a name has 1 to {MAX_NAME_CHARS} characters")
    if not isinstance(text, str) or not isinstance(wanted, str):
        raise web.HTTPBadRequest(text="text and conversation must be strings")
    return name.strip(), text, wanted
