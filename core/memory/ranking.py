"""Ranking: meaning, words and neighbourhood become one order of a person's entries."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.memory.lexicon import Lexicon
from core.storage.index import Neighbour

CANDIDATES = 100
"""So many are asked of the index; the last one's similarity is what unrelated texts have, too."""

WORDS_WEIGHT = 0.2
BESIDE_WEIGHT = 0.5
"""Tuned on the halves of public sets that are ours to look at: see "Ranking" in core/README.md."""

LEAST_SIMILARITY = -0.05
"""What a similarity is counted from where the index holds less than it was asked for."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry with its signals: by what its score came about, each in the score's own unit.

    `similarity` is what the index said, None for what was found by its words alone.
    """

    id: str
    score: float
    similarity: float | None
    meaning: float
    words: float
    beside: float

    @property
    def signals(self) -> dict[str, float | None]:
        """What the score is made of, by name."""
        return {
            "similarity": self.similarity,
            "meaning": self.meaning,
            "words": self.words,
            "beside": self.beside,
        }


def rank(
    near: Sequence[Neighbour],
    lexicon: Lexicon,
    question: str,
    *,
    audience: str | None,
    limit: int,
) -> list[Candidate]:
    """The best entries for a question, best first; only those that the lexicon has, of the audience.

    `near` is what the index found, best first. The score is how far the similarity is above what is usual,
    and the words' coverage, and half of the better neighbour's two, and a quarter of the next one's.
    """
    if not len(lexicon):
        return []
    similarities = np.full(len(lexicon), np.nan, dtype=np.float32)
    for neighbour in near:
        place = lexicon.place(neighbour.id)
        if place is not None:
            similarities[place] = neighbour.similarity
    usual = near[-1].similarity if len(near) >= CANDIDATES else LEAST_SIMILARITY
    allowed = lexicon.of_audience(audience)
    meaning = np.where(allowed, np.nan_to_num(np.maximum(similarities - usual, 0)), 0).astype(np.float32)
    said = np.where(allowed, WORDS_WEIGHT * lexicon.coverage(question), 0).astype(np.float32)
    own = meaning + said
    beside = BESIDE_WEIGHT * lexicon.beside(own) + BESIDE_WEIGHT**2 * lexicon.beside(own, steps=2)
    scores = np.where(allowed, own + beside, 0)
    found = np.flatnonzero(scores > 0)
    order = found[np.argsort(-scores[found], kind="stable")[:limit]]
    return [
        Candidate(
            id=lexicon.ids[place],
            score=float(scores[place]),
            similarity=None if np.isnan(similarities[place]) else float(similarities[place]),
            meaning=float(meaning[place]),
            words=float(said[place]),
            beside=float(beside[place]),
        )
        for place in order
    ]
