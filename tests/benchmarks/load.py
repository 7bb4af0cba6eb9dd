"""How many messages a second this machine answers, beside what an echo bot does on it.

    python -m tests.benchmarks.load [--seconds 8] [--database sqlite,postgresql] [--conversations 1,100,10000]
        [--bots 1,2] [--platform telegram,slack] [--minutes 1]

Real processes: `mneme serve` (one or two), Redis, Chroma, SQLite or PostgreSQL whose commits wait for the
disk, the embedder in the box. No worker runs, so long windows aren't folded. Platform and model are strict
stand-ins that answer at once. They and the driver are one process, "outside", which has to share the cores;
the table says how much everybody takes.

**Held** is the highest rate, in messages a second, at which every message is answered and 95 of 100 within
250 ms of our own time. Messages fall due by a fixed schedule, whether or not earlier ones were answered, so
that waiting isn't hidden. *Own time* is from the moment a message is due to the moment the first call that
shows its whole reply arrives at the platform, less every moment at which a stand-in worked for that
conversation (ledger.py has the formula). The pause in which bursts are gathered is off. What is left is
everything that the bot, its stores and the queues before them add.

A burst of others' work that makes one rate fail ends the search below it. The last columns say who kept the
cores busy: where ours were idle at the rate that was held, it is no limit of the bot's, and its ratio means
nothing.

**Ratio** is what an echo bot on the platform's own Python library holds in the same run, over as many
conversations, divided by ours: how many times as much the echo bot does, without a record, a memory or a
model. With one conversation, what bounds us is the platform's pace, a write a second in a chat, and the time
of one turn: messages that come meanwhile wait for its end, and are then answered together in the next.

**Crowded** is how ten people fare while another one writes 500 messages as fast as they are taken: their
95th percentile then, beside what it is without that one. Here a worker runs too.
"""

import argparse
import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table
from sqlalchemy import make_url

from core.llm.local_embedder import DIMENSIONS
from core.memory.lexicons import ENTRY_BYTES
from core.storage.database import new_id
from tests.benchmarks.crowd import Crowd, PromptModel, SlackCrowd, TelegramCrowd
from tests.benchmarks.ledger import Ledger
from tests.benchmarks.pressure import MOST_RATES, TOLD_ONE_IN, Pressure, Step, highest, mostly_asking
from tests.benchmarks.stage import Stage, echo_stage, mneme_stage
from tests.servers import postgresql_folder, postgresql_server

FIRST_RATE = 10.0
FEW_RATES = 4
"""With few conversations a search begins at one message a second in each, which is what platforms take, and
is soon over: at such rates it takes minutes, and shows the platform's pace."""
CHAT_REST_SECONDS = 2.0
"""So long such a search rests before each rate: else the first message waits for the pace of those before."""
ECHO_FIRST_RATE = 100.0
SOAK_CONVERSATIONS = 100
SOAK_SHARE = 0.5
"""Memory is watched at so much of the rate that is held."""
SETTLING_SHARE, SETTLING_MOST_MINUTES = 1 / 3, 10.0
"""How long it may take a process to reach its size; what it grows by after that would be a leak."""
FEWEST_MESSAGES = 20
OTHERS = 10
OTHERS_RATE = 4.0
OTHERS_MESSAGES = 80
LOUD_MESSAGES = 500
LOUD_PER_SECOND = 50.0
WIDTH = 150
CPU_COLUMNS = ("bots ms", "stores ms", "outside ms", "our cores", "others'")


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured; a database of "" is an echo bot."""

    platform: str
    conversations: int
    bots: int = 1
    database: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    case: Case
    step: Step


@dataclass(frozen=True, slots=True)
class Memory:
    """The bots' resident memory over minutes of an even load: when it had settled, at last, and its slope in
    between by least squares, in MB an hour. Most messages ask; `told`: what words and vectors of the others
    take, in MB an hour, which is bounded by `AT_HAND_MB`."""

    case: Case
    rate: float
    minutes: float
    settled_mb: float
    last_mb: float
    slope: float
    told: float


@dataclass(frozen=True, slots=True)
class Crowded:
    """The same ten people, without and with one beside them who never stops."""

    case: Case
    alone: Step
    beside: Step


@asynccontextmanager
async def on_stage(
    case: Case, folder: Path, postgresql: str | None, *, with_worker: bool = False, **settings: object
) -> AsyncIterator[Pressure]:
    """The case's bots behind its crowd, warm."""
    ledger = Ledger()
    crowd: Crowd = TelegramCrowd(ledger=ledger) if case.platform == "telegram" else SlackCrowd(ledger)
    model = PromptModel(ledger)
    await crowd.start()
    await model.start()
    try:
        if case.database:
            record = f"sqlite:///{folder / 'mneme.db'}"
            if case.database == "postgresql":
                assert postgresql is not None
                record = new_database(postgresql)
            stage = mneme_stage(
                crowd,
                model,
                record,
                folder,
                bots=case.bots,
                acquainted=case.conversations,
                with_worker=with_worker,
                **settings,
            )
        else:
            stage = echo_stage(crowd, folder)
        async with stage as made:
            crowd.serve_to(made.urls)
            pressure = Pressure(crowd, ledger, made, case.conversations)
            await pressure.warm_up()
            yield pressure
    finally:
        await crowd.stop()
        await model.stop()


