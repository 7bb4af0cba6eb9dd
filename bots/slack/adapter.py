"""Slack: Socket Mode or HTTP in, the Web API out."""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from typing import Any

import aiohttp
import structlog
from aiohttp import web
from pydantic import SecretStr
from slack_bolt.adapter.aiohttp import to_aiohttp_response
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse
from slack_sdk.errors import SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bots.channel import Desk
from bots.slack.in_flight import InFlight
from bots.slack.library_log import library_logger
from bots.slack.mapping import Bot, read
from bots.slack.outgoing import SlackOutlet
from bots.slack.people import People
from bots.slack.refusals import TROUBLE, refusal
from bots.slack.signature import is_signed
from bots.slack.socket_line import SocketLine
from core.clock import Clock, SystemClock
from core.errors import ConfigurationError, StoreUnavailable
from core.messages import IncomingMessage
from core.settings import Settings

EVENTS_PATH = "/slack/events"
MAX_BODY_BYTES = 1 << 20
_CONNECT_SECONDS = 5.0
_START_SECONDS = 10.0
_WATCH_SECONDS = 0.5
_MAX_PAUSE_SECONDS = 60.0
_FAREWELL_SECONDS = 10.0

_log = structlog.get_logger()


class SlackChannel(SlackOutlet):
    """One workspace. An event is acknowledged only when the front desk has committed it.

    Where it can't be (the store is away, Slack hasn't yet told who we are, we are stopping), HTTP answers 503
    and Socket Mode nothing at all: either way Slack delivers again.
    """

    def __init__(
        self,
        settings: Settings,
        desk: Desk,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._clock = clock or SystemClock()
        self._client, self._poster = _web_client(settings), _web_client(settings)
        super().__init__(self._client, self._poster)
        self._people = People(self._client, self._clock)
        self._app = self._bolt_app()
        self._line = (
            SocketLine(self._app, self._client, _secret(settings.slack_app_token), library_logger())
            if settings.slack_mode == "socket"
            else None
        )
        self._bot: Bot | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._in_flight = InFlight()
        self._stopping = False

    def _bolt_app(self) -> AsyncApp:
        async def authorize() -> AuthorizeResult:
            # Bolt's own asks auth.test, and acknowledges the event when that fails
            return AuthorizeResult(enterprise_id=None, team_id=None)

        async def hear(body: dict[str, Any]) -> BoltResponse:
            return BoltResponse(status=await self._hear(body["event"]))

        app = AsyncApp(
            name="mneme",
            logger=library_logger(),
            client=AsyncWebClient(base_url=self._settings.slack_api_base_url, logger=library_logger()),
            authorize=authorize,
            process_before_response=True,
            request_verification_enabled=False,  # done before Bolt, whose verifier raises on odd headers
            ignoring_self_events_enabled=False,  # the mapping does
        )
        app.event(re.compile(".*"))(hear)
        return app

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.post(EVENTS_PATH, self._events)] if self._line is None else []

    async def start(self) -> None:
        self._check_settings()
        self._stopping = False
        timeout = aiohttp.ClientTimeout(
            total=self._settings.platform_timeout_seconds, sock_connect=_CONNECT_SECONDS
        )
        self._client.session = aiohttp.ClientSession(timeout=timeout)
        # a message sent on a connection that the other side just closed has an unknown fate
        fresh = aiohttp.TCPConnector(force_close=True)
        self._poster.session = aiohttp.ClientSession(timeout=timeout, connector=fresh)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._connect()
        except ConfigurationError:
            await self.stop()
            raise
        except TROUBLE as error:
            _log.warning("slack_away", error=type(error).__name__)
        self._upkeep = asyncio.create_task(self._keep_connected(), name="slack-upkeep")
        self._upkeep.add_done_callback(_report_end)

    async def stop(self) -> None:
        self._stopping = True
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.gather(self._upkeep, return_exceptions=True)
            self._upkeep = None
        await self._in_flight.settled(_FAREWELL_SECONDS)
        if self._line is not None:
            await self._line.close()
        for client in (self._client, self._poster):
            if client.session is not None:
                await client.session.close()

    def _check_settings(self) -> None:
        if not self._settings.slack_bot_token:
            raise ConfigurationError("SLACK_BOT_TOKEN is needed: the bot token (xoxb-...) of your Slack app.")
        if self._line is not None and not self._settings.slack_app_token:
            raise ConfigurationError(
                "SLACK_APP_TOKEN is needed in socket mode: an app-level token (xapp-...) "
                "with the scope connections:write."
            )
        if self._line is None and not self._settings.slack_signing_secret:
            raise ConfigurationError(
                "SLACK_SIGNING_SECRET is needed in http mode: see Basic Information of your Slack app."
            )

    async def _connect(self) -> None:
        """Finds out who we are, and opens the line. One attempt; raises ConfigurationError or TROUBLE."""
        if self._bot is None:
            with _naming("SLACK_BOT_TOKEN"):
                self._bot = _identity(await self._client.auth_test())
            self._people.workspace = self._bot.workspace
        if self._line is not None:
            with _naming("SLACK_APP_TOKEN"):
                await self._line.connect()
        _log.info("slack_connected", workspace=self._bot.workspace, mode=self._settings.slack_mode)

    async def _is_connected(self) -> bool:
        return self._bot is not None and (self._line is None or await self._line.is_connected())

    async def _keep_connected(self) -> None:
        pause = 0.0
        while True:
            if await self._is_connected():
                if self._line is None:
                    return
                pause = 0.0
                await asyncio.sleep(_WATCH_SECONDS)
                continue
            await asyncio.sleep(pause)
            pause = min(max(1.0, pause * 2), _MAX_PAUSE_SECONDS)
            try:
                await self._connect()
            except ConfigurationError as error:
                _log.error("slack_refused", cure=str(error))
                pause = _MAX_PAUSE_SECONDS
            except TROUBLE as error:
                _log.warning("slack_away", error=type(error).__name__, retry_seconds=pause)

    async def _events(self, request: web.Request) -> web.Response:
        """POST /slack/events: 200 committed or not for us, 401 not from Slack, 503 please again."""
        body = await _body(request)
        if body is None:
            return web.Response(status=413)
        if not is_signed(
            _secret(self._settings.slack_signing_secret),
            timestamp=request.headers.get("X-Slack-Request-Timestamp", ""),
            signature=request.headers.get("X-Slack-Signature", ""),
            body=body,
            now_seconds=self._clock.now().timestamp(),
        ):
            _log.warning("slack_signature_refused")
            return web.Response(status=401)
        if not _is_event(body):
            return web.Response(status=400)
        try:
            asked = AsyncBoltRequest(body=body.decode(), headers={"content-type": "application/json"})
        except (TypeError, AttributeError, LookupError):  # Bolt looks for ids before it looks at types
            return web.Response(status=400)
        return await to_aiohttp_response(await self._app.async_dispatch(asked))

    async def _hear(self, event: Mapping[str, Any]) -> int:
        """Hands an event to the front desk; returns the HTTP status that says what became of it."""
        if self._bot is None or self._stopping:
            return 503
        heard = read(event, self._bot)
        if heard is None:
            return 200
        with self._in_flight.piece():
            try:
                if heard.addressed or await self._knows(heard):
                    await self._accept(heard)
            except StoreUnavailable:
                _log.warning("slack_event_put_off", event_key=heard.event)
                return 503
        return 200

    async def _accept(self, message: IncomingMessage) -> None:
        person = await self._people.sender(message.sender.external_id)
        if person is not None:
            sender = replace(person, outsider=person.outsider or message.sender.outsider)
            await self._desk.take([replace(message, sender=sender)])

    async def _knows(self, message: IncomingMessage) -> bool:
        return await self._desk.knows_conversation(
            message.channel, message.workspace, message.conversation.external_id
        )


