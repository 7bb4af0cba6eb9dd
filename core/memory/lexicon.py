"""The words of what one person said, held in memory: which entries share a question's rare ones."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.llm.language import UNKNOWN, language_of
from core.memory.words import stems

Scores = NDArray[np.float32]

K1, B = 1.2, 0.75
"""BM25's usual constants (Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework", 3.3)."""

COMMON_SHARE = 0.1
COMMON_ENTRIES = 5
"""A word in more than a tenth of what somebody says, and in more than five entries, tells nothing apart: so
no list of stop words is needed, in any language."""

ALIKE_SHARE = 0.5
LONG_WORDS = 12
MOST_ALIKE = 32
"""A text is alike to an entry that has half of its words in it, or half of the first so many's number."""

SITTING = timedelta(hours=1)
"""What is said within it, one after the other, belongs together."""


class Lexicon:
    """BM25 over one user's entries, when they were said, and beside each other. Entries are only added."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._places: dict[str, int] = {}
        self._audiences: dict[str, int] = {}
        self._shown_to = array("i")
        self._languages: Counter[str] = Counter()
        self._lengths = array("i")
        self._words = 0
        self._times = array("d")
        self._before = array("i")
        self._after = array("i")
        self._newest: dict[str, tuple[int, datetime]] = {}
        self._postings: defaultdict[str, tuple[array[int], array[int]]] = defaultdict(
            lambda: (array("i"), array("i"))
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, entry_id: str) -> bool:
        return entry_id in self._places

    @property
    def _usual_language(self) -> str:
        return self._languages.most_common(1)[0][0] if self._languages else UNKNOWN

    def place(self, entry_id: str) -> int | None:
        """The entry's place in every array of scores."""
        return self._places.get(entry_id)

    def add(
        self, entry_id: str, text: str, audience: str, at: datetime | None = None, conversation: str = ""
    ) -> None:
        """Adds an entry; `at` is when a message was said, or since when a memory holds.

        In its `conversation` a message is no earlier than the one added before it.
        """
        language = language_of(text, usual=self._usual_language)
        self._languages[language] += 1
        words = stems(text, language)
        place = len(self.ids)
        self.ids.append(entry_id)
        self._places[entry_id] = place
        self._shown_to.append(self._audiences.setdefault(audience, len(self._audiences)))
        self._lengths.append(len(words))
        self._words += len(words)
        self._times.append(at.timestamp() if at else nan)
        self._before.append(-1)
        self._after.append(-1)
        for word, count in Counter(words).items():
            places, counts = self._postings[word]
            places.append(place)
            counts.append(count)
        if at is not None and conversation:
            self._seat(place, conversation, at)

    def _seat(self, place: int, conversation: str, said_at: datetime) -> None:
        neighbour, when = self._newest.get(conversation, (-1, said_at))
        if neighbour >= 0 and said_at - when <= SITTING:
            self._before[place] = neighbour
            self._after[neighbour] = place
        self._newest[conversation] = (place, said_at)

    def of_audience(self, audience: str | None) -> NDArray[np.bool_]:
        """Which entries may be shown to the audience, (n,); all where it is None."""
        if audience is None:
            return np.ones(len(self), dtype=np.bool_)
        shown_to = np.frombuffer(self._shown_to, dtype=np.int32)
        return np.asarray(shown_to == self._audiences.get(audience, -1))

    def words_told_to(self, audience: str, words: Collection[str]) -> set[str]:
        """Those of the stemmed words that an entry of just this audience has."""
        shown = self.of_audience(audience)
        return {word for word in words if shown[self._found(word)[0]].any()}

    def told_elsewhere(
        self, audience: str, words: Mapping[str, float], others: Collection[str], telling: Collection[str]
    ) -> dict[str, float]:
        """Entries of other audiences that largely consist of these words, and their weight, heaviest first.

        `words` are stems with their weights; `others` count as well, but weigh nothing. Each entry has one of
        the `telling` ones. Of a long entry a part is enough. At most `MOST_ALIKE`.
        """
        shared, weights = np.zeros(len(self), np.int32), np.zeros(len(self), np.float32)
        tells = np.zeros(len(self), np.bool_)
        for word in words.keys() | others:
            places, _ = self._found(word)
            shared[places] += 1
            weights[places] += words.get(word, 0.0)
            tells[places] |= word in telling
        parts = shared / np.clip(np.frombuffer(self._lengths, dtype=np.int32), 1, LONG_WORDS)
        alike = np.flatnonzero(tells & ~self.of_audience(audience) & (parts >= ALIKE_SHARE))
        best = alike[np.argsort(-weights[alike], kind="stable")[:MOST_ALIKE]]
        return {self.ids[place]: float(weights[place]) for place in best}

    def during(self, begin: datetime, end: datetime) -> NDArray[np.bool_]:
        """Which entries were said, or began to hold, between these moments, (n,)."""
        times = np.frombuffer(self._times, dtype=np.float64)
        return np.asarray((times >= begin.timestamp()) & (times <= end.timestamp()))

    def coverage(self, question: str) -> Scores:
        """How much of the question's weight each entry carries, (n,), from 0 to about 2.

        Okapi BM25 divided by the sum of the question's inverse document frequencies: 1 is an entry of usual
        length that has each of its telling words once.
        """
        total = len(self)
        scores = np.zeros(total, dtype=np.float32)
        if not total:
            return scores
        lengths = np.frombuffer(self._lengths, dtype=np.int32)
        mean_length = max(self._words / total, 1.0)
        weight = 0.0
        for word in set(stems(question, language_of(question, usual=self._usual_language))):
            places, counts = self._found(word)
            if len(places) > max(COMMON_SHARE * total, COMMON_ENTRIES):
                continue
            rarity = float(np.log1p((total - len(places) + 0.5) / (len(places) + 0.5)))
            weight += rarity
            saturation = counts + K1 * (1 - B + B * lengths[places] / mean_length)
            scores[places] += rarity * counts * (K1 + 1) / saturation
        if weight:
            scores /= np.float32(weight)
        return scores

    def _found(self, word: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        places, counts = self._postings[word] if word in self._postings else (array("i"), array("i"))
        return np.frombuffer(places, dtype=np.int32), np.frombuffer(counts, dtype=np.int32)

    def beside(self, scores: Scores, *, steps: int = 1) -> Scores:
        """Of each entry the better score of what was said so many steps before or after, (n,), at least 0."""
        best = np.zeros(len(self), dtype=np.float32)
        # From those that have a score to their neighbours, not the other way round: they are few among many.
        scored = np.flatnonzero(scores > 0)
        for side in (self._before, self._after):
            step = np.frombuffer(side, dtype=np.int32)
            places: NDArray[np.signedinteger[Any]] = scored
            values = scores[scored]
            for _ in range(steps):
                places = step[places]
                places, values = places[places >= 0], values[places >= 0]
            np.maximum.at(best, places, values)
        return best
