"""`python -m tests.chaos.points --kills 20`: kills -9 at exact points, counts what became of it."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

from core.app import App, open_app
from tests.chaos.house import DatabaseKind, a_house
from tests.chaos.ledger import Ledger, Reckoning, summary
from tests.chaos.machine import QUICK, Tell, quiet
from tests.chaos.platforms import Place, Platforms, the_platforms
from tests.chaos.record import read, unrest
from tests.chaos.traps import JOB_POINTS, POINTS, Traps
from tests.chaos.words import Said, new_claim

PEOPLE = 12
SPRUNG_SECONDS = 60.0
PIECE_SECONDS = 0.12
"""Slow enough that a reply is opened before it is whole, and edited then."""
COLUMNS = ("accepted", "answered", "dead", "unknown", "lost", "doubled")


@dataclass(frozen=True)
class Row:
    """What a point came to."""

    point: str
    kills: int
    reckoning: Reckoning

    def __str__(self) -> str:
        counts = "".join(f"{getattr(self.reckoning, name):>10}" for name in COLUMNS)
        return f"{self.point:<36}{self.kills:>6}{counts}"


HEADING = f"{'point':<36}{'kills':>6}" + "".join(f"{name:>10}" for name in COLUMNS)


async def run(kills: int, database: DatabaseKind, folder: Path, tell: Tell) -> Sequence[Row]:
    """A row for each point; whatever it started has ended when it returns.

    Raises:
        TimeoutError: nobody came to a point, or the house doesn't come to rest.
    """
    async with AsyncExitStack() as stack:
        platforms = await stack.enter_async_context(the_platforms())
        platforms.model.piece_seconds = PIECE_SECONDS
        house = await stack.enter_async_context(a_house(folder, database, platforms.settings() | QUICK))
        platforms.open_to(house.doors, "points").fair = True
        keeping = asyncio.create_task(house.keep())
        stack.callback(keeping.cancel)
        app = await stack.enter_async_context(open_app(house.settings))
        traps = Traps(house, platforms)
        traps.set_up()
        said = []
        for number, point in enumerate(POINTS):
            said.append(await _spring(app, traps, platforms, number, kills))
            tell(f"killed {kills} times {point}")
        left = await quiet(app)
        record = await read(app)
        (folder / "seen.log").write_text("\n".join(platforms.seen))
        reckonings = [
            Ledger(record, those, platforms.shown, partial(app.master.digest, "event")).reckon()
            for those in said
        ]
    if left:
        reckonings[-1].wrong.append(f"still at work: {summary(left)}")
    return [Row(point, kills, reckoning) for point, reckoning in zip(POINTS, reckonings, strict=True)]


async def _spring(app: App, traps: Traps, platforms: Platforms, number: int, kills: int) -> list[Said]:
    """Has people write, each to be answered past a kill at this point; returns what they wrote."""
    point = POINTS[number]
    chance = random.Random(point)
    said = []
    for count in range(kills):
        traps.token, traps.setting, before = new_claim(chance), point, traps.kills
        said.append(await platforms.say(*_somebody(number, count), traps.token))
        async with asyncio.timeout(SPRUNG_SECONDS):
            while traps.kills == before or (point not in JOB_POINTS and await _waits(app)):
                await asyncio.sleep(0.05)
    return said


async def _waits(app: App) -> bool:
    return "messages" in await unrest(app)


def _somebody(point: int, number: int) -> tuple[Place, str]:
    """Most are on Telegram, every fourth on Slack; each point has people of its own."""
    if number % 4 == 3:
        return Place(f"D{point}{number % PEOPLE}", ("UANA",)), "UANA"
    chat = f"{7000 + 100 * point + number % PEOPLE}"
    return Place(chat, (chat,)), chat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="at each point")
    parser.add_argument("--database", choices=get_args(DatabaseKind), default="sqlite")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mneme-points-"))
    try:
        rows = asyncio.run(run(arguments.kills, arguments.database, folder, partial(print, flush=True)))
    except KeyboardInterrupt:
        sys.exit(1)
    wrong = [line for row in rows for line in row.reckoning.wrong]
    print(*wrong, HEADING, *rows, sep="\n")
    if wrong:
        print(f"the logs are in {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
