"""Everything on this machine: the whole of `mneme run`, and the parts that other commands need of it."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from core.errors import AlreadyRunning, MnemeError
from core.settings import Settings
from deploy.data_directory import DataDirectory, RunState
from deploy.ports import http_port
from deploy.screen import Screen
from deploy.stack import Stack, given, joined, together

MNEME = (sys.executable, "-m", "bots.cli")
STORES = ("redis", "chroma", "model")
STEPS = 6
"""The database, redis, chroma, the model, the worker, the service."""
WORKER_HEAD_START_SECONDS = 10.0
"""So long the worker is waited for before people are told where to go: the service can do without it."""
_STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(settings: Settings, program: Sequence[str] = MNEME) -> int:
    """Starts all that Mneme needs, keeps it alive until Ctrl-C or SIGTERM, stops it; returns the exit status.

    `program` is the command whose `migrate`, `worker --beat`, `serve` and `welcome` are run.
    """
    screen = Screen()
    try:
        return asyncio.run(_run(settings, program, screen))
    except MnemeError as error:
        screen.line(f"\nMneme can't run: {error}")
        return 1


def state(settings: Settings) -> RunState | None:
    """The Mneme that runs on this data directory, or None."""
    return DataDirectory.of(settings).state()


@asynccontextmanager
async def parts_for(settings: Settings, names: set[str]) -> AsyncIterator[Settings]:
    """The settings with the addresses of these parts (of redis, chroma, model) filled in.

    Those of a running Mneme are used; else they are started, and stopped at the end of the block.

    Raises:
        AlreadyRunning: a Mneme that runs hasn't got them, or is only starting.
        ConfigurationError, Unavailable: one can't be had; the text is the cure.
    """
    missing = names - given(settings)
    data = DataDirectory.of(settings)
    running = data.state()
    if not missing or running is not None:
        whole = settings if running is None else joined(settings, running)
        if lacking := names - given(whole):
            raise AlreadyRunning(
                f"The Mneme that runs on {data.path} has no {', '.join(sorted(lacking))} yet: try again"
            )
        yield whole
        return
    screen = Screen(sys.stderr)
    screen.expect(len(missing))
    with data.held() as leftover:
        stack = Stack(settings, data, screen, asyncio.Event())
        try:
            with _plainly():
                await stack.clear(leftover)
                await stack.open(sorted(missing))
            yield joined(settings, stack.state)
        finally:
            await stack.stop()


async def _run(settings: Settings, program: Sequence[str], screen: Screen) -> int:
    data = DataDirectory.of(settings)
    interruption = _Interruption(screen)
    with data.held() as leftover, _plainly():
        port = http_port(settings)
        screen.line(f"Mneme starts; its data and logs are in {data.path}")
        if port.number != settings.http_port != 0:
            screen.say("service", f"port {settings.http_port} is taken, so it will be {port.number}")
        screen.expect(STEPS)
        try:
            async with asyncio.TaskGroup() as watch:
                stack = Stack(settings, data, screen, interruption.hurry, program, watch)
                await stack.clear(leftover)
                await together(stack.migrate(), stack.open(STORES))
                working = watch.create_task(stack.work())
                await watch.create_task(stack.serve(port))
                await asyncio.wait([working], timeout=WORKER_HEAD_START_SECONDS)
                await stack.welcome()
        except asyncio.CancelledError:
            return 0
        finally:
            interruption.begins_to_stop()
            await stack.stop()
            screen.line("Mneme has stopped.")
    return 0


class _Interruption:
    """Ctrl-C and SIGTERM: the first asks for an orderly end, the next for an end at once."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._task = asyncio.current_task()
        self.hurry = asyncio.Event()
        """Set: what is being stopped is killed at once."""
        self._stopping = False
        for number in _STOPPING_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._asked)

    def begins_to_stop(self) -> None:
        """Stopping mustn't be broken off: from here on a signal only makes it faster."""
        self._stopping = True

    def _asked(self) -> None:
        if self._stopping:
            self.hurry.set()
            return
        self._screen.line("\nStopping. Ctrl-C once more ends everything at once.")
        self._stopping = True
        if self._task is not None:
            self._task.cancel()


@contextmanager
def _plainly() -> Iterator[None]:
    """Of what failed side by side, raises the first of Mneme's own errors."""
    try:
        yield
    except BaseExceptionGroup as group:
        if (ours := group.subgroup(MnemeError)) is None:
            raise
        error: BaseException = ours
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
