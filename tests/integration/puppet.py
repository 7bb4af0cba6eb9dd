"""A process in the test's hand: it halts before every transaction and around every call to its platform.

What a process has done for good lies between two of its halts. So whoever lets it go on halt by halt, lets
another one overtake it, or never lets it go on again, has stalled or killed it at every line that matters.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import AdaptedConnection, Pool, event

from core.app import App, open_app
from core.errors import StoreUnavailable
from core.settings import Settings
from tests.standins.paper import Paper

TRANSACTION = "transaction"
STUCK_SECONDS = 30.0
LOOK_SECONDS = 0.001
CYCLES = 8
"""So many turns of the loop bring what was let go to its next halt, where it waits for nobody else."""

_held: ContextVar["Puppet | None"] = ContextVar("held", default=None)


@dataclass(eq=False)
class Halt:
    """Where a puppet stands: before a transaction or `find`, or before or after `open` or `edit`."""

    what: str
    delivery_id: int | None
    go: "asyncio.Future[None]"
    since: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(eq=False)
class Puppet:
    """A process on strings. Only what it was given by `start` is held; the test's own calls are free."""

    name: str
    app: App
    halts: list[Halt] = field(default_factory=list)
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    _lasting: list["asyncio.Task[None]"] = field(default_factory=list)
    _at_work: int = 0
    _is_cut: bool = False

    async def start(self, work: Coroutine[Any, Any, None], *, lasts: bool = False) -> None:
        """Begins a piece of work on the strings; one that lasts is idle once it halts no more."""
        context = copy_context()
        context.run(_held.set, self)
        task = asyncio.get_running_loop().create_task(work, context=context)
        (self._lasting if lasts else self._tasks).append(task)
        await self.settle()

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it can halt before somebody starts or rings something."""
        done = all(task.done() for task in self._tasks)
        return done and not (self.halts or self._at_work or self.app.lanes.at_work)

    async def halt(self, what: str, delivery_id: int | None = None) -> None:
        """Called by what is held: waits for the string to be let go."""
        if self._is_cut:
            raise StoreUnavailable("the strings are cut")
        halt = Halt(what, delivery_id, asyncio.get_running_loop().create_future())
        self.halts.append(halt)
        await halt.go

    async def go_on(self, number: int = 0) -> None:
        """Lets it go from one of its halts, and waits until it stands still again."""
        self.halts.pop(number).go.set_result(None)
        await self.settle()

    async def settle(self) -> None:
        """Waits until it halts or has nothing to do."""
        async with asyncio.timeout(STUCK_SECONDS):
            await _let_run()
            while self._at_work or not (self.halts or self.is_idle):
                await asyncio.sleep(LOOK_SECONDS)
                await _let_run()

    async def cut(self) -> None:
        """Ends it for good, for the test's own sake: nothing more comes of what it held."""
        self._is_cut = True
        for halt in self.halts:
            halt.go.set_exception(StoreUnavailable("the strings are cut"))
        self.halts.clear()
        await self.settle()
        for task in self._lasting:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._lasting, return_exceptions=True)


async def _let_run() -> None:
    for _ in range(CYCLES):
        await asyncio.sleep(0)


@dataclass
class HeldPaper(Paper):
    """A puppet's way to a platform that others write to as well."""

    puppet: Puppet = field(kw_only=True)
    platform: Paper = field(kw_only=True)

    async def open(
        self, address: Mapping[str, str], text: str, *, reply_to: str | None, delivery_id: int, final: bool
    ) -> str:
        await self.puppet.halt("open", delivery_id)
        try:
            return await super().open(address, text, reply_to=reply_to, delivery_id=delivery_id, final=final)
        finally:
            await self.puppet.halt("opened", delivery_id)

    async def edit(
        self, address: Mapping[str, str], platform_id: str, text: str, *, delivery_id: int, final: bool
    ) -> None:
        await self.puppet.halt("edit", delivery_id)
        try:
            await super().edit(address, platform_id, text, delivery_id=delivery_id, final=final)
        finally:
            await self.puppet.halt("edited", delivery_id)

    async def find(self, address: Mapping[str, str], delivery_id: int, sent_at: datetime) -> str | None:
        await self.puppet.halt("find", delivery_id)
        return await self.platform.find(address, delivery_id, sent_at)


@asynccontextmanager
async def a_puppet(name: str, settings: Settings, platform: Paper) -> AsyncIterator[Puppet]:
    """A process on these settings; nothing of it runs yet, and nothing will after the block."""
    async with open_app(settings) as app:
        puppet = Puppet(name, app)
        shared = {part.name: getattr(platform, part.name) for part in fields(Paper)}
        app.outlets[platform.name] = HeldPaper(**shared, puppet=puppet, platform=platform)
        try:
            yield puppet
        finally:
            await puppet.cut()


@contextmanager
def strings() -> Iterator[None]:
    """Within the block puppets halt before their transactions, by SQLAlchemy's own events."""
    event.listen(Pool, "checkout", _halt)
    event.listen(Pool, "checkin", _ended)
    try:
        yield
    finally:
        event.remove(Pool, "checkout", _halt)
        event.remove(Pool, "checkin", _ended)


def _halt(connection: AdaptedConnection, record: Any, _proxy: Any) -> None:
    puppet = _held.get()
    if puppet is None:
        return

    def wait(_driver: Any) -> Awaitable[None]:
        return puppet.halt(TRANSACTION)

    connection.run_async(wait)
    record.info[TRANSACTION] = puppet
    puppet._at_work += 1


def _ended(_connection: Any, record: Any) -> None:
    puppet = record.info.pop(TRANSACTION, None)
    if puppet is not None:
        puppet._at_work -= 1
