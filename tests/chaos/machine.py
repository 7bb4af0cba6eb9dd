"""One run of the machine: people write, the enemy rages, then all is healed and reckoned up."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.app import App, open_app
from tests.chaos.crowd import Crowd
from tests.chaos.enemy import Enemy
from tests.chaos.house import DatabaseKind, House, a_house
from tests.chaos.ledger import Ledger, Reckoning, summary
from tests.chaos.platforms import Platforms, the_platforms
from tests.chaos.record import read, unrest
from tests.chaos.weather import Weather

LEASE_SECONDS = 2.0
QUICK: dict[str, object] = {
    "lease_seconds": LEASE_SECONDS,
    "sweep_seconds": 1.0,
    "burst_seconds": 0.2,
    "idle_seconds": 1.0,
    "consolidate_seconds": 1.0,
    "fold_messages": 16,
    "log_level": "INFO",
    "log_format": "json",
}
QUIET_SECONDS = 420.0
"""A turn may rest five minutes before its next attempt."""
HEARD_SECONDS = 60.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `line` is what the machine prints last."""

    reckoning: Reckoning
    kills: int

    @property
    def line(self) -> str:
        return self.reckoning.line(self.kills)

    @property
    def is_well(self) -> bool:
        return not self.reckoning.wrong


async def run(seconds: float, seed: str, database: DatabaseKind, folder: Path, tell: Tell) -> Outcome:
    """Everything from start to reckoning; whatever it started has ended when it returns."""
    async with AsyncExitStack() as stack:
        platforms = await stack.enter_async_context(the_platforms())
        began = time.monotonic()
        given = platforms.settings() | QUICK
        house = await stack.enter_async_context(a_house(folder, database, given))
        tell(f"seed {seed}, {database}: up after {time.monotonic() - began:.1f} s")
        platforms.open_to(house.doors, seed)
        keeping = asyncio.create_task(house.keep())
        stack.callback(keeping.cancel)
        await _trouble(platforms, house, seconds, seed, tell)
        outcome = await _reckon(platforms, house, seed, tell)
        (folder / "seen.log").write_text("\n".join(platforms.seen))
        return outcome


async def _trouble(platforms: Platforms, house: House, seconds: float, seed: str, tell: Tell) -> None:
    weather = Weather(seed)
    platforms.telegram.weather = weather.at_telegram
    platforms.slack.weather = weather.at_slack
    platforms.model.weather = weather.at_the_model
    writing = asyncio.create_task(Crowd(platforms, seed).write(seconds))
    try:
        await Enemy(house, seed, tell).rage(seconds)
        weather.fair = True
        assert platforms.postman is not None
        platforms.postman.fair = True
        await house.heal()
        async with asyncio.timeout(HEARD_SECONDS):
            await writing
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
    tell(f"healed; faults met: {summary(weather.met)}")
    tell("ended by themselves: " + summary({c.name: len(c.falls) for c in house.charges if c.falls}))


async def _reckon(platforms: Platforms, house: House, seed: str, tell: Tell) -> Outcome:
    began = time.monotonic()
    async with asyncio.timeout(HEARD_SECONDS):
        await Crowd(platforms, seed).say_goodbye()
    async with open_app(house.settings) as app:
        left = await quiet(app)
        record = await read(app)
        ledger = Ledger(record, platforms.said, platforms.shown, partial(app.master.digest, "event"))
    reckoning = ledger.reckon()
    if left:
        reckoning.wrong.append(f"still at work after {QUIET_SECONDS:.0f} s: {summary(left)}")
    tell(f"quiet after {time.monotonic() - began:.1f} s; jobs: {summary(record.jobs)}")
    for wrong in reckoning.wrong:
        tell(f"WRONG  {wrong}")
    return Outcome(reckoning, house.kills)


async def quiet(app: App) -> dict[str, int]:
    """Waits until nothing is left to do; returns what is still left when it never ends."""
    deadline = time.monotonic() + QUIET_SECONDS
    still = 0
    while still < 2:
        left = await unrest(app)
        if left and time.monotonic() > deadline:
            return left
        still = 0 if left else still + 1
        await asyncio.sleep(0.3)
    return {}
