"""The line to Slack in Socket Mode: one WebSocket at a time, each on a fresh ticket."""

import asyncio
import logging

from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.in_flight import InFlight

_PING_SECONDS = 10.0
_CONNECT_SECONDS = 10.0
_FAREWELL_SECONDS = 10.0


class SocketLine:
    """Holds a connection that hands its envelopes to the Bolt app; whoever owns it calls `connect` again.

    The SDK's own reconnection isn't relied upon: it retries the same one-time address for ever.
    """

    def __init__(self, app: AsyncApp, web: AsyncWebClient, app_token: str, logger: logging.Logger) -> None:
        self._app = app
        self._web = web
        self._app_token = app_token
        self._logger = logger
        self._handler: _Handler | None = None

    async def is_connected(self) -> bool:
        return self._handler is not None and await self._handler.client.is_connected()

    async def connect(self) -> None:
        """Takes the place of what connection there was. One attempt; returns once Slack may send.

        Raises:
            SlackApiError: Slack refuses the app token, or has trouble.
            OSError, TimeoutError, aiohttp.ClientError: it can't be reached.
        """
        await self.close()
        ticket = await self._web.apps_connections_open(app_token=self._app_token)
        handler = _Handler(self._app, self._app_token, self._logger, self._web, ping_interval=_PING_SECONDS)
        handler.client.default_auto_reconnect_enabled = False
        handler.client.wss_uri = ticket["url"]
        self._handler = handler
        await asyncio.wait_for(handler.client.connect(), _CONNECT_SECONDS)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Lets the envelopes in hand be acknowledged, then closes. Safe to call twice."""
        if self._handler is None:
            return
        handler, self._handler = self._handler, None
        await handler.in_flight.settled(_FAREWELL_SECONDS)
        client = handler.client
        await client.close()  # type: ignore[no-untyped-call]
        running = (client.message_processor, client.message_receiver, client.current_session_monitor)
        await asyncio.gather(*(task for task in running if task is not None), return_exceptions=True)


class _Handler(AsyncSocketModeHandler):
    """Bolt's handler, which acknowledges after the listener returned 200, and otherwise not at all."""

    def __init__(
        self,
        app: AsyncApp,
        app_token: str,
        logger: logging.Logger,
        web_client: AsyncWebClient,
        *,
        ping_interval: float,
    ) -> None:
        self.in_flight = InFlight()
        super().__init__(app, app_token, logger, web_client, ping_interval=ping_interval)

    async def handle(self, client: SocketModeClient, req: SocketModeRequest) -> None:  # type: ignore[override]
        with self.in_flight.piece():
            await super().handle(client, req)
