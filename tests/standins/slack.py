"""A Slack workspace in a box: the Web API, Socket Mode and the Events API, as strict as the original.

By hand: `python -m tests.standins.slack --port 9010 [--events-url http://127.0.0.1:8080/slack/events]`, then
`curl -d '{"channel": "C1", "text": "<@UMNEME> hello"}' http://127.0.0.1:9010/control/say`.
"""

import argparse
import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from tests.standins.slack_delivery import Carrier, Delivery, HttpDelivery, SocketDelivery
from tests.standins.slack_rules import Refused, arguments, bearer
from tests.standins.slack_workspace import Event, SlackWorkspace

RETRY_AFTER_SECONDS = 7
"""Of a 429 that a test asked for."""
_UNDONE = ("429", "500", "close_before")
_DONE = ("garbage", "hang", "close_after")


def fair(request: web.Request, given: dict[str, Any]) -> None:
    """The default weather: whatever isn't told to fail works."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a method, as it came in."""

    method: str
    arguments: dict[str, Any]


class SlackStandIn(SlackWorkspace):
    """The workspace, served on loopback between `start` and `stop`.

    With `events_url` set events go there by signed HTTP requests, else to whoever holds a Socket Mode line;
    a `carrier` takes them instead. `weather` says what a call meets that `fail_next` says nothing about,
    `witness` hears of each call that was done, before the caller does.
    """

    def __init__(self, *, events_url: str | None = None, retry_seconds: float = 3.0) -> None:
        super().__init__(self._send_event, self._new_link)
        self.bot_token = "xoxb-stand-in"
        self.app_token = "xapp-stand-in"
        self.signing_secret = "stand-in-signing-secret"
        self.events_url = events_url
        self.calls: list[Call] = []
        self.carrier: Carrier | None = None
        self.weather: Callable[[web.Request, dict[str, Any]], str | None] = fair
        self.witness: Callable[[web.Request, dict[str, Any]], None] = fair
        self.retry_after_seconds = RETRY_AFTER_SECONDS
        self.hang_seconds = 3600.0
        self.deliveries: list[Delivery] = []
        self.socket = SocketDelivery(retry_seconds=retry_seconds)
        self._retry_seconds = retry_seconds
        self._http: HttpDelivery | None = None
        self._faults: dict[str, list[str]] = {}
        self._stopped = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def api_base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/api/"

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.router.add_route("*", "/api/{method}", self._call)
        app.router.add_get("/link", self.socket.link)
        app.router.add_post("/control/say", self._control_say)
        app.router.add_get("/control/calls", self._control_calls)
        app.router.add_get("/control/messages", self._control_messages)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port or self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self._stopped.clear()

    async def stop(self) -> None:
        """Goes away; `start` brings the same workspace back on the same port."""
        self._stopped.set()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self.socket.close()
        if self._http is not None:
            await self._http.close()
            self._http = None
        if self._runner is not None:
            await self._runner.cleanup()

    def fail_next(self, method: str, kind: str) -> None:
        """Makes the next call of a method fail: an error code of Slack's, or one of

        429, 500, close_before: not done. garbage (unreadable answer), hang, close_after: done all the same.
        """
        self._faults.setdefault(method, []).append(kind)

    def calls_of(self, method: str) -> list[dict[str, Any]]:
        return [call.arguments for call in self.calls if call.method == method]

    async def wait(self, condition: Callable[[], bool], *, within_seconds: float = 60.0) -> None:
        """Returns when the condition holds, raises TimeoutError when it doesn't within the time."""
        async with asyncio.timeout(within_seconds):
            while not condition():
                await asyncio.sleep(0.02)

    async def settled(self, *, within_seconds: float = 60.0) -> None:
        """Returns when every event so far has been acknowledged."""
        await self.wait(lambda: all(d.acknowledged for d in self.deliveries), within_seconds=within_seconds)

    # The Web API

    async def _call(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        faults = self._faults.get(method, [])
        fault = faults.pop(0) if faults else ""
        try:
            given = await arguments(request)
            self.calls.append(Call(method, given))
            fault = fault or self.weather(request, given) or ""
            if fault in _UNDONE:
                return _undone(request, fault, self.retry_after_seconds)
            self._check_token(method, bearer(request, given))
            if fault and fault not in _DONE:
                raise Refused(fault)
            answer = {"ok": True, **await self.method(method)(given)}
            self.witness(request, given)
        except Refused as refused:
            answer = {"ok": False, "error": refused.code}
        if fault == "hang":
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self.hang_seconds)
        if fault in ("hang", "close_after"):
            return _hung_up(request)
        if fault == "garbage":
            return web.Response(text='{"ok": tru', content_type="application/json")
        return web.json_response(answer)

    def _check_token(self, method: str, token: str) -> None:
        if token not in (self.bot_token, self.app_token):
            raise Refused("invalid_auth")
        if (method == "apps.connections.open") != (token == self.app_token):
            raise Refused("not_allowed_token_type")

    # Events

    def _new_link(self) -> str:
        return f"ws://127.0.0.1:{self._port}/link?ticket={self.socket.ticket()}"

    def _send_event(self, event: Event) -> None:
        delivery = Delivery(f"Ev{secrets.token_hex(5).upper()}", event)
        payload = {
            "token": "verification",
            "team_id": self.team_id,
            "api_app_id": "A0",
            "type": "event_callback",
            "event_id": delivery.event_id,
            "event_time": int(time.time()),
            "event": event,
            "authorizations": [{"team_id": self.team_id, "user_id": self.bot_user_id, "is_bot": True}],
        }
        self.deliveries.append(delivery)
        task = asyncio.create_task(self._carrier().deliver(delivery, payload))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _carrier(self) -> Carrier:
        if self.carrier is not None:
            return self.carrier
        if self.events_url is None:
            return self.socket
        if self._http is None:
            self._http = HttpDelivery(self.events_url, self.signing_secret, retry_seconds=self._retry_seconds)
        return self._http

    # By hand

    async def _control_say(self, request: web.Request) -> web.Response:
        asked = await request.json()
        return web.json_response({"ts": self.say(asked.pop("channel"), asked.pop("text"), **asked)})

    async def _control_calls(self, request: web.Request) -> web.Response:
        return web.json_response([asdict(call) for call in self.calls])

    async def _control_messages(self, request: web.Request) -> web.Response:
        return web.json_response([{**asdict(m), "shown": m.shown} for m in self.messages.values()])


def _undone(request: web.Request, fault: str, retry_after_seconds: int) -> web.Response:
    if fault == "429":
        headers = {"Retry-After": str(retry_after_seconds)}
        return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=headers)
    if fault == "500":
        return web.Response(status=500, text="<html>Server Error</html>", content_type="text/html")
    return _hung_up(request)


def _hung_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def _serve(port: int, events_url: str | None) -> None:
    stand_in = SlackStandIn(events_url=events_url)
    await stand_in.start(port)
    print(f"SLACK_API_BASE_URL={stand_in.api_base_url}", f"SLACK_BOT_TOKEN={stand_in.bot_token}", sep="\n")
    print(
        f"SLACK_APP_TOKEN={stand_in.app_token}", f"SLACK_SIGNING_SECRET={stand_in.signing_secret}", sep="\n"
    )
    print(f"Mention the bot as {stand_in.mention}. Ctrl-C ends.", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await stand_in.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9010)
    parser.add_argument("--events-url", help="deliver events there instead of over Socket Mode")
    given = parser.parse_args()
    try:
        asyncio.run(_serve(given.port, given.events_url))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
