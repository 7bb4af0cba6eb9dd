"""What a load falls on: Mneme as an operator runs it, or an echo bot, and what each of them costs."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from core.app import App, open_app
from core.settings import Settings
from core.storage.database import database_url, upgrade
from core.users.people import Admission
from tests.benchmarks.crowd import Crowd
from tests.conftest import make_settings
from tests.processes import Mneme, a_mneme
from tests.servers import chroma_server, free_port, redis_server, running
from tests.standins.model import ModelStandIn

MEET_AT_ONCE = 500
PATIENCE = ("sweep_seconds", "idle_seconds")
"""Settings that tests make shorter."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Bots that serve. `bots` are their own processes; all other children of ours are the stores."""

    urls: Sequence[str]
    bots: Sequence[psutil.Process]

    def cpu_seconds(self) -> dict[str, float]:
        """What bots, stores and the outside (driver and stand-ins, this process) have used of the cores."""
        ours = psutil.Process()
        bots = {each.pid for bot in self.bots for each in (bot, *bot.children(recursive=True))}
        used = {"bots": 0.0, "stores": 0.0, "outside": _cpu(ours)}
        for child in ours.children(recursive=True):
            used["bots" if child.pid in bots else "stores"] += _cpu(child)
        return used

    @staticmethod
    def machine_seconds() -> float:
        """What everybody on this machine has used of its cores."""
        times = psutil.cpu_times()
        return float(sum(times[:3])) + sum(getattr(times, kind, 0.0) for kind in ("irq", "softirq"))

    def resident_mb(self) -> float:
        """The bots' resident memory, in MB."""
        return sum(float(bot.memory_info().rss) for bot in self.bots) / 2**20


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


@asynccontextmanager
async def mneme_stage(
    crowd: Crowd,
    model: ModelStandIn,
    database: str,
    folder: Path,
    *,
    bots: int,
    acquainted: int,
    with_worker: bool,
    **given: object,
) -> AsyncIterator[Stage]:
    """So many `mneme serve` on one record, with Redis and Chroma of their own.

    `acquainted`: so many people of the crowd have talked with Mneme before. Everything is as an operator has
    it by default, but for `BURST_SECONDS=0`, since the pause is meant, and `ACCESS=open`.
    """
    async with AsyncExitStack() as stack:
        urls = {}
        for name, server in (("redis", redis_server), ("chroma", chroma_server)):
            (folder / name).mkdir()
            urls[name] = stack.enter_context(server(folder / name))
        settings = make_settings(
            database_url=database,
            redis_url=urls["redis"],
            chroma_url=urls["chroma"],
            openai_base_url=model.base_url,
            openai_api_key=model.key,
            openai_model=model.model,
            mneme_data_dir=folder / "data",
            access="open",
            **{name: Settings.model_fields[name].default for name in PATIENCE},
            **{"burst_seconds": 0, **crowd.settings(), **given},
        )
        upgrade(database_url(settings))
        async with open_app(settings) as app:
            await _acquaint(app, crowd, acquainted)
        started: list[Mneme] = []
        for number in range(bots):
            own = folder / f"bot-{number}"
            own.mkdir()
            started.append(await stack.enter_async_context(a_mneme(settings, own)))
            await started[-1].serve()
        if with_worker:
            started[0].work()
        processes = [psutil.Process(mneme.processes[0].pid) for mneme in started]
        yield Stage([mneme.url for mneme in started], processes)


async def _acquaint(app: App, crowd: Crowd, people: int) -> None:
    """Makes users and conversations, without a word said in them."""
    for first in range(0, people, MEET_AT_ONCE):
        async with app.database.write() as connection:
            for number in range(first, min(people, first + MEET_AT_ONCE)):
                message = crowd.incoming(number)
                place = (connection, message.channel, message.workspace)
                user = await app.people.meet(*place, message.sender, admitted=Admission.OPEN)
                await app.conversations.meet(*place, message.conversation, user.id)


@asynccontextmanager
async def echo_stage(crowd: Crowd, folder: Path) -> AsyncIterator[Stage]:
    """The echo bot for the crowd's platform, in one process."""
    port = free_port()
    given: dict[str, Any] = {
        name.removeprefix(f"{crowd.name}_"): value for name, value in crowd.settings().items()
    }
    command = [sys.executable, "-m", "tests.benchmarks.echo", crowd.name, "--port", str(port)]
    command += ["--api", given["api_base_url"], "--token", given["bot_token"]]
    command += ["--secret", given.get("webhook_secret") or given["signing_secret"]]
    process = running(command, folder / f"echo-{crowd.name}.log", lambda: _listens(port))
    # In a thread: while it starts, it asks the stand-in who it is.
    started = await asyncio.to_thread(process.__enter__)
    try:
        yield Stage([f"http://127.0.0.1:{port}"], [psutil.Process(started.pid)])
    finally:
        await asyncio.to_thread(process.__exit__, None, None, None)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
