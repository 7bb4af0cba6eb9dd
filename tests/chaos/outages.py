"""`python -m tests.chaos.outages`: takes away one part after the other, and tells what is seen."""

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import redis
from aiohttp import web

from core.app import App, open_app
from tests.chaos.house import RECORD_FOLDER, House, a_house
from tests.chaos.ledger import Ledger, Reckoning, summary
from tests.chaos.machine import QUICK, Tell, quiet
from tests.chaos.platforms import Place, Platforms, the_platforms
from tests.chaos.record import read
from tests.chaos.words import Said, new_token, reply_words
from tests.servers import free_port

PEOPLE = 4
PAUSE_SECONDS = 1.0
FAULT_SHARE = 0.5
DISK_MB = 16
DISK_MB_A_SECOND = 0.4
"""What is written in all outages together, and some room: only one of them is about a full disk."""
RESTING = "My memory is resting"
COLUMNS = ("accepted", "answered", "dead", "unknown", "lost", "doubled", "reordered")


@dataclass
class Scene:
    """What an outage works on; `disk` is where the record lies, if that can be filled."""

    app: App
    house: House
    platforms: Platforms
    seconds: float
    disk: Path | None
    chance: random.Random

    def redis(self) -> "redis.Redis":
        url = self.house.settings.redis_url
        assert url is not None
        return redis.Redis.from_url(url.get_secret_value(), socket_timeout=2)


Outage = Callable[[Scene], Awaitable[None]]
"""Breaks something, and returns when it has been mended."""


async def redis_down(scene: Scene) -> None:
    scene.house.redis.kill(scene.seconds)
    await asyncio.sleep(scene.seconds)


async def redis_wiped(scene: Scene) -> None:
    for _ in range(int(scene.seconds)):
        await asyncio.to_thread(scene.redis().flushall)
        await asyncio.sleep(1)


async def redis_read_only(scene: Scene) -> None:
    """As a replica that has lost its master it refuses every write."""
    await asyncio.to_thread(scene.redis().replicaof, "127.0.0.1", str(free_port()))
    await asyncio.sleep(scene.seconds)
    await asyncio.to_thread(scene.redis().replicaof, "NO", "ONE")


async def redis_hangs(scene: Scene) -> None:
    scene.house.redis.stop(scene.seconds)
    await asyncio.sleep(scene.seconds)


async def chroma_down(scene: Scene) -> None:
    scene.house.chroma.kill(scene.seconds)
    await asyncio.sleep(scene.seconds)


async def chroma_deleted(scene: Scene) -> None:
    scene.house.chroma.kill(scene.seconds)
    await asyncio.to_thread(shutil.rmtree, scene.house.chroma.folder / "chroma")
    await asyncio.sleep(scene.seconds)


async def disk_full(scene: Scene) -> None:
    assert scene.disk is not None
    filler = scene.disk / "filler"
    await asyncio.to_thread(_fill, filler)
    await asyncio.sleep(scene.seconds)
    filler.unlink()


async def rate_limits(scene: Scene) -> None:
    flood, too_many = (partial(_sometimes, scene, fault) for fault in ("flood", "429"))
    scene.platforms.telegram.weather, scene.platforms.slack.weather = flood, too_many
    await asyncio.sleep(scene.seconds)
    scene.platforms.telegram.weather = scene.platforms.slack.weather = _never


async def model_fault(fault: Any, scene: Scene) -> None:
    scene.platforms.model.weather = partial(_sometimes, scene, fault)
    await asyncio.sleep(scene.seconds)
    scene.platforms.model.weather = _never


def _sometimes(scene: Scene, fault: Any, request: web.Request, given: dict[str, Any]) -> Any:
    return fault if scene.chance.random() < FAULT_SHARE else None


def _never(request: web.Request, given: dict[str, Any]) -> None:
    return None


def _fill(filler: Path) -> None:
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


OUTAGES: dict[str, Outage] = {
    "Redis down": redis_down,
    "Redis wiped every second": redis_wiped,
    "Redis read-only": redis_read_only,
    "Redis hangs": redis_hangs,
    "Chroma down": chroma_down,
    "Chroma's directory deleted": chroma_deleted,
    "429 at half of all calls": rate_limits,
    "every second stream cut": partial(model_fault, "cut"),
    "every second JSON truncated": partial(model_fault, "malformed_json"),
    "every second call to the model 500": partial(model_fault, "broken"),
    "disk full at the inbox": disk_full,
}


