"""All that the machine tries: two bots, two workers, Redis, Chroma and a database, as processes."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.settings import Settings
from core.storage.database import database_url, upgrade
from tests.chaos.charge import Charge
from tests.conftest import make_settings
from tests.processes import environment
from tests.servers import (
    answers_chroma,
    answers_http,
    answers_redis,
    chroma_command,
    free_port,
    postgresql_folder,
    postgresql_server,
    redis_command,
)

DatabaseKind = Literal["sqlite", "postgresql"]
RECORD_FOLDER = "record"
START_SECONDS = 90.0
KEEP_SECONDS = 0.1


@dataclass(frozen=True)
class House:
    """The processes, and the settings that they share. `doors` are the bots' addresses."""

    settings: Settings
    bots: tuple[Charge, ...]
    workers: tuple[Charge, ...]
    redis: Charge
    chroma: Charge
    doors: tuple[str, ...]

    @property
    def charges(self) -> tuple[Charge, ...]:
        return (*self.bots, *self.workers, self.redis, self.chroma)

    @property
    def kills(self) -> int:
        return sum(charge.kills for charge in self.charges)

    async def keep(self) -> None:
        """Starts again what has ended, lets go on what was stopped long enough; until cancelled."""
        while True:
            for charge in self.charges:
                charge.keep()
            await asyncio.sleep(KEEP_SECONDS)

    async def heal(self) -> None:
        """Lets everything run, and waits until it does.

        Raises:
            TimeoutError: a part doesn't come up.
        """
        for charge in self.charges:
            charge.heal()
        for door in self.doors:
            await until(lambda door=door: answers_http(f"{door}/readyz"))  # type: ignore[misc]

    def owner_of(self, port: int) -> Charge | None:
        """Whose connection has this local port."""
        return next((charge for charge in self.charges if charge.holds_port(port)), None)

    def end(self) -> None:
        for charge in self.charges:
            charge.end()


async def until(holds: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Returns when it holds.

    Raises:
        TimeoutError: it never did.
    """
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(holds):
        if time.monotonic() > deadline:
            raise TimeoutError("it didn't come about in time")
        await asyncio.sleep(0.1)


@asynccontextmanager
async def a_house(
    folder: Path, database: DatabaseKind, given: Mapping[str, object], *, bots: int = 2, workers: int = 2
) -> AsyncIterator[House]:
    """A house with everything up, on free ports; all of it ends with the block."""
    with ExitStack() as stack:
        url = await asyncio.to_thread(_database, stack, folder, database)
        redis_port, chroma_port = free_port(), free_port()
        settings = make_settings(
            database_url=url,
            redis_url=f"redis://127.0.0.1:{redis_port}/0",
            chroma_url=f"http://127.0.0.1:{chroma_port}",
            mneme_data_dir=folder / "data",
            **given,
        )
        plain = {**os.environ, "ANONYMIZED_TELEMETRY": "False"}
        redis = Charge("redis", redis_command(folder, redis_port), plain, folder)
        chroma = Charge("chroma", chroma_command(folder, chroma_port), plain, folder)
        ports = [free_port() for _ in range(bots)]
        house = House(
            settings=settings,
            bots=tuple(_mneme(f"bot {n}", settings, folder, p, "serve") for n, p in enumerate(ports, 1)),
            workers=tuple(
                _mneme(f"worker {n}", settings, folder, 0, "worker", "--beat") for n in range(1, workers + 1)
            ),
            redis=redis,
            chroma=chroma,
            doors=tuple(f"http://127.0.0.1:{port}" for port in ports),
        )
        stack.callback(house.end)
        redis.start()
        chroma.start()
        await asyncio.to_thread(upgrade, database_url(settings))
        await until(lambda: answers_redis(redis_port) and answers_chroma(chroma_port))
        for charge in (*house.bots, *house.workers):
            charge.start()
        await house.heal()
        yield house


def _mneme(name: str, settings: Settings, folder: Path, port: int, *arguments: str) -> Charge:
    command = [sys.executable, "-m", "bots.cli", *arguments]
    return Charge(name, command, environment(settings, port), folder)


def _database(stack: ExitStack, folder: Path, kind: DatabaseKind) -> str:
    if kind == "sqlite":
        return f"sqlite:///{folder / RECORD_FOLDER / 'mneme.db'}"
    programs = postgresql_folder()
    if programs is None:
        raise LookupError("PostgreSQL's initdb isn't installed (apt install postgresql)")
    return stack.enter_context(postgresql_server(programs))
