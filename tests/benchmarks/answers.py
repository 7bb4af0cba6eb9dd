"""How well a model answers with Mneme's memory, beside what it answers without, or with all that was told.

    python -m tests.benchmarks.answers [--life Ana]

It takes the language model that the environment names, at any compatible server, or else the local one. What
people tell in answers.toml over months goes the real way: written down on its day, read by the worker's jobs,
gated, indexed. Each question is asked in a conversation of its own on its own day, so that only the memory
can answer it: what was told, what holds after a change, what held before, what suits somebody, and what
nobody told, where a good reply says so. The replies are judged by expressions that stand beside the
questions, not by a model.

*Alone* is the same model with the same instructions and no memory. *Whole* gets everything that was told
until then, with its days, in the prompt: what a memory is measured by, but its cost grows with every message.
"""

import argparse
import asyncio
import re
import tempfile
import tomllib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table

from bots.bench import write_down
from core.llm.model import ChatMessage
from core.llm.openai_model import OpenAIModel, build_model
from core.llm.tokens import count_tokens
from core.llm.tries import Tries
from core.privacy.audience import PRIVATE
from core.reply.prompt import EXAMPLES, INSTRUCTIONS
from core.settings import Settings, load_settings
from core.storage.database import database_url, upgrade
from core.storage.schema import inbox
from deploy import local
from tests.conftest import lanes_running
from tests.integration.conftest import House, a_house
from tests.standins.clock import MovedClock
from tests.standins.paper import letter

ASKED_AT, TOLD_AT = "18:00", "09:00"
REPLY_SECONDS = 600
MAX_TOKENS = 400
UNKNOWN = "unknown"
_READ = tomllib.loads(Path(__file__).with_name("answers.toml").read_text(encoding="utf-8"))
_DOES_NOT_KNOW = re.compile("|".join(_READ["does_not_know"]))


@dataclass(frozen=True, slots=True)
class Told:
    day: str
    text: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A question. `right` and `wrong` are expressions for the reply in small letters."""

    day: str
    category: str
    text: str
    right: str
    wrong: str

    def is_good(self, reply: str) -> bool:
        said = reply.lower()
        right = _DOES_NOT_KNOW if self.category == UNKNOWN else re.compile(self.right)
        return bool(right.search(said)) and not (self.wrong and re.search(self.wrong, said))


@dataclass(frozen=True, slots=True)
class Life:
    """What one person told and asked, in order."""

    name: str
    days: tuple[Told | Asked, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply to a question by Mneme, or one of those beside it; `tokens` of the past were in its prompt."""

    by: str
    asked: Asked
    reply: str
    tokens: int


def lives() -> list[Life]:
    return [
        Life(each["name"], tuple(Told(*row) if len(row) == 2 else Asked(*row) for row in each["days"]))
        for each in _READ["life"]
    ]


async def live(life: Life, settings: Settings) -> AsyncIterator[Answer]:
    """Tells Mneme a life day by day, and asks it, and those beside it, what is asked."""
    clock = MovedClock()
    model = build_model(settings, Tries.from_settings(settings, clock))
    known: list[Told] = []
    async with a_house(settings, clock) as house, lanes_running(house.app):
        for number, each in enumerate(life.days):
            if isinstance(each, Told):
                clock.set(_moment(each.day, TOLD_AT))
                await _tell(house, life, each)
                known.append(each)
                continue
            clock.set(_moment(each.day, ASKED_AT))
            await _read(house)
            reply, tokens = await _ask(house, life, each, number)
            yield Answer("Mneme", each, reply, tokens)
            yield Answer("alone", each, await _complete(model, each, ()), 0)
            told = sum(count_tokens(told.text) for told in known)
            yield Answer("whole", each, await _complete(model, each, known), told)
    await model.aclose()


async def _tell(house: House, life: Life, told: Told) -> None:
    """Has it written down as a message of its own, which nobody answers."""
    message = letter(told.text, person=life.name, sent_at=_moment(told.day, TOLD_AT))
    (accepted,) = await house.app.inbox.take([message])
    await write_down(house.app, accepted.inbox_id)
    row = await house.row(inbox, inbox.c.id == accepted.inbox_id)
    async with house.app.database.write() as connection:
        await house.app.jobs.schedule_extraction(connection, row.conversation_id)