def new_database(server: str) -> str:
    name = f"mneme_{new_id()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return make_url(server).set(database=name).render_as_string(hide_password=False)


async def measure(case: Case, folder: Path, postgresql: str | None, seconds: float, rates: int) -> Row:
    async with on_stage(case, folder, postgresql) as pressure:

        async def press(rate: float) -> Step:
            if case.conversations < FIRST_RATE:
                await asyncio.sleep(CHAT_REST_SECONDS)
            return await pressure.step(rate, max(FEWEST_MESSAGES, int(rate * seconds)))

        if not case.database:
            return Row(case, await highest(press, ECHO_FIRST_RATE, rates))
        if case.conversations < FIRST_RATE:
            return Row(case, await highest(press, case.conversations, min(rates, FEW_RATES)))
        return Row(case, await highest(press, FIRST_RATE, rates))


async def soak(case: Case, rate: float, minutes: float, folder: Path, postgresql: str | None) -> Memory:
    """How the memory of the case's bots grows while they are written to at the rate."""
    async with on_stage(case, folder, postgresql) as pressure:
        pressure.words = mostly_asking
        watching = asyncio.create_task(_watch(pressure.stage))
        await pressure.step(rate, int(rate * minutes * 60), patient=True)
        watching.cancel()
        samples = await watching
    begun = samples[0][0] + min(SETTLING_SHARE * minutes, SETTLING_MOST_MINUTES) / 60
    settled = [sample for sample in samples if sample[0] >= begun]
    told = rate * 3600 / TOLD_ONE_IN * (ENTRY_BYTES + DIMENSIONS) / 2**20
    return Memory(case, rate, minutes, settled[0][1], settled[-1][1], _slope(settled), told)


async def crowded(case: Case, folder: Path, postgresql: str | None) -> Crowded:
    """How the others of the case's conversations fare while the last one writes and writes."""
    async with on_stage(case, folder, postgresql, with_worker=True) as pressure:
        pressure.conversations = OTHERS
        alone = await pressure.step(OTHERS_RATE, OTHERS_MESSAGES, patient=True)
        shouting = asyncio.create_task(_shout(pressure))
        beside = await pressure.step(OTHERS_RATE, OTHERS_MESSAGES, patient=True)
        await shouting
    return Crowded(case, alone, beside)


async def _shout(pressure: Pressure) -> None:
    for _ in range(LOUD_MESSAGES):
        pressure.crowd.ask(pressure.words(next(pressure.numbers)), OTHERS)
        await asyncio.sleep(1 / LOUD_PER_SECOND)


async def _watch(stage: Stage) -> list[tuple[float, float]]:
    """Hours and MB, every second until cancelled."""
    samples = []
    while True:
        samples.append((time.monotonic() / 3600, stage.resident_mb()))
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            return samples


def _slope(samples: Sequence[tuple[float, float]]) -> float:
    middle = sum(x for x, _ in samples) / len(samples), sum(y for _, y in samples) / len(samples)
    width = sum((x - middle[0]) ** 2 for x, _ in samples)
    return sum((x - middle[0]) * (y - middle[1]) for x, y in samples) / width if width else 0.0


def table(rows: Sequence[Row]) -> Table:
    """The cases with their figures, each beside the echo bot of its platform, if that was measured."""
    held = {row.case.platform: row.step.rate for row in rows if not row.case.database and row.step.holds}
    shown = Table(title="Held with 95 of 100 answered within 250 ms of own time")
    shown.add_column("bot")
    for name in ("conversations", "held/s", "ratio", "p50 ms", "p95 ms", *CPU_COLUMNS):
        shown.add_column(name, justify="right")
    for row in rows:
        case, step, echo = row.case, row.step, held.get(row.case.platform)
        what = f"{case.bots} × Mneme on {case.database}" if case.database else "echo bot"
        shown.add_row(
            f"{case.platform}: {what}",
            f"{case.conversations:,}",
            f"{step.rate:.1f}" if step.holds else f"< {step.rate:.1f}",
            f"{echo / step.rate:.1f}" if echo and step.holds else "-",
            f"{step.p50 * 1000:.0f}",
            f"{step.p95 * 1000:.0f}",
            *(f"{step.cpu[who]:.1f}" for who in ("bots", "stores", "outside")),
            f"{step.ours:.2f}",
            f"{step.others:.2f}",
        )
    shown.caption = (
        "bots, stores, outside: milliseconds of a core a message. Ratio: the echo bot's rate by ours.\n"
        "Where others kept cores busy, or ours were idle, the rate says more of them than of the bot."
    )
    return shown


