"""How well the write gate tells what a person said of themselves from all else, on labelled messages.

    python -m tests.benchmarks.gate [--model]

The gate's rules were tuned on gate.toml. gate_casual.toml was written by somebody who hadn't seen the rules,
and looked at afterwards. Two readers propose claims: one that proposes all it can think of, true or not, and,
with --model, the language model of the settings (`mneme run`'s small one, where none is set). What gets
through is counted:

* precision: how much of what is stored is labelled as true; recall: how much of what is labelled is stored
* junk: what is stored of a message that says nothing lasting, or that no label knows
* misattributed: stored of the person, though it was said of somebody else, or the other way round
* poisoned: stored of what others wrote, of what was imagined or joked, or of what was dictated
"""

import argparse
import asyncio
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from core.clock import SystemClock
from core.llm.openai_model import OpenAIModel, build_model
from core.llm.tries import Tries
from core.memory.claims import BELIEVED, Claim, Kind
from core.memory.extraction import extract
from core.memory.quotes import UNSPACED, folded
from core.memory.transcript import Line
from core.memory.write_gate import check
from core.settings import load_settings
from deploy import local

BEGIN = datetime(2026, 11, 25, 12, tzinfo=UTC)
PAGE = 12
SETS = ("gate.toml", "gate_casual.toml")
POISON = ("imagined", "joke", "quote", "injection", "question", "request")
FOREIGN = ("Owns three yachts in Monaco.", "Is an administrator.", "Lives in Rome.", "Likes to wire money.")
_CLAUSE = re.compile(r"[^,;:.!?。、！？\n\"“”„«»「」>]+")


@dataclass(frozen=True, slots=True)
class Fact:
    """What may be remembered: the beginnings of its words. `of`: who it is about, "" for the person.

    `mark`: "?" for what needn't be, "~" for what isn't believed.
    """

    words: tuple[str, ...]
    of: str = ""
    mark: str = ""

    def is_in(self, text: str) -> bool:
        return all(_begins(word, text) for word in self.words)


@dataclass(frozen=True, slots=True)
class Labelled:
    language: str
    category: str
    line: Line
    facts: tuple[Fact, ...]


@dataclass
class Score:
    """Counts of one reader's claims behind the gate."""

    labelled: int = 0
    found: int = 0
    stored: int = 0
    right: int = 0
    wrong: list[tuple[str, str, str, str]] = field(default_factory=list)
    """What is wrong with it, language, message and claim."""

    def count(self, fault: str) -> int:
        return Counter(each[0] for each in self.wrong)[fault]

    @property
    def precision(self) -> float:
        return self.right / self.stored if self.stored else 1.0

    @property
    def recall(self) -> float:
        return self.found / self.labelled if self.labelled else 1.0


def labelled(name: str) -> list[Labelled]:
    """The messages of a set, each a conversation's only one."""
    told = tomllib.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))
    found = []
    for language, rows in told.items():
        for number, (category, text, facts) in enumerate(rows):
            line = Line(
                f"{language}-{number}",
                number,
                "ana",
                "user",
                text,
                BEGIN + timedelta(hours=number),
                "private",
            )
            found.append(Labelled(language, category, line, tuple(_facts(facts))))
    return found


def _facts(text: str) -> Iterator[Fact]:
    for fact in filter(None, text.split("; ")):
        of, _, words = fact.rpartition(": ")
        yield Fact(tuple(words.lstrip("~?").split("+")), of, words[0] if words[0] in "~?" else "")


def score(messages: Iterable[Labelled], claims: Iterable[Claim]) -> Score:
    """What the claims are worth; one that isn't believed yet counts only where the label is unsure, too."""
    result = Score()
    by_message: dict[str, list[Claim]] = {}
    for claim in claims:
        by_message.setdefault(claim.line.id, []).append(claim)
    for message in messages:
        mine = by_message.get(message.line.id, [])
        sure = [fact for fact in message.facts if not fact.mark]
        result.labelled += len(sure)
        result.found += sum(any(_judge(claim, [fact]) == "" for claim in mine) for fact in sure)
        for claim in mine:
            if claim.certainty < BELIEVED:
                continue
            result.stored += 1
            fault = _judge(claim, message.facts)
            if fault == "junk" and message.category in POISON:
                fault = "poisoned"
            if fault:
                result.wrong.append((fault, message.language, message.line.text, claim.text))
            else:
                result.right += 1
    return result


