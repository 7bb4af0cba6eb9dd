"""Ranking: meaning, words, time and neighbourhood become one order of a person's entries."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from core.memory.lexicon import Lexicon
from core.storage.index import Neighbour

CANDIDATES = 100
"""So many are asked of the index; the last one's similarity is what unrelated texts have, too."""

WORDS_WEIGHT = 0.2
BESIDE_WEIGHT = 0.5
"""Tuned on the halves of public sets that are ours to look at: see "Ranking" in core/README.md."""
TIME_WEIGHT = 0.1
"""What was said when the question asks for it comes behind what bears on it as well, and before all else."""

LEAST_SIMILARITY = -0.05
"""What a similarity is counted from where the index holds less than it was asked for."""

UNRELATED_SPREAD = 0.06
"""How widely similarities with what has nothing to do with a question are spread around none, in the embedder
in the box. Other embedders have them higher; with those, less is left out."""
FEWEST = 12
"""With fewer entries than this, what nears a question by chance is looked for as among so many."""
FITTING_COVERAGE = 0.5
"""Who shares half of a question's weight of words fits it, whatever the index says."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry with its signals: by what its score came about, each in the score's own unit.

    `similarity` is what the index said, None for what was found by its words alone. `fits`: it is nearer to
    the question than the nearest of as many would be by chance. Others are worth showing only beside one that
    fits.
    """

    id: str
    score: float
    similarity: float | None
    meaning: float
    words: float
    time: float
    beside: float
    fits: bool

    @property
    def signals(self) -> dict[str, float | None]:
        """What the score is made of, by name."""
        return {
            "similarity": self.similarity,
            "meaning": self.meaning,
            "words": self.words,
            "time": self.time,
            "beside": self.beside,
        }


def rank(
    near: Sequence[Neighbour],
    lexicon: Lexicon,
    question: str,
    *,
    audience: str | None,
    limit: int,
    during: Sequence[tuple[datetime, datetime]] = (),
) -> list[Candidate]:
    """The best entries for a question, best first; only those that the lexicon has, of the audience.

    `near` is what the index found, best first; `during` are the whiles that the question speaks of. The score
    is how far the similarity is above what is usual, and the words' coverage, and half of the better
    neighbour's two, and a quarter of the next one's; and what stands for being of such a while.
    """
    if not len(lexicon):
        return []
    similarities = {
        place: neighbour.similarity
        for neighbour in near
        if (place := lexicon.place(neighbour.id)) is not None
    }
    usual = near[-1].similarity if len(near) >= CANDIDATES else LEAST_SIMILARITY
    allowed = lexicon.of_audience(audience)
    meaning = np.zeros(len(lexicon), dtype=np.float32)
    meaning[list(similarities)] = np.maximum(np.array([*similarities.values()], np.float32) - usual, 0)
    said = WORDS_WEIGHT * lexicon.coverage(question)
    own = (meaning + said) * allowed
    beside = BESIDE_WEIGHT * lexicon.beside(own) + BESIDE_WEIGHT**2 * lexicon.beside(own, steps=2)
    time = np.zeros(len(lexicon), dtype=np.float32)
    for begin, end in during:
        time[allowed & lexicon.during(begin, end)] = TIME_WEIGHT
    scores = (own + beside) * allowed + time
    nearest = by_chance(int(np.count_nonzero(allowed)))
    found = np.flatnonzero(scores > 0)
    return [
        Candidate(
            id=lexicon.ids[place],
            score=float(scores[place]),
            similarity=similarities.get(place),
            meaning=float(meaning[place]),
            words=float(said[place]),
            time=float(time[place]),
            beside=float(beside[place]),
            fits=bool(
                similarities.get(place, -1.0) >= nearest
                or said[place] >= WORDS_WEIGHT * FITTING_COVERAGE
                or time[place] > 0
            ),
        )
        for place in found[best_of(scores[found], limit)]
    ]


def best_of(scores: NDArray[np.float32], limit: int) -> NDArray[np.intp]:
    """The places of the best scores (n,), best first, up to so many; among equals the first ones."""
    if len(scores) > limit > 0:
        least = np.partition(scores, -limit)[-limit]
        places = np.flatnonzero(scores >= least)
    else:
        places = np.arange(len(scores))
    return places[np.argsort(-scores[places], kind="stable")[:limit]]


def by_chance(entries: int) -> float:
    """How similar to a question the most similar of so many entries is that have nothing to do with it.

    The expected largest of as many normal deviates, by Blom's approximation (1958, "Statistical Estimates and
    Transformed Beta-Variables").
    """
    among = max(entries, FEWEST)
    return UNRELATED_SPREAD * NormalDist().inv_cdf((among - 0.375) / (among + 0.25))
