"""The reckoning: the record against what the platforms saw."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from core.delivery.inbox import InboxState
from tests.chaos.record import Record
from tests.chaos.words import OPENING, WORD, Said, is_claim, reply_words

NEVER = float("inf")
Position = tuple[int, int]
"""Which of the chat's messages, and where in its text."""


@dataclass
class Reckoning:
    """The counts of the last line. `wrong` says in words what must not be; it is empty when all is well."""

    accepted: int = 0
    answered: int = 0
    dead: int = 0
    unknown: int = 0
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    wrong: list[str] = field(default_factory=list)

    def line(self, kills: int) -> str:
        names = ("accepted", "answered", "dead", "unknown", "lost", "doubled", "reordered")
        return " ".join([f"kills={kills}", *(f"{name}={getattr(self, name)}" for name in names)])


class Ledger:
    """Compares. `shown` gives what a chat's messages show; `digest` the record's name for an event."""

    def __init__(
        self,
        record: Record,
        said: Sequence[Said],
        shown: Callable[[str], Sequence[str]],
        digest: Callable[[str], str],
    ) -> None:
        self._record = record
        self._said = said
        self._digest = digest
        self._shown = {chat: shown(chat) for chat in {one.chat for one in said}}
        self._places = {chat: _places(texts) for chat, texts in self._shown.items()}
        self._found = Reckoning()

    def reckon(self) -> Reckoning:
        for said in self._said:
            self._reckon_one(said)
        for chat in self._shown:
            self._reckon_order(chat)
        self._reckon_strangers()
        self._reckon_lines()
        self._reckon_leftovers()
        return self._found

    def _reckon_one(self, said: Said) -> None:
        found, row = self._found, self._record.rows.get(self._digest(said.event))
        if row is None and said.acknowledged == NEVER:
            found.wrong.append(f"{said.token}: no bot ever took it")
            return
        found.accepted += 1
        if row is None:
            self._lose(said, "acknowledged, but not in the inbox")
        elif row.state == InboxState.DONE:
            found.answered += 1
            self._expect_whole(said)
        elif row.state == InboxState.DEAD:
            found.dead += 1
        elif row.state == InboxState.UNKNOWN:
            found.unknown += 1
        else:
            self._lose(said, f"still {row.state} ({row.reason}, attempts {row.attempts})")
        self._expect_once(said)
        if row is not None:
            self._expect_memory(said, row.user_id, row.state)

    def _lose(self, said: Said, why: str) -> None:
        self._found.lost += 1
        self._found.wrong.append(f"{said.token} in {said.chat}: lost, {why}")

    def _expect_whole(self, said: Said) -> None:
        places = self._places[said.chat]
        missing = [word for word in reply_words(said.token) if word not in places]
        if missing:
            self._lose(said, f"answered, but {len(missing)} words of its reply aren't shown")

    def _expect_once(self, said: Said) -> None:
        places = self._places[said.chat]
        twice = [word for word in reply_words(said.token) if len(places.get(word, ())) > 1]
        if twice:
            self._found.doubled += 1
            where = sorted({message for word in twice for message, _ in places[word]})
            self._found.wrong.append(f"{said.token} in {said.chat}: doubled, in the bot's messages {where}")

    def _expect_memory(self, said: Said, user_id: str, state: str) -> None:
        """Who was answered is in the transcript once, and what they told in memory once."""
        kept = int(state in (InboxState.DONE, InboxState.UNKNOWN))
        if (told := self._record.told.get(self._digest(said.event), 0)) != kept:
            self._found.wrong.append(f"{said.token}: {told} times in the transcript, though {state}")
        expected = int(kept and is_claim(said.token))
        if (known := self._record.memories.get((user_id, said.token), 0)) != expected:
            self._found.wrong.append(f"{said.token}: {known} memories of it instead of {expected}")

    def _reckon_order(self, chat: str) -> None:
        """Whoever was acknowledged before another was handed over is answered before."""
        here = [(said, place) for said in self._said if said.chat == chat and (place := self._first(said))]
        by_acknowledgement = sorted(here, key=lambda one: one[0].acknowledged)
        before, latest, latest_token = 0, (-1, -1), ""
        for said, place in sorted(here, key=lambda one: one[0].handed_over):
            while by_acknowledgement[before][0].acknowledged < said.handed_over:
                earlier, its_place = by_acknowledgement[before]
                if its_place > latest:
                    latest, latest_token = its_place, earlier.token
                before += 1
            if place < latest:
                self._found.reordered += 1
                self._found.wrong.append(f"{said.token} in {chat}: answered before {latest_token}")

    def _first(self, said: Said) -> Position | None:
        places = self._places[said.chat].get(reply_words(said.token)[0])
        return places[0] if places else None

    def _reckon_strangers(self) -> None:
        """No reply stands in another chat than its message's."""
        homes = {said.token: said.chat for said in self._said}
        for chat, places in self._places.items():
            strangers = {word.split("-")[0] for word in places}
            self._found.wrong += [
                f"{token}: its reply stands in {chat}" for token in strangers if homes.get(token) != chat
            ]

    def _reckon_lines(self) -> None:
        """At most one honest line for each turn that was given up or is of unknown fate."""
        lines = sum(_is_line(text) for texts in self._shown.values() for text in texts)
        if lines > self._record.turns_given_up:
            self._found.wrong.append(f"{lines} honest lines for {self._record.turns_given_up} turns")

    def _reckon_leftovers(self) -> None:
        unended = {s: n for s, n in self._record.deliveries.items() if s not in ("sent", "unknown", "failed")}
        if unended:
            self._found.wrong.append(f"deliveries without an end: {unended}")


def _is_line(text: str) -> bool:
    """Whether it is no reply of the model's, nor the beginning of one, nor the mark of a part left over."""
    return len(text) > 1 and not WORD.search(text) and not text.startswith(OPENING)


def _places(texts: Sequence[str]) -> Mapping[str, list[Position]]:
    places: dict[str, list[Position]] = {}
    for number, text in enumerate(texts):
        for word in WORD.finditer(text):
            places.setdefault(word[0], []).append((number, word.start()))
    return places


def summary(counts: Mapping[str, int]) -> str:
    """Counts in words."""
    return ", ".join(f"{name} {count}" for name, count in sorted(Counter(counts).items())) or "none"
