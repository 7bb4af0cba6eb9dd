"""Pressing a bot by a fixed schedule, and finding the most that it holds."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count

from tests.benchmarks.crowd import Crowd
from tests.benchmarks.ledger import Ledger, marked, share
from tests.benchmarks.stage import Stage

OWN_SECONDS = 0.25
"""Within so much of our own time, 95 of 100 messages have to be answered."""
GIVE_UP_SECONDS = 2.0
"""A message that waits so long in vain ends a step: this rate isn't held."""
DRAIN_SECONDS = 20.0
MOST_RATES = 12
PRECISION = 1.08
"""The search ends when the lowest rate that fails is so many times the highest that is held."""
WARM_UP_PER_SECOND = 10.0
WARM_UP_LEAST, WARM_UP_MOST = 5, 100
TOLD_ONE_IN = 7
"""Of those who mostly ask. Prime, so that everybody tells something in turn."""


@dataclass(frozen=True, slots=True)
class Step:
    """One rate (messages a second) for some seconds. `cpu`: milliseconds a message, by who used them.

    `ours` and `others`: how many cores the measured parties, and whoever else is on the machine, kept busy.
    """

    rate: float
    asked: int
    unanswered: int
    p50: float
    p95: float
    cpu: dict[str, float] = field(default_factory=dict)
    ours: float = 0.0
    others: float = 0.0

    @property
    def holds(self) -> bool:
        return self.asked > 0 and self.unanswered == 0 and self.p95 <= OWN_SECONDS


def telling(number: int) -> str:
    return f"My parcel has the number {marked(number)}."


def mostly_asking(number: int) -> str:
    return f"Did I tell you of {marked(number)}?" if number % TOLD_ONE_IN else telling(number)


@dataclass
class Pressure:
    """A crowd that writes in `conversations` conversations, each in its turn, to what stands on a stage.

    `words` makes a message of a number, by which it is known.
    """

    crowd: Crowd
    ledger: Ledger
    stage: Stage
    conversations: int
    words: Callable[[int], str] = telling
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    async def warm_up(self) -> None:
        """Lets the bots load what they load once, and meet the people whom they are going to hear."""
        messages = min(WARM_UP_MOST, max(WARM_UP_LEAST, self.conversations))
        await self.step(WARM_UP_PER_SECOND, messages, patient=True)

    async def step(self, rate: float, messages: int, *, patient: bool = False) -> Step:
        """Asks so many messages at a fixed rate, whatever becomes of them; waits until all are answered.

        Unless `patient`, it stops asking once somebody has waited in vain for `GIVE_UP_SECONDS`.
        """
        self.ledger.clear()
        before, machine = self.stage.cpu_seconds(), self.stage.machine_seconds()
        start = time.monotonic()
        for place in range(messages):
            due = start + place / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not patient and self.ledger.longest_wait_seconds() > GIVE_UP_SECONDS:
                break
            number = next(self.numbers)
            self.ledger.ask(number, number % self.conversations, due)
            self.crowd.ask(self.words(number), number % self.conversations)
        deadline = time.monotonic() + DRAIN_SECONDS
        while self.ledger.unanswered and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        after, took = self.stage.cpu_seconds(), time.monotonic() - start
        used = sum(after.values()) - sum(before.values())
        own = self.ledger.own_seconds()
        answered = max(1, len(own))
        return Step(
            rate=rate,
            asked=self.ledger.asked,
            unanswered=self.ledger.unanswered,
            p50=share(own, 50),
            p95=share(own, 95),
            cpu={who: 1000 * (after[who] - before[who]) / answered for who in after},
            ours=used / took,
            others=max(0.0, self.stage.machine_seconds() - machine - used) / took,
        )


async def highest(press: Callable[[float], Awaitable[Step]], first: float, rates: int = MOST_RATES) -> Step:
    """The step of the highest rate that is held: doubled or halved from the first, then narrowed down.

    A rate that fails gets a second chance, since others use the machine too. Where nothing is held, the step
    of the lowest rate that was tried.
    """
    best: Step | None = None
    lowest_failed: Step | None = None
    rate = first
    for _ in range(rates):
        step = await press(rate)
        if not step.holds:
            step = await press(rate)
        if step.holds:
            best = step
        else:
            lowest_failed = step
        if best and lowest_failed:
            if lowest_failed.rate / best.rate < PRECISION:
                break
            rate = (best.rate * lowest_failed.rate) ** 0.5
        else:
            rate = rate * 2 if best else rate / 2
    found = best or lowest_failed
    assert found is not None
    return found