@dataclass(frozen=True)
class Seen:
    """What an outage came to: `meanwhile` were answered before its end, the rest within `after_seconds`."""

    name: str
    reckoning: Reckoning
    meanwhile: int
    after_seconds: float
    resting: int
    refused: int

    def __str__(self) -> str:
        counts = "".join(f"{getattr(self.reckoning, column):>10}" for column in COLUMNS)
        rest = f"{self.meanwhile:>10}{self.after_seconds:>8.1f} s{self.resting:>9}{self.refused:>9}"
        return f"{self.name:<36}{counts}{rest}"


HEADING = f"{'outage':<36}" + "".join(f"{column:>10}" for column in COLUMNS)
HEADING += f"{'meanwhile':>10}{'quiet in':>10}{'resting':>9}{'503':>9}"


async def run(seconds: float, folder: Path, disk: Path | None, tell: Tell) -> list[Seen]:
    """Every outage in turn, each for so many seconds; whatever was started has ended when it returns."""
    async with AsyncExitStack() as stack:
        platforms = await stack.enter_async_context(the_platforms())
        house = await stack.enter_async_context(a_house(folder, "sqlite", platforms.settings() | QUICK))
        platforms.open_to(house.doors, "outages").fair = True
        keeping = asyncio.create_task(house.keep())
        stack.callback(keeping.cancel)
        app = await stack.enter_async_context(open_app(house.settings))
        scene = Scene(app, house, platforms, seconds, disk, random.Random("outages"))
        tell(HEADING)
        seen = []
        for number, name in enumerate(OUTAGES):
            if OUTAGES[name] is disk_full and disk is None:
                tell(f"{name:<36}skipped: only root can mount a small disk")
                continue
            seen.append(await _through(scene, number, name))
            tell(str(seen[-1]))
            for wrong in seen[-1].reckoning.wrong:
                tell(f"WRONG  {wrong}")
        return seen


async def _through(scene: Scene, number: int, name: str) -> Seen:
    platforms, app = scene.platforms, scene.app
    assert platforms.postman is not None
    first, refused = len(platforms.said), platforms.postman.statuses[503]
    end = time.monotonic() + scene.seconds
    writing = asyncio.gather(*(_write(scene, place, end) for place in _places(number)))
    await OUTAGES[name](scene)
    meanwhile = sum(_is_answered(platforms, said) for said in platforms.said[first:])
    mended = time.monotonic()
    await writing
    left = await quiet(app)
    said = platforms.said[first:]
    ledger = Ledger(await read(app), said, platforms.shown, partial(app.master.digest, "event"))
    reckoning = ledger.reckon()
    if left:
        reckoning.wrong.append(f"still at work: {summary(left)}")
    texts = [text for place in _places(number) for text in platforms.shown(place.chat)]
    return Seen(
        name,
        reckoning,
        meanwhile,
        time.monotonic() - mended,
        sum(RESTING in text for text in texts),
        platforms.postman.statuses[503] - refused,
    )


async def _write(scene: Scene, place: Place, end: float) -> None:
    while time.monotonic() < end:
        await scene.platforms.say(place, place.people[0], new_token(scene.chance))
        await asyncio.sleep(PAUSE_SECONDS)


def _is_answered(platforms: Platforms, said: Said) -> bool:
    last = reply_words(said.token)[-1]
    return any(last in text for text in platforms.shown(said.chat))


def _places(number: int) -> list[Place]:
    chats = [str(8000 + 100 * number + person) for person in range(PEOPLE - 1)]
    return [*(Place(chat, (chat,)) for chat in chats), Place(f"D9{number:02}", ("UANA",))]


@contextmanager
def a_small_disk(folder: Path, seconds: float) -> Iterator[Path | None]:
    """The record's folder as a disk of a few megabytes; None where that can't be made.

    `seconds` is how long each outage lasts.
    """
    disk = folder / RECORD_FOLDER
    disk.mkdir()
    mount = [
        "mount",
        "-t",
        "tmpfs",
        "-o",
        f"size={DISK_MB + int(DISK_MB_A_SECOND * seconds)}m",
        "mneme-chaos",
        str(disk),
    ]
    made = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield disk if made else None
    finally:
        if made:
            subprocess.run(["umount", str(disk)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="how long each outage lasts")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mneme-outages-"))
    with a_small_disk(folder, arguments.seconds) as disk:
        seen = asyncio.run(run(arguments.seconds, folder, disk, partial(print, flush=True)))
    if any(one.reckoning.wrong for one in seen):
        print(f"the logs are in {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
