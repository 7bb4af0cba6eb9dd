"""A server that stands in for Telegram's Bot API, as strict as the original, for tests and for trying out.

    python -m tests.standins.telegram --port 8081

Then start Mneme with the TELEGRAM_API_BASE_URL and TELEGRAM_BOT_TOKEN that it prints, write with
`POST /control/say {"chat_id": 1, "text": "Hello"}`, look at `GET /control/chats/1` and `GET /control/calls`.
"""

import argparse
import asyncio
import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from tests.standins.telegram_chats import Chat, Json, Refused, automatic_entities, bad_request, person
from tests.standins.telegram_methods import BotApi

Fault = Literal[
    "flood",
    "server_error",
    "hang",
    "close_before",
    "close_after",
    "garbage",
    "entities",
    "forbidden",
    "conflict",
]
"""`hang`, `close_after` and `garbage` do what was asked and then don't say so; the others don't do it."""

_REFUSALS: dict[Fault, Refused] = {
    "server_error": Refused(500, "Internal Server Error"),
    "entities": bad_request("can't parse entities: the stand-in was told to refuse them"),
    "forbidden": Refused(403, "Forbidden: bot was blocked by the user"),
    "conflict": Refused(
        409,
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
    ),
}


Weather = Callable[[web.Request, Json], Fault | None]


def fair(request: web.Request, params: Json) -> None:
    """The default weather: whatever isn't told to fail works."""


@dataclass(frozen=True)
class Call:
    """One call that came in: the method as it stood in the path, and its parameters, JSON read."""

    method: str
    params: Json