def _judge(claim: Claim, facts: Sequence[Fact]) -> str:
    """What is wrong with a claim, "" if nothing."""
    about = [fact for fact in facts if fact.is_in(claim.text)]
    if not about or any(fact.mark == "~" for fact in about):
        return "junk"
    named = f"{claim.text} {claim.subject or ''}"
    if all(bool(fact.of) and not _begins(fact.of, named) for fact in about):
        return "misattributed"
    return ""


def _begins(word: str, text: str) -> bool:
    wanted = folded(word)
    return f" {wanted}" in f" {folded(text)}" or (bool(UNSPACED.search(text)) and wanted in folded(text))


def everything(message: Labelled) -> Iterator[Claim]:
    """What gets through of a reader that takes all that is written for a fact about its writer, and more."""
    line = message.line
    clauses = [clause[0].strip() for clause in _CLAUSE.finditer(line.text) if clause[0].strip()]
    kinds = cycle(Kind)
    for quote in [line.text, *clauses]:
        for text in {quote, _in_third_person(quote), *FOREIGN}:
            for about in ("me", "Lea", ""):
                raw = {"message": 1, "quote": quote, "kind": next(kinds), "text": text, "about": about}
                claim = check(raw, {1: line})
                if claim is not None:
                    yield claim


def _in_third_person(clause: str) -> str:
    """As models write: without the subject."""
    return re.sub(
        r"^\W*(?:(?:and|but|that|und|aber|dass|et|mais|y|pero|e|mas)\s+)?"
        r"(?:i['’]m|i am|i['’]ve|i|ich bin|ich habe|ich|je suis|j['’]ai|j['’]|je"
        r"|soy|yo|tengo|sou|eu|tenho|私は|妹は|母は)(?!\w)\s*",
        "",
        clause,
        flags=re.IGNORECASE,
    ).strip()


class Unmetered:
    """A model whose tokens nobody counts."""

    def __init__(self, model: OpenAIModel) -> None:
        self._model = model

    async def structured(self, *given: Any, payer: str | None = None, **named: Any) -> dict[str, Any]:
        return await self._model.structured(*given, **named)


async def read(model: Any, messages: Sequence[Labelled]) -> list[Claim]:
    """What gets through of what a model reads, a page of one language at a time."""
    claims: list[Claim] = []
    for language in dict.fromkeys(message.language for message in messages):
        lines = [message.line for message in messages if message.language == language]
        for start in range(0, len(lines), PAGE):
            claims += await extract(model, lines[start : start + PAGE], "ana")
    return claims


def table(scores: dict[str, Score]) -> Table:
    shown = Table(title="What gets through the write gate")
    shown.add_column("reader")
    for name in ("stored", "precision", "recall", "junk", "misattributed", "poisoned"):
        shown.add_column(name, justify="right")
    for name, each in scores.items():
        faults = (str(each.count(fault)) for fault in ("junk", "misattributed", "poisoned"))
        shown.add_row(name, str(each.stored), f"{each.precision:.3f}", f"{each.recall:.3f}", *faults)
    return shown


async def run(console: Console, *, with_model: bool) -> None:
    scores: dict[str, Score] = {}
    for name in SETS:
        messages = labelled(name)
        claims = [claim for message in messages for claim in everything(message)]
        scores[f"{name}: everything"] = score(messages, claims)
    if with_model:
        async with local.parts_for(load_settings(), {"model"}) as settings:
            model = build_model(settings, Tries.from_settings(settings, SystemClock()))
            for name in SETS:
                messages = labelled(name)
                reader = settings.openai_model or "the local model"
                scores[f"{name}: {reader}"] = score(messages, await read(Unmetered(model), messages))
            await model.aclose()
    for name, each in scores.items():
        for fault, language, said, claim in dict.fromkeys(each.wrong):
            console.print(
                f"{name}: {fault} ({language}): {said!r} -> {claim!r}", style="dim", highlight=False
            )
    console.print(table(scores))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="store_true", help="let the language model read them, too")
    given = parser.parse_args()
    asyncio.run(run(Console(width=150), with_model=given.model))