def crowded_table(found: Sequence[Crowded]) -> Table:
    shown = Table(title=f"{OTHERS} people, while another one writes {LOUD_MESSAGES} messages")
    shown.add_column("bot")
    for name in ("p95 alone ms", "p95 beside ms", "ratio", "unanswered"):
        shown.add_column(name, justify="right")
    for seen in found:
        alone, beside = seen.alone.p95 * 1000, seen.beside.p95 * 1000
        ratio = f"{beside / alone:.1f}" if alone else "-"
        name = f"{seen.case.platform}: {seen.case.database}"
        shown.add_row(name, f"{alone:.0f}", f"{beside:.0f}", ratio, str(seen.beside.unanswered))
    return shown


def memory_table(memories: Sequence[Memory]) -> Table:
    shown = Table(title="Resident memory under an even load")
    shown.add_column("bot")
    for name in ("rate/s", "minutes", "settled MB", "at last MB", "slope MB/h", "told MB/h"):
        shown.add_column(name, justify="right")
    for seen in memories:
        figures = (seen.rate, seen.minutes, seen.settled_mb, seen.last_mb, seen.slope, seen.told)
        shown.add_row(f"{seen.case.platform}: {seen.case.database}", *(f"{figure:.1f}" for figure in figures))
    return shown


def cases(
    platforms: Sequence[str], databases: Sequence[str], conversations: Sequence[int], bots: Sequence[int]
) -> list[Case]:
    """The echo bots, every number of conversations on each record, more bots with the middle number."""
    middle = sorted(conversations)[len(conversations) // 2]
    found = [Case(platform, middle) for platform in platforms]
    for platform in platforms:
        for database in databases:
            found += [Case(platform, number, bots[0], database) for number in conversations]
            found += [Case(platform, middle, more, database) for more in bots[1:]]
    return found


async def run(
    plan: Sequence[Case],
    console: Console,
    *,
    seconds: float,
    minutes: float,
    rates: int = MOST_RATES,
    with_crowd: bool = True,
) -> list[Row]:
    """Measures the cases one after the other, trying so many rates at most; prints what was found."""
    with ExitStack() as stack:
        postgresql = None
        if any(case.database == "postgresql" for case in plan):
            programs = postgresql_folder()
            assert programs is not None, "PostgreSQL's initdb isn't installed (apt install postgresql)"
            postgresql = stack.enter_context(postgresql_server(programs, durable=True))
        busy = ", ".join(f"{load:.2f}" for load in os.getloadavg())
        console.print(
            f"{os.cpu_count()} cores, shared by bots, stores, stand-ins and driver; load before: {busy}"
        )
        rows = []
        for case in plan:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mneme-load-")))
            rows.append(await measure(case, folder, postgresql, seconds, rates))
            console.print(_line(rows[-1]), style="dim", highlight=False)
        console.print(table(rows))
        if with_crowd:
            found = []
            for platform, database in sorted({(c.platform, c.database) for c in plan if c.database}):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mneme-load-")))
                case = Case(platform, OTHERS + 1, 1, database)
                found.append(await crowded(case, folder, postgresql))
            console.print(crowded_table(found))
        memories = []
        for row in rows:
            if minutes and row.case.database and row.case.conversations == SOAK_CONVERSATIONS:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mneme-load-")))
                rate = SOAK_SHARE * row.step.rate
                memories.append(await soak(row.case, rate, minutes, folder, postgresql))
        if memories:
            console.print(memory_table(memories))
    return rows


def _line(row: Row) -> str:
    """What is said at once, so that a run that is broken off was of some use."""
    case, step = row.case, row.step
    what = f"{case.bots} × Mneme on {case.database}" if case.database else "echo bot"
    held = f"holds {step.rate:.1f}/s" if step.holds else f"doesn't hold {step.rate:.1f}/s"
    return (
        f"{case.platform}, {case.conversations:,} conversations, {what}: {held}, p95 {step.p95 * 1000:.0f} ms"
    )


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _numbers(text: str) -> list[int]:
    return [int(part) for part in _listed(text)]


def _end(number: int, frame: object) -> None:
    """As with Ctrl-C, what was started ends with us; a second signal doesn't cut that short."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8, help="how long each rate is tried")
    parser.add_argument("--database", type=_listed, default=["sqlite", "postgresql"])
    parser.add_argument("--conversations", type=_numbers, default=[1, 100, 10_000])
    parser.add_argument("--bots", type=_numbers, default=[1, 2], help="how many Mneme processes")
    parser.add_argument("--platform", type=_listed, default=["telegram", "slack"])
    parser.add_argument("--minutes", type=float, default=1, help="how long memory is watched; 0: not at all")
    given = parser.parse_args()
    plan = cases(given.platform, given.database, given.conversations, given.bots)
    signal.signal(signal.SIGTERM, _end)
    asyncio.run(run(plan, Console(width=WIDTH), seconds=given.seconds, minutes=given.minutes))


if __name__ == "__main__":
    main()
