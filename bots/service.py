"""`mneme serve`: the channels, the lanes and the HTTP face in one process, from start to an orderly stop."""

import asyncio
import signal
from collections.abc import Callable, Collection

import structlog

from bots.channel import Channel, Desk
from bots.console.adapter import ConsoleChannel
from bots.front_desk import FrontDesk
from bots.http import HttpFace
from bots.slack.adapter import SlackChannel
from bots.telegram.adapter import TelegramChannel
from bots.web.adapter import WebChannel
from core.app import App, open_app
from core.errors import ConfigurationError, Unavailable
from core.llm.tokens import count_tokens
from core.settings import Settings

INDEX_WATCH_SECONDS = 10.0
CANCEL_AGAIN_SECONDS = 0.5

log = structlog.get_logger()


async def serve(settings: Settings, on_ready: Callable[[int], None] = lambda port: None) -> None:
    """Serves until SIGTERM or SIGINT; then stops accepting, finishes or hands over what it holds.

    Raises:
        ConfigurationError: nothing can be served; the text is the cure.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with open_app(settings) as app:
        service = Service(app)
        try:
            on_ready(await service.start())
            stop = asyncio.create_task(stopping.wait())
            await asyncio.wait([stop, *service.tasks], return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            for task in service.tasks:
                if task.done():
                    task.result()  # a lane runner that ended has failed: let its error be seen
        finally:
            await service.stop()


async def end_all(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancels the tasks until they have ended."""
    pending = set(tasks)
    while pending:
        # More than once: redis-py loses a cancellation that comes while it connects.
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)


class Service:
    """All channels over one app. `states` says how each one is, in words for the operator."""

    def __init__(self, app: App) -> None:
        self._app = app
        settings = app.settings
        desk: Desk = FrontDesk(app.database, app.inbox, app.conversations, app.lanes)
        self.channels: list[Channel] = [ConsoleChannel(app, desk), WebChannel(app, desk)]
        self.states: dict[str, str] = {}
        if settings.telegram_bot_token is None:
            self.states["telegram"] = "not configured: set TELEGRAM_BOT_TOKEN"
        else:
            self._add("telegram", lambda: TelegramChannel(settings, desk))
        if settings.slack_bot_token is None:
            self.states["slack"] = "not configured: set SLACK_BOT_TOKEN and SLACK_APP_TOKEN"
        else:
            self._add("slack", lambda: SlackChannel(settings, desk))
        self._http = HttpFace(app, self.channels, self.states, settings)
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        """Starts everything; a channel whose credentials are refused is left out. Returns the HTTP port.

        Raises:
            ConfigurationError: another embedding model made the index, or the port is taken.
            ModelRefused: the embedding model's server doesn't know it.
        """
        await self._app.erasure.reapply()
        await asyncio.to_thread(count_tokens, "")  # loads the vocabulary: nobody's first reply waits for it
        for channel in self.channels:
            self._app.outlets[channel.name] = channel
        await self._check_index()
        self.tasks += [
            asyncio.create_task(self._app.bell.listen(), name="bell"),
            asyncio.create_task(self._app.lanes.run(), name="lanes"),
            asyncio.create_task(self._watch_index(), name="index"),
        ]
        port = await self._http.start()
        for channel in self.channels:
            await self._start(channel)
        log.info("serving", port=port)
        return port

    async def stop(self) -> None:
        """Stops the ways in first, then lets the lanes finish."""
        ends = await asyncio.gather(*(channel.stop() for channel in self.channels), return_exceptions=True)
        for channel, end in zip(self.channels, ends, strict=True):
            if isinstance(end, Exception):
                log.error("channel_not_stopped", channel=channel.name, error=type(end).__name__)
        await self._app.lanes.stop()
        await self._http.stop()
        await end_all(self.tasks)
        log.info("stopped")

    def _add(self, name: str, make: Callable[[], Channel]) -> None:
        try:
            self.channels.append(make())
        except ConfigurationError as error:
            self._leave_out(name, error)

    async def _start(self, channel: Channel) -> None:
        try:
            await channel.start()
        except ConfigurationError as error:
            self._leave_out(channel.name, error)
        else:
            self.states[channel.name] = "ready"

    def _leave_out(self, name: str, error: ConfigurationError) -> None:
        self.states[name] = f"off: {error}"
        log.error("channel_off", channel=name, reason=str(error))

    async def _watch_index(self) -> None:
        """Fills an index that was lost. While Chroma is away, replies go on without it."""
        while True:
            await asyncio.sleep(INDEX_WATCH_SECONDS)
            await self._check_index()

    async def _check_index(self) -> None:
        try:
            await self._app.indexer.check()
        except Unavailable as error:
            log.warning("index_not_checked", reason=str(error))
