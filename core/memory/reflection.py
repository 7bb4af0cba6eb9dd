"""Reflection: what a model finds when it looks through memories, taken only if these bear it out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.llm.language import language_of
from core.llm.model import ChatMessage, LanguageModel
from core.llm.structured import ask
from core.memory.claims import Claim, Derivation, Draft, Kind, Memory, Source
from core.memory.cues import cue
from core.memory.words import stems
from core.memory.write_gate import MAX_CLAIM_CHARS, MIN_SUPPORT, anchors, support

MAX_TOKENS = 600
MAX_FOUND = 8
"""Of each kind in one call."""
CONCLUDABLE = (Kind.PREFERENCE, Kind.ROUTINE, Kind.GOAL, Kind.FACT)
"""Who somebody is, who is close to them and what they ask for, only they can say."""
SHARED = 1 / 3
"""The share of a conclusion's telling words that must stand in what it is concluded from."""
CONCLUDED = 0.4
"""How surely each source says what was concluded, as with "maybe": so two are needed to believe it."""

_NUMBERS = {"type": "array", "maxItems": 10, "items": {"type": "integer"}}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["same", "conclusions"],
    "properties": {
        "same": {"type": "array", "maxItems": MAX_FOUND, "items": _NUMBERS},
        "conclusions": {
            "type": "array",
            "maxItems": MAX_FOUND,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["from", "kind", "text"],
                "properties": {
                    "from": _NUMBERS,
                    "kind": {"type": "string", "enum": [kind.value for kind in CONCLUDABLE]},
                    "text": {"type": "string"},
                },
            },
        },
    },
}

_INSTRUCTIONS = """\
You tidy up the memory of a personal assistant. Below are numbered memories of one person.

- same: groups of numbers that say the same thing in other words. Not what is only similar.
- conclusions: what two or more of the memories show together and none says alone, such as a habit or a \
taste. For each give from (their numbers), kind (preference, routine, goal or fact) and text: one short \
sentence about the person, in the language of the memories and with their words.

Conclude only what the person would agree with. Nothing about health, beliefs, politics, origin or love. \
Most of the time both lists are empty.

Example.
1 Lives in Oslo.
2 Loves running.
3 Went running in the forest before work (2026-03-02).
4 Likes running a lot.
5 Went running before breakfast (2026-03-09).
{"same": [[2, 4]], "conclusions": [{"from": [3, 5], "kind": "routine", \
"text": "Goes running before work."}]}"""


@dataclass(frozen=True, slots=True)
class Found:
    """A memory to be made, and what of."""

    draft: Draft
    group: tuple[Memory, ...]


async def reflect(model: LanguageModel, memories: Sequence[Memory], user_id: str) -> list[Found]:
    """What to make of a user's memories of one audience; the user pays.

    Raises:
        MalformedOutput: twice.
        BudgetExhausted, ModelUnavailable, ModelRefused, StreamCut: as the model says.
    """
    listed = dict(enumerate(memories, start=1))
    page = "\n".join(f"{number} {memory.text}" for number, memory in listed.items())
    prompt = [ChatMessage("system", _INSTRUCTIONS), ChatMessage("user", page)]
    answer = await ask(
        model, prompt, schema=_SCHEMA, schema_name="reflection", max_tokens=MAX_TOKENS, payer=user_id
    )
    merged = [merge(_named(group, listed)) for group in answer["same"]]
    concluded = [conclude(raw, _named(raw["from"], listed)) for raw in answer["conclusions"]]
    return [found for found in (*merged, *concluded) if found is not None]


def merge(group: Sequence[Memory]) -> Found | None:
    """One memory for those of the group that say what its fullest one says; None if there are no two.

    To say the same they must be about the same one, both say or both deny, name the same names and numbers,
    and share most words. What the person put so themselves, or pinned, or what was concluded, stays as it is.
    """
    told = [
        each
        for each in group
        if each.kind is not Kind.NOTE
        and each.derivation is not Derivation.CONCLUDED
        and not (each.is_correction or each.is_pinned)
    ]
    if not told:
        return None
    fullest = max(told, key=lambda each: (len(each.text), each.id))
    same = [each for each in told if each is fullest or say_the_same(each, fullest)]
    if len(same) < 2:
        return None
    untils = [each.valid_until for each in same]
    until = max((until for until in untils if until), default=None) if all(untils) else None
    cited = [source for each in same for source in each.sources]
    return _found(Derivation.MERGED, fullest.kind, fullest.text, same, cited, until)


def conclude(raw: Mapping[str, Any], group: Sequence[Memory]) -> Found | None:
    """What the model concludes from the group, if it rests on two messages and nothing in it is made up.

    Names and numbers must stand in what it is concluded from, and some of its words; none of these may say as
    much alone, or be a conclusion itself. Nothing is concluded about special categories of data.
    """
    text = " ".join(str(raw["text"]).split())
    told = [each for each in group if each.derivation is not Derivation.CONCLUDED and each.is_believed]
    messages = {source.message_id for each in told for source in each.sources}
    if len(told) < 2 or len(messages) < 2 or not text or len(text) > MAX_CLAIM_CHARS:
        return None
    if any(each.subject is not None for each in told):
        return None
    together = " ".join(each.text for each in told)
    if cue("special").search(f"{text}\n{together}") or not anchors(text) <= anchors(f". {together}"):
        return None
    if _denies(text) and not any(_denies(each.text) for each in told):
        return None
    shared = _stems(text) & _stems(together)
    if len(shared) < SHARED * len(_stems(text)) or any(support(text, each.text) == 1 for each in told):
        return None
    cited = [
        Source(source.message_id, source.quote, source.start, source.said_at, CONCLUDED * source.certainty)
        for each in told
        for source in each.sources
    ]
    return _found(Derivation.CONCLUDED, Kind(raw["kind"]), text, told, cited, None)


def _found(
    derivation: Derivation,
    kind: Kind,
    text: str,
    group: Sequence[Memory],
    cited: Iterable[Source],
    until: datetime | None,
) -> Found:
    """A draft about whom the group is about, since its first held, citing each place once."""
    sources = {(source.message_id, source.start): source for source in cited}
    draft = Draft(
        derivation,
        kind,
        text,
        group[0].subject,
        group[0].audience,
        min(each.valid_from for each in group),
        until,
        tuple(sources.values()),
    )
    return Found(draft, tuple(group))


def say_the_same(one: Memory | Claim, other: Memory | Claim) -> bool:
    """Whether they are about the same one, name the same names and numbers, and share most words."""
    return (
        one.subject == other.subject
        and _denies(one.text) == _denies(other.text)
        and anchors(one.text) == anchors(other.text)
        and max(support(one.text, other.text), support(other.text, one.text)) >= MIN_SUPPORT
    )


def _denies(text: str) -> bool:
    return bool(cue("negation").search(text))


def _stems(text: str) -> set[str]:
    return set(stems(text, language_of(text)))


def _named(numbers: Iterable[int], listed: Mapping[int, Memory]) -> list[Memory]:
    return [listed[number] for number in dict.fromkeys(numbers) if number in listed]
