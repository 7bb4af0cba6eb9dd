"""When messages fell due, when their replies arrived, and how much of the time between was the bot's own."""

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

MARK = re.compile(r"m(\d+)z")
"""What every message of the crowd holds once, and its reply repeats."""


def marked(number: int) -> str:
    """The mark of a message."""
    return f"m{number}z"


def marks(text: str) -> list[int]:
    """The numbers of the messages that a text speaks of."""
    return [int(number) for number in MARK.findall(text)]


@dataclass(slots=True)
class Asked:
    """One message; times are `time.monotonic()` seconds."""

    conversation: int
    due: float
    heard: float | None = None


class Ledger:
    """What the crowd asked and what the stand-ins heard.

    A message's own time is `heard - due`, less every moment at which a stand-in was at work for its
    conversation. `heard`: the first call that shows the message's mark reached the platform. `due`: the
    moment the schedule had for its webhook request; one that is late, or waits for a connection, waits on our
    account.
    """

    def __init__(self) -> None:
        self._asked: dict[int, Asked] = {}
        self._waiting: dict[int, Asked] = {}
        self._work: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)

    def clear(self) -> None:
        """Forgets everything; what is heard of it afterwards counts for nothing."""
        for notes in (self._asked, self._waiting, self._work):
            notes.clear()

    def ask(self, number: int, conversation: int, due: float) -> None:
        self._asked[number] = self._waiting[number] = Asked(conversation, due)

    def hear(self, numbers: Iterable[int], at: float) -> None:
        """These messages' replies can be seen."""
        for number in numbers:
            if (asked := self._waiting.pop(number, None)) is not None:
                asked.heard = at

    def worked(self, conversation: int, began: float, ended: float) -> None:
        """A stand-in was at work for the conversation."""
        self._work[conversation].append((began, ended))

    def conversation_of(self, numbers: Sequence[int]) -> int | None:
        """Where these messages were written, if it is known."""
        return next((self._asked[number].conversation for number in numbers if number in self._asked), None)

    @property
    def asked(self) -> int:
        return len(self._asked)

    @property
    def unanswered(self) -> int:
        return len(self._waiting)

    def longest_wait_seconds(self) -> float:
        """How long the oldest unanswered message has waited."""
        oldest = next(iter(self._waiting.values()), None)
        return 0.0 if oldest is None else time.monotonic() - oldest.due

    def own_seconds(self) -> list[float]:
        """The own times of all that was answered, shortest first."""
        return sorted(
            asked.heard - asked.due - _covered(self._work[asked.conversation], asked.due, asked.heard)
            for asked in self._asked.values()
            if asked.heard is not None
        )


def _covered(spans: Iterable[tuple[float, float]], begin: float, end: float) -> float:
    """How much of the time from `begin` to `end` lies within any of the spans."""
    covered, upto = 0.0, begin
    for began, ended in sorted(spans):
        began, ended = max(began, upto), min(ended, end)
        if ended > began:
            covered += ended - began
            upto = ended
    return covered


def share(values: Sequence[float], percent: float) -> float:
    """The value that so many percent of the sorted values don't exceed (nearest rank); 0 of none."""
    return values[max(1, ceil(len(values) * percent / 100)) - 1] if values else 0.0
