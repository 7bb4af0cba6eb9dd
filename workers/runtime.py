"""One event loop and one open app per worker process, made after the fork and kept until its end."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

from celery.signals import worker_process_init, worker_process_shutdown

from core.app import App, open_app
from core.settings import Settings

T = TypeVar("T")


class Runtime:
    """Runs the core's coroutines from Celery's synchronous tasks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._runner: asyncio.Runner | None = None
        self._stack = AsyncExitStack()
        self._app: App | None = None
        worker_process_init.connect(self._forget_parent, weak=False)
        worker_process_shutdown.connect(self._close, weak=False)

    def run(self, work: Callable[[App], Awaitable[T]]) -> T:
        """The result of `work(app)`. The app is opened by the first call that finds its stores there."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(self._with_app(work))

    async def _with_app(self, work: Callable[[App], Awaitable[T]]) -> T:
        if self._app is None:
            async with AsyncExitStack() as stack:
                app = await stack.enter_async_context(open_app(self._settings))
                await app.erasure.reapply()
                self._app, self._stack = app, stack.pop_all()
        return await work(self._app)

    def _forget_parent(self, **_: object) -> None:
        # Connections and loops don't survive a fork.
        self._runner, self._app, self._stack = None, None, AsyncExitStack()

    def _close(self, **_: object) -> None:
        if self._runner is not None:
            self._runner.run(self._stack.aclose())
            self._runner.close()
            self._runner = None
