"""Reading a conversation for memories: one call to the model for many messages."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from core.errors import MalformedOutput
from core.llm.model import ChatMessage, LanguageModel
from core.llm.tokens import truncate_tokens
from core.memory.claims import Claim, Kind
from core.memory.page import PAGE_TOKENS
from core.memory.transcript import Line
from core.memory.write_gate import check

MAX_TOKENS = 1_600
"""Room for all the claims: an answer cut short is malformed, and nothing of it is kept."""
MAX_CLAIMS = 24
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
                "required": ["message", "quote", "kind", "text"],
                "properties": {
                    "message": {"type": "integer"},
                    "quote": {"type": "string"},
                    "kind": {"type": "string", "enum": [kind.value for kind in Kind]},
                    "text": {"type": "string"},
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
- text: one short sentence about the person, in the language of the message, one fact only

Leave out questions, small talk, moods of the moment, and what only the assistant said. \
Lines without a number are context and can't be quoted. Give an empty list when nothing is worth keeping.

Examples. [1] Hi! I'm Tom and my sister Lea moved to Oslo.
{"memories": [{"message": 1, "quote": "I'm Tom", "kind": "identity", "text": "Is called Tom."}, \
{"message": 1, "quote": "my sister Lea moved to Oslo", "kind": "relationship", \
"text": "Has a sister, Lea, who moved to Oslo."}]}
[1] Thanks! Will it rain tomorrow?
{"memories": []}"""


async def extract(model: LanguageModel, lines: Sequence[Line], user_id: str) -> list[Claim]:
    """The claims that one user's messages among the lines support; the user pays.

    A malformed answer is asked for once more. After a full one the model reads on where it stopped.

    Raises:
        MalformedOutput: twice.
        BudgetExhausted, ModelUnavailable, ModelRefused, StreamCut: as the model says.
    """
    own = [line for line in lines if line.user_id == user_id and line.role == "user"]
    numbered = dict(enumerate(own, start=1))
    claims: list[Claim] = []
    while numbered:
        told = await _read(model, _page(lines, numbered), user_id)
        claims += [claim for raw in told if (claim := check(raw, numbered)) is not None]
        numbered = _unread(numbered, told)
        lines = lines[lines.index(numbered[min(numbered)]) :] if numbered else ()
    return claims


def _unread(numbered: dict[int, Line], told: Sequence[Mapping[str, Any]]) -> dict[int, Line]:
    """What a full answer may not have got to: from the last message that it cites, which may say more."""
    cited = [raw["message"] for raw in told if raw["message"] in numbered]
    if len(told) < MAX_CLAIMS or not cited:
        return {}
    first, last = min(numbered), max(cited)
    return {number: line for number, line in numbered.items() if number >= last and number > first}


async def _read(model: LanguageModel, page: str, payer: str) -> list[dict[str, Any]]:
    prompt = [ChatMessage("system", _INSTRUCTIONS), ChatMessage("user", page)]
    ask = partial(
        model.structured, prompt, schema=_SCHEMA, schema_name="memories", max_tokens=MAX_TOKENS, payer=payer
    )
    try:
        answer = await ask()
    except MalformedOutput:
        answer = await ask()
    told: list[dict[str, Any]] = answer["memories"]
    return told


def _page(lines: Sequence[Line], numbered: dict[int, Line]) -> str:
    numbers = {line.id: number for number, line in numbered.items()}
    rows = []
    for line in lines:
        if line.id in numbers:
            day = line.said_at.date().isoformat()
            rows.append(f"[{numbers[line.id]}] ({day}) {truncate_tokens(line.text, LINE_TOKENS)}")
        elif line.role == "assistant":
            rows.append(f"Assistant: {truncate_tokens(line.text, CONTEXT_TOKENS)}")
    return truncate_tokens("\n".join(rows), PAGE_TOKENS)