async def _read(house: House) -> None:
    """Does what the worker would have done by now."""
    await house.work()
    await house.app.indexer.flush()


async def _ask(house: House, life: Life, asked: Asked, number: int) -> tuple[str, int]:
    message = letter(
        asked.text,
        person=life.name,
        conversation=f"{life.name} asks {number}",
        sent_at=_moment(asked.day, ASKED_AT),
    )
    accepted = await house.take(message)
    await house.settled(REPLY_SECONDS)
    reply = house.paper.shown[-1]
    row = await house.row(inbox, inbox.c.id == accepted.inbox_id)
    recalled = await house.app.recaller.find(row.user_id, asked.text, PRIVATE, known=(), now=message.sent_at)
    return reply, sum(count_tokens(each.text) for each in recalled.memories)


async def _complete(model: OpenAIModel, asked: Asked, known: Sequence[Told]) -> str:
    """What the model says without Mneme, but knows of the past."""
    past = "\n".join(f"- ({told.day}) {told.text}" for told in known)
    system = f"{INSTRUCTIONS}\nToday is {asked.day}."
    question = f"<memory>\n{past}\n</memory>\n{asked.text}" if past else asked.text
    prompt = [ChatMessage("system", system), *EXAMPLES, ChatMessage("user", question)]
    return "".join([piece async for piece in model.stream(prompt, max_tokens=MAX_TOKENS)])


def _moment(day: str, time: str) -> datetime:
    return datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=UTC)


def table(answers: Sequence[Answer]) -> Table:
    """The share of good replies, in percent, by category."""
    shown = Table(title="Good replies, in percent")
    shown.add_column("category")
    by = list(dict.fromkeys(answer.by for answer in answers))
    for name in (*by, "questions"):
        shown.add_column(name, justify="right")
    categories = list(dict.fromkeys(answer.asked.category for answer in answers))
    for category in (*categories, "all"):
        some = [each for each in answers if category in (each.asked.category, "all")]
        of = {name: [each.asked.is_good(each.reply) for each in some if each.by == name] for name in by}
        shown.add_row(category, *(f"{100 * mean(of[name]):.0f}" for name in by), str(len(of[by[0]])))
    tokens = (mean(each.tokens for each in answers if each.by == name) for name in by)
    shown.add_row("tokens of the past", *(f"{each:.0f}" for each in tokens), "")
    return shown


async def run(console: Console, chosen: Sequence[Life], settings: Settings) -> list[Answer]:
    """Asks about the lives, each in a Mneme of its own; prints every reply, and the table."""
    answers: list[Answer] = []
    async with local.parts_for(settings, {"model", "redis", "chroma"}) as whole:
        for life in chosen:
            with tempfile.TemporaryDirectory(prefix="mneme-answers-") as folder:
                apart = whole.model_copy(
                    update={
                        "mneme_data_dir": Path(folder),
                        "database_url": None,
                        "mneme_master_key": None,
                        "access": "open",
                        "idle_seconds": 0,
                        "burst_seconds": 0,
                    }
                )
                upgrade(database_url(apart))
                async for answer in live(life, apart):
                    answers.append(answer)
                    verdict = "good" if answer.asked.is_good(answer.reply) else "BAD"
                    console.print(
                        f"{life.name} {answer.asked.day} {answer.by}, {verdict}: "
                        f"{answer.asked.text!r} -> {answer.reply!r}",
                        style="dim",
                        highlight=False,
                    )
    console.print(table(answers))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--life", action="append", help="only this person's; may be given several times")
    given = parser.parse_args()
    chosen = [life for life in lives() if not given.life or life.name in given.life]
    unasked = {"special_categories": "keep", "privacy_notice": False}
    settings = load_settings().model_copy(update=unasked)
    asyncio.run(run(Console(width=150), chosen, settings))


if __name__ == "__main__":
    main()
