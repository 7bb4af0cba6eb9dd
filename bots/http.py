"""The service's HTTP face: the channels' routes, and what an operator's tools ask for."""

import logging
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from bots.channel import Channel
from core.app import App
from core.errors import ConfigurationError, MnemeError, StoreUnavailable
from core.reply.metrics import DEAD, INDEX_BEHIND, QUEUE_AGE_SECONDS
from core.settings import Settings

MAX_BODY_BYTES = 1024 * 1024
SHUTDOWN_SECONDS = 5.0

log = structlog.get_logger()


class HttpFace:
    """Serves on `HTTP_HOST`:`HTTP_PORT`. `states` says how each channel is, for /readyz."""

    def __init__(
        self, app: App, channels: Iterable[Channel], states: Mapping[str, str], settings: Settings
    ) -> None:
        self._app = app
        self._states = states
        self._settings = settings
        self._runner = web.AppRunner(
            self._application(channels),
            access_log=None,
            logger=_server_log(),
            shutdown_timeout=SHUTDOWN_SECONDS,
        )

    async def start(self) -> int:
        """Listens; returns the port.

        Raises:
            ConfigurationError: the address can't be listened on.
        """
        await self._runner.setup()
        host, port = self._settings.http_host, self._settings.http_port
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise ConfigurationError(
                f"{host}:{port} can't be listened on ({error.strerror}): set HTTP_HOST and HTTP_PORT."
            ) from error
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        await self._runner.cleanup()

    def _application(self, channels: Iterable[Channel]) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_without_surprises])
        application.add_routes(
            [
                web.get("/healthz", self._alive),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._metrics),
            ]
        )
        for channel in channels:
            application.add_routes(channel.routes())
        return application

    async def _alive(self, request: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def _ready(self, request: web.Request) -> web.Response:
        """Each part's state; 503 when messages can't be accepted."""
        parts = {
            "database": await _state(self._app.turns.oldest_wait_seconds),
            "redis": await _state(self._app.bell.ping),
            "chroma": await _state(self._app.index.ping),
            "worker": await self._worker(),
            **self._states,
        }
        serves = parts["database"] == "ready"
        answer = {"ready": serves, "parts": parts, "privacy_mode": self._settings.privacy_mode}
        return web.json_response(answer, status=200 if serves else 503)

    async def _worker(self) -> str:
        try:
            return "ready" if await self._app.bell.is_alive("worker") else "not seen lately"
        except MnemeError as error:
            return type(error).__name__

    async def _metrics(self, request: web.Request) -> web.Response:
        try:
            QUEUE_AGE_SECONDS.set(await self._app.turns.oldest_wait_seconds())
            INDEX_BEHIND.set(await self._app.indexer.behind())
            DEAD.labels("message").set(await self._app.dead_letters.count())
            DEAD.labels("job").set(await self._app.dead_jobs.count())
        except StoreUnavailable:
            log.warning("metrics_without_record")
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _state(check: Callable[[], Awaitable[object]]) -> str:
    try:
        await check()
    except MnemeError as error:
        return type(error).__name__
    return "ready"


@web.middleware
async def _without_surprises(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """A store that is away is a 503 everywhere; what nobody foresaw is a 500 without its text."""
    answer: web.HTTPException
    try:
        return await handler(request)
    except (web.HTTPException, ConnectionError):
        raise
    except StoreUnavailable as error:
        log.warning("request_refused", route=_route(request), reason=str(error))
        again = {"Retry-After": "2"}
        answer = web.HTTPServiceUnavailable(text="the database is busy or gone; try again", headers=again)
    except Exception as error:  # noqa: BLE001  # its text, which aiohttp would log, may hold a person's words
        at = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-3:]]
        log.error("request_failed", route=_route(request), error=type(error).__name__, at=at)
        answer = web.HTTPInternalServerError(text="something went wrong here; the log says what")
    if request.writer.output_size > 0:
        # Its reader has to see that the answer broke off; another one can't follow it.
        raise ConnectionResetError("the answer broke off")
    raise answer


def _server_log() -> logging.Logger:
    """Where aiohttp says what it couldn't read, here without quoting it."""
    server_log = logging.getLogger("mneme.http")
    server_log.addFilter(_without_text)
    return server_log


def _without_text(record: logging.LogRecord) -> bool:
    error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else "unknown"
    record.msg, record.args, record.exc_info = f"http_error ({error})", (), None
    return True


def _route(request: web.Request) -> str:
    """The route's pattern: a path itself may hold somebody's ids."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"
