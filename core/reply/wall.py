"""The wall around a prompt: what it was gathered from is held against the record before a model sees it.

Recall, card and window are each asked for with the audience already; here a fault in one of them is caught.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from core.delivery.conversations import Conversation
from core.memory.changes import memory_entry, message_entry
from core.memory.claims import CardRow
from core.memory.recall import SAID, Recall, Recalled
from core.memory.transcript import Line
from core.privacy.audience import Origin, may_read

Origins = Mapping[str, Collection[Origin]]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a prompt is made of."""

    summary: str
    window: Sequence[Line]
    card: Sequence[CardRow]
    recall: Recall


@dataclass(frozen=True, slots=True)
class KeptOut:
    """Something that didn't belong before its audience: `part` is what it was to be of, `id` what it is."""

    part: str
    id: str


def recalled_entry(recalled: Recalled) -> str:
    """The index's id of what was recalled."""
    return message_entry(recalled.id) if recalled.kind == SAID else memory_entry(recalled.id)


def within(
    gathered: Gathered, user_id: str, conversation: Conversation, origins: Origins
) -> tuple[Gathered, list[KeptOut]]:
    """What of it may stand before those who read the conversation while this user talks there, and the rest.

    `origins`: of what is recalled and on the card, by the index's ids; what has none is forgotten by now.
    """

    def belongs(found: Collection[Origin]) -> bool:
        if any(origin.is_opening and origin.audience == conversation.audience for origin in found):
            return all(origin.owner == user_id for origin in found)
        heard = [origin for origin in found if not origin.is_opening]
        return bool(heard) and all(may_read(origin, user_id, conversation.audience) for origin in heard)

    def stands(entry: str) -> bool:
        return belongs(origins.get(entry, ()))

    own = [Origin(conversation.owner, conversation.audience)]
    summary = gathered.summary if belongs(own) else ""
    window = [line for line in gathered.window if belongs([Origin(line.user_id, line.audience)])]
    card = [row for row in gathered.card if stands(memory_entry(row.id))]
    recalled = tuple(each for each in gathered.recall.memories if stands(recalled_entry(each)))
    kept_out = [
        *([KeptOut("summary", conversation.id)] if summary != gathered.summary else []),
        *(KeptOut("window", line.id) for line in gathered.window if line not in window),
        *(KeptOut("card", row.id) for row in gathered.card if row not in card),
        *(KeptOut("recall", each.id) for each in gathered.recall.memories if each not in recalled),
    ]
    return Gathered(summary, window, card, replace(gathered.recall, memories=recalled)), kept_out