def _web_client(settings: Settings) -> AsyncWebClient:
    return AsyncWebClient(
        token=_secret(settings.slack_bot_token),
        base_url=settings.slack_api_base_url,
        timeout=ceil(settings.platform_timeout_seconds),
        logger=library_logger(),
        retry_handlers=[],  # the SDK's default may post twice
    )


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""


def _identity(answer: AsyncSlackResponse) -> Bot:
    if not answer.get("bot_id"):
        raise ConfigurationError(
            "SLACK_BOT_TOKEN: this is no bot's token; take the one that begins with xoxb-."
        )
    return Bot(workspace=str(answer["team_id"]), user_id=str(answer["user_id"]))


@contextmanager
def _naming(setting: str) -> Iterator[None]:
    """Turns Slack's refusal of a token into the error that names its setting."""
    try:
        yield
    except SlackClientError as error:
        if code := refusal(error):
            raise ConfigurationError(f"{setting}: Slack refuses this token ({code}).") from None
        raise


async def _body(request: web.Request) -> bytes | None:
    """The body, or None when it is longer than any event of Slack's."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_chunked(64 * 1024):
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _is_event(body: bytes) -> bool:
    """Whether this is JSON in the shape that Bolt takes for granted."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(payload, dict) or not isinstance(payload.get("type"), str):
        return False
    event = payload.get("event")
    if payload["type"] == "event_callback":
        return isinstance(event, dict) and isinstance(event.get("type"), str)
    return payload["type"] == "url_verification" and isinstance(payload.get("challenge"), str)


def _report_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.error("slack_upkeep_ended", error=type(error).__name__)
