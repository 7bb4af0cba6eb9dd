"""Reading a conversation for memories: one call to the model for many messages."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.llm.model import ChatMessage, LanguageModel
from core.llm.structured import ask
from core.llm.tokens import truncate_tokens
from core.memory.claims import Change, Claim, Kind, Memory
from core.memory.page import PAGE_TOKENS
from core.memory.transcript import Line
from core.memory.write_gate import check

MAX_TOKENS = 1_800
"""Room for all the claims: an answer cut short is malformed, and nothing of it is kept."""
MAX_CLAIMS = 20
KINDS = [kind.value for kind in Kind if kind is not Kind.NOTE]
LINE_TOKENS = 400
CONTEXT_TOKENS = 60

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["memories"],
    "properties": {
        "memories": {
            "type": "array",
            "maxItems": MAX_CLAIMS,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["message", "quote", "kind", "about", "text", "when", "change", "known"],
                "properties": {
                    "message": {"type": "integer"},
                    "quote": {"type": "string"},
                    "kind": {"type": "string", "enum": KINDS},
                    "about": {"type": "string"},
                    "text": {"type": "string"},
                    "when": {"type": "string"},
                    "change": {"type": "string", "enum": [change.value for change in Change]},
                    "known": {"type": "integer"},
                },
            },
        }
    },
}

_INSTRUCTIONS = """\
You keep the memory of a personal assistant. Read the numbered messages of one person and list what is \
worth remembering about that person for months: who they are, what they like, who is close to them, \
plans, goals, routines, lasting facts and standing instructions.

For each memory give:
- message: the number of the message that says it
- quote: the exact words of that message that say it, copied letter by letter
- kind: identity, preference, relationship, event, goal, routine, instruction or fact
- about: "me" for the person; else who, as the message names them
- text: one short sentence about the person, in the language of the message, one fact only
- when: the message's own words for the date, copied, such as "last Friday"; "" if there is none
- change: "new", or "same" if it says a known memory again, or "replaces" if that one is no longer so
- known: the number behind K of that known memory; 0 if new

Leave out questions, small talk, jokes, what is only imagined, moods of the moment, and what only the \
assistant said. Lines without a number are context and can't be quoted. Give an empty list when nothing \
is worth keeping.

Examples. K1 Lives in Rome.
[1] (2026-03-02) Hi! I'm Tom, I moved to Oslo last week and my sister Lea is a nurse.
{"memories": [{"message": 1, "quote": "I'm Tom", "kind": "identity", "about": "me", \
"text": "Is called Tom.", "when": "", "change": "new", "known": 0}, \
{"message": 1, "quote": "I moved to Oslo last week", "kind": "identity", "about": "me", \
"text": "Moved to Oslo last week.", "when": "last week", "change": "replaces", "known": 1}, \
{"message": 1, "quote": "my sister Lea is a nurse", "kind": "relationship", "about": "Lea", \
"text": "The person's sister Lea is a nurse.", "when": "", "change": "new", "known": 0}]}
[1] (2026-03-02) Thanks! Will it rain tomorrow?
{"memories": []}"""


async def extract(
    model: LanguageModel, lines: Sequence[Line], user_id: str, known: Sequence[Memory] = ()
) -> list[Claim]:
    """The claims that one user's messages among the lines support; the user pays.

    `known` are memories that these may confirm or replace. A malformed answer is asked for once more. After a
    full one the model reads on where it stopped.

    Raises:
        MalformedOutput: twice.
        BudgetExhausted, ModelUnavailable, ModelRefused, StreamCut: as the model says.
    """
    own = [line for line in lines if line.user_id == user_id and line.role == "user"]
    numbered = dict(enumerate(own, start=1))
    listed = dict(enumerate(known, start=1))
    claims: list[Claim] = []
    while numbered:
        heard = _heard(lines, numbered)
        page = [ChatMessage("system", _INSTRUCTIONS), ChatMessage("user", _page(lines, numbered, listed))]
        answer = await ask(
            model, page, schema=_SCHEMA, schema_name="memories", max_tokens=MAX_TOKENS, payer=user_id
        )
        told: list[dict[str, Any]] = answer["memories"]
        claims += [claim for raw in told if (claim := check(raw, numbered, heard, listed)) is not None]
        numbered = _unread(numbered, told)
        lines = lines[lines.index(numbered[min(numbered)]) :] if numbered else ()
    return claims


def _heard(lines: Sequence[Line], numbered: Mapping[int, Line]) -> dict[int, list[str]]:
    """What the assistant had said before each of the numbered lines."""
    said = [(place, line.text) for place, line in enumerate(lines) if line.role == "assistant"]
    places = {line.id: place for place, line in enumerate(lines)}
    return {
        number: [text for place, text in said if place < places[line.id]] for number, line in numbered.items()
    }


def _unread(numbered: dict[int, Line], told: Sequence[Mapping[str, Any]]) -> dict[int, Line]:
    """What a full answer may not have got to: from the last message that it cites, which may say more."""
    cited = [raw["message"] for raw in told if raw["message"] in numbered]
    if len(told) < MAX_CLAIMS or not cited:
        return {}
    first, last = min(numbered), max(cited)
    return {number: line for number, line in numbered.items() if number >= last and number > first}


def _page(lines: Sequence[Line], numbered: dict[int, Line], known: dict[int, Memory]) -> str:
    numbers = {line.id: number for number, line in numbered.items()}
    rows = [f"K{number} {memory.text}" for number, memory in known.items()]
    for line in lines:
        if line.id in numbers:
            day = line.said_at.date().isoformat()
            rows.append(f"[{numbers[line.id]}] ({day}) {truncate_tokens(line.text, LINE_TOKENS)}")
        elif line.role == "assistant":
            rows.append(f"Assistant: {truncate_tokens(line.text, CONTEXT_TOKENS)}")
    return truncate_tokens("\n".join(rows), PAGE_TOKENS)
