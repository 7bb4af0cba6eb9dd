"""Vectors at hand: those of who talks now, as the index has them, held so that asking them is a product."""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from core.memory.lexicon import Lexicon
from core.memory.lexicons import let_go
from core.memory.ranking import best_of
from core.storage.index import Entry, MemoryIndex, Neighbour

Vectors = NDArray[np.float32]

LEAST_ROWS = 16
LEVELS = 127
"""A number is held as one of so many steps to either side: of a cosine that is less than 0.001."""
ABSENT_SECONDS = 10.0
UNSETTLED_SECONDS = 1.0
"""What the index doesn't have, such as what isn't believed yet, isn't asked for with every question; sooner
where it is about to get it."""


@dataclass(slots=True)
class _Held:
    """One user's vectors, each at its entry's place in the lexicon: `steps` (n, d) times `scales` (n,).

    A scale is 0 where there is none. `put`: what the index was told since; `absent`: what it didn't have when
    it was asked last.
    """

    lexicon: Lexicon
    steps: NDArray[np.int8]
    scales: Vectors
    put: dict[str, Vectors] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    ask_again_at: float = 0.0

    def make_room(self, rows: int) -> None:
        if rows > len(self.scales):
            more = max(LEAST_ROWS, rows + rows // 4) - len(self.scales)
            self.steps = np.concatenate([self.steps, np.zeros((more, self.steps.shape[1]), np.int8)])
            self.scales = np.concatenate([self.scales, np.zeros(more, np.float32)])

    def take(self, entry_id: str, vector: Vectors) -> None:
        place = self.lexicon.place(entry_id)
        largest = np.abs(vector).max()
        if place is not None and place < len(self.scales) and largest > 0:
            self.steps[place] = np.rint(vector * (LEVELS / largest))
            self.scales[place] = largest / LEVELS / np.linalg.norm(vector)

    def missing(self) -> list[str]:
        return [self.lexicon.ids[place] for place in np.flatnonzero(self.scales[: len(self.lexicon)] == 0)]

    def lacks(self) -> bool:
        """Whether the index should be asked for something."""
        missing = self.missing()
        return not self.absent.issuperset(missing) or (bool(missing) and monotonic() >= self.ask_again_at)

    def similarities(self, query: Vectors, count: int) -> Vectors:
        """Of the first entries, (count,)."""
        found: Vectors = (self.steps[:count].astype(np.float32) @ query) * self.scales[:count]
        return found


class AtHand:
    """Finds neighbours among the entries of a lexicon, which says what is remembered.

    Whenever something is taken back, a user's lexicon is made anew (see `Lexicons`), and the vectors with it.
    """

    def __init__(self, index: MemoryIndex, *, kept_bytes: int) -> None:
        """`kept_bytes`: for all users together; who was silent for the longest is let go first."""
        self._index = index
        self._kept_bytes = kept_bytes
        self._held: OrderedDict[str, _Held] = OrderedDict()

    def near(
        self, user: str, query: Vectors, lexicon: Lexicon, *, audience: str | None, limit: int
    ) -> list[Neighbour] | None:
        """The entries nearest to the query (d,), best first; similarities are cosines times its length.

        None where vectors have to be fetched first.
        """
        held = self._of_user(user, lexicon, len(query))
        if held.lacks():
            return None
        similarities = held.similarities(query, len(lexicon))
        places = np.flatnonzero((held.scales[: len(lexicon)] > 0) & lexicon.of_audience(audience))
        best = places[best_of(similarities[places], limit)]
        return [Neighbour(lexicon.ids[place], float(similarities[place])) for place in best]

    async def fetch(
        self, user: str, lexicon: Lexicon, unsettled: Collection[str], *, dimensions: int, alone: bool
    ) -> None:
        """Fetches what the index has of the lexicon and isn't held yet.

        `unsettled`: entries of which the index may still have an old vector; they aren't taken.

        Raises:
            IndexUnavailable, IndexMismatch: it couldn't be asked.
        """
        held = self._of_user(user, lexicon, dimensions)
        missing = held.missing()
        wanted = [id for id in missing if id not in unsettled]
        fetched = await self._index.entries(user, wanted, alone=alone)
        for entry in fetched:
            held.take(entry.id, entry.vector)
        held.absent = frozenset(missing) - {entry.id for entry in fetched}
        soon = held.absent & frozenset(unsettled)
        held.ask_again_at = monotonic() + (UNSETTLED_SECONDS if soon else ABSENT_SECONDS)
        let_go(self._held, lambda each: each.steps.nbytes, self._kept_bytes)

    def put(self, user: str, entries: Sequence[Entry]) -> None:
        """Notes what was put into the index just now, so that it needn't be fetched."""
        if user in self._held:
            self._held[user].put |= {entry.id: entry.vector for entry in entries}

    def _of_user(self, user: str, lexicon: Lexicon, dimensions: int) -> _Held:
        held = self._held.pop(user, None)
        if held is None or held.lexicon is not lexicon:
            held = _Held(lexicon, np.zeros((0, dimensions), np.int8), np.zeros(0, np.float32))
        self._held[user] = held
        held.make_room(len(lexicon))
        for entry_id in [id for id in held.put if lexicon.place(id) is not None]:
            held.take(entry_id, held.put.pop(entry_id))
        return held