@dataclass
class TelegramStandIn(BotApi):
    """Telegram over HTTP, with what a test does in the place of people: `say`, `correct`, `fail_next`.

    What the bot asked is in `calls`, what people see in `chat(id).messages`.
    """

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    weather: Weather = fair
    """What a call meets that `fail_next` says nothing about."""
    witness: Callable[[web.Request, Json], None] = fair
    """Hears of each call that was done, before the caller does."""
    hang_seconds: float = 3600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._faults: list[tuple[str, Fault, int]] = []
        self._runner: web.AppRunner | None = None

    # For the test

    async def start(self, port: int = 0) -> None:
        """Serves on loopback; `url` is then what goes into TELEGRAM_API_BASE_URL."""
        app = web.Application()
        app.router.add_route("*", "/bot{token}/{method}", self._on_call)
        app.router.add_post("/control/say", self._on_control_say)
        app.router.add_get("/control/calls", self._on_control_calls)
        app.router.add_get("/control/chats/{chat_id}", self._on_control_chat)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stops serving; what it knows stays, so that it can be started again on the same port."""
        await self._stop_pushing()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def chat(self, chat_id: int) -> Chat:
        """The chat, made if it is new: private for a positive id, else a supergroup."""
        if chat_id not in self.chats:
            self.chats[chat_id] = Chat(
                chat_id, "private" if chat_id > 0 else "supergroup", "Ana" if chat_id > 0 else "The group"
            )
        return self.chats[chat_id]

    def say(
        self,
        chat_id: int,
        text: str | None,
        *,
        user: Json | None = None,
        entities: list[Json] | None = None,
        reply_to: int | None = None,
        thread: int | None = None,
        **fields: Any,
    ) -> Json:
        """A person writes; returns the update, which goes to whoever polls, or to the webhook.

        Entities that Telegram finds by itself are found. `fields` go into the `Message`: `photo`, `caption`,
        `forward_origin`, ...; `thread` is the topic.
        """
        chat = self.chat(chat_id)
        if thread is not None:
            chat.topics.add(thread)
            fields |= {"message_thread_id": thread, "is_topic_message": True}
        if reply_to is not None and (replied := chat.find(reply_to)) is not None:
            fields["reply_to_message"] = replied.raw
        raw: Json = {
            "message_id": chat.next_id(),
            "from": user or person(chat_id if chat_id > 0 else 1001),
            "chat": chat.raw(),
            "date": int(time.time()),
            **_content(text, entities),
            **fields,
        }
        chat.add(raw, from_bot=False)
        return self.push("message", raw)

    def correct(self, chat_id: int, message_id: int, text: str) -> Json:
        """A person edits what they wrote; returns the update."""
        shown = self.chat(chat_id).find(message_id)
        if shown is None or shown.from_bot:
            raise LookupError(f"nobody wrote message {message_id}")
        shown.history.append(shown.text)
        shown.text = text
        shown.raw = {**shown.raw, **_content(text, None), "edit_date": int(time.time())}
        return self.push("edited_message", shown.raw)

    def fail_next(self, method: str, kind: Fault, *, times: int = 1, retry_after: int = 1) -> None:
        """Makes the next calls of a method fail; `entities` waits for one that has entities."""
        self._faults += [(method.lower(), kind, retry_after)] * times

    def calls_of(self, method: str) -> list[Call]:
        return [call for call in self.calls if call.method.lower() == method.lower()]

    async def until(self, holds: Callable[[], bool], *, seconds: float = 60) -> None:
        """Waits until something holds.

        Raises:
            TimeoutError: it never did.
        """
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.01)

    # The Bot API over HTTP

    async def _on_call(self, request: web.Request) -> web.StreamResponse:
        try:
            self._check_token(request.match_info["token"])
            method = request.match_info["method"]
            handler = self.methods().get(method.lower())
            if handler is None:
                raise Refused(404, "Not Found")
            params = await _params(request)
            self.calls.append(Call(method, params))
            fault = self._take_fault(method, params) or self.weather(request, params)
            if fault == "close_before":
                return _hang_up(request)
            _refuse(fault, retry_after=1)
            result = await handler(params)
            self.witness(request, params)
        except Refused as refused:
            return web.json_response(refused.body(), status=refused.code)
        if fault == "hang":
            await asyncio.sleep(self.hang_seconds)
        if fault in ("hang", "close_after"):
            return _hang_up(request)
        if fault == "garbage":
            return web.Response(text=f"<html>{json.dumps(result)}</html>", content_type="text/html")
        return web.json_response({"ok": True, "result": result})

    def _check_token(self, token: str) -> None:
        if not re.fullmatch(r"\d+:[\w-]{30,}", token, re.ASCII):
            raise Refused(404, "Not Found")
        if token != self.token:
            raise Refused(401, "Unauthorized")

    def _take_fault(self, method: str, params: Json) -> Fault | None:
        for place, (name, kind, retry_after) in enumerate(self._faults):
            if name != method.lower() or (kind == "entities" and not params.get("entities")):
                continue
            del self._faults[place]
            _refuse(kind, retry_after)
            return kind
        return None

    # For a person at a terminal

    async def _on_control_say(self, request: web.Request) -> web.Response:
        said: Json = await request.json()
        return web.json_response(self.say(said.pop("chat_id"), said.pop("text", None), **said))

    async def _on_control_calls(self, request: web.Request) -> web.Response:
        return web.json_response([{"method": call.method, "params": call.params} for call in self.calls])

    async def _on_control_chat(self, request: web.Request) -> web.Response:
        chat = self.chat(int(request.match_info["chat_id"]))
        return web.json_response([message.raw for message in chat.messages])


def _content(text: str | None, entities: list[Json] | None) -> Json:
    if text is None:
        return {}
    found = automatic_entities(text) if entities is None else entities
    return {"text": text, "entities": found} if found else {"text": text}


async def _params(request: web.Request) -> Json:
    """The parameters as the original takes them: by query, form or JSON; objects in a form are JSON."""
    if request.content_type == "application/json":
        try:
            given = await request.json()
        except ValueError:
            raise bad_request("can't parse JSON request") from None
        return {**request.query, **given}
    params: Json = {**request.query, **await request.post()}
    for name, value in params.items():
        if isinstance(value, str) and value[:1] in ("[", "{") and name != "text":
            try:
                params[name] = json.loads(value)
            except ValueError:
                raise bad_request(f"can't parse {name} JSON object") from None
    return params


def _refuse(fault: Fault | None, retry_after: int) -> None:
    if fault == "flood":
        raise Refused(429, f"Too Many Requests: retry after {retry_after}", retry_after=retry_after)
    if fault in _REFUSALS:
        raise _REFUSALS[fault]


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _serve(port: int) -> None:
    telegram = TelegramStandIn()
    await telegram.start(port)
    print(f"TELEGRAM_API_BASE_URL={telegram.url} TELEGRAM_BOT_TOKEN={telegram.token}", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await telegram.stop()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Stands in for Telegram's Bot API.")
    arguments.add_argument("--port", type=int, default=8081)
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(arguments.parse_args().port))
