"""How near a reply comes to the very words of something that was told."""

import re
from collections.abc import Iterator, Sequence, Set
from typing import NamedTuple

from core.llm.tokens import surprise
from core.memory.cues import cue
from core.memory.quotes import UNSPACED
from core.memory.words import MAX_TEXT_CHARS, stems

SHARE = 0.7
"""So much of a sentence, or of a part of one, a reply says in its order that tells it near to verbatim."""
LOOSE_WORDS = 3
"""So many words, and half as many as it has itself, may stand between."""
MOST_WORDS = 60
"""Of a longer sentence its beginning is compared."""
LEAST_BITS = 0.3
"""What the most common words weigh."""
TELLING_BITS = 3.0
"""A word that weighs as much tells something."""
PAIR_BITS = 3.0
"""Two letters that touch, where no spaces are written between words."""
NUMBER_BITS = 8.0
SPECIAL_BITS = 4.0

_SENTENCE = re.compile(r"(?<=[.!?…])\s+|[\n。！？]+")
_CLAUSE = re.compile(r"[,;:、，；：]\s*|\s[-–—]\s")
_NUMBER = re.compile(r"\d{4,}")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")


class Word(NamedTuple):
    """A word as it is compared, and what it weighs, in bits."""

    stem: str
    bits: float


def words_of(text: str, language: str) -> list[str]:
    """The stems of the text's words in order, however long it is."""
    return [stem for piece in _pieces(text) for stem in stems(piece, language)]


def weighed(text: str, language: str) -> list[Word]:
    """The text's words, each with its weight."""
    return [
        Word(stem, _bits(word))
        for piece in _pieces(text)
        for stem, word in zip(stems(piece, language), stems(piece, ""), strict=True)
    ]


def tells(reply: Sequence[str], told: str, language: str, heard: Set[str], *, least_bits: float) -> bool:
    """Whether the reply's words say near to verbatim a sentence, or a part of one, of what was told.

    Only what weighs enough counts, since ordinary speech has what weighs less in common with anything; what
    the law holds especially private weighs more. A telling word must be new to those who `heard` others.
    """
    said = set(reply)
    for part in _parts(told):
        # "Yes, 7391" tells of the locker's code those who have heard what was asked.
        words = [word for word in weighed(part, language) if word.stem in said or word.stem not in heard]
        words = words[:MOST_WORDS]
        least = SHARE * sum(word.bits for word in words)
        if sum(word.bits for word in words if word.stem in said) < least:
            continue
        enough = least_bits - SPECIAL_BITS * bool(cue("special").search(part))
        for common in _alike(reply, words, max(least, enough)):
            if any(word.bits >= TELLING_BITS and word.stem not in heard for word in common):
                return True
    return False


def _pieces(text: str) -> Iterator[str]:
    plain = _INVISIBLE.sub("", text)
    return (plain[at : at + MAX_TEXT_CHARS] for at in range(0, len(plain), MAX_TEXT_CHARS))


def _bits(word: str) -> float:
    if UNSPACED.match(word):
        return PAIR_BITS
    return NUMBER_BITS if _NUMBER.fullmatch(word) else max(LEAST_BITS, surprise(word))


def _parts(told: str) -> Iterator[str]:
    for sentence in _SENTENCE.split(told):
        yield from {sentence, *_CLAUSE.split(sentence)}


def _alike(reply: Sequence[str], words: Sequence[Word], least: float) -> Iterator[list[Word]]:
    """What places of the reply have in common with the words, in their order, if it weighs enough."""
    wanted = {word.stem for word in words}
    reach = len(words) + len(words) // 2 + LOOSE_WORDS
    for at, stem in enumerate(reply):
        if stem not in wanted:
            continue
        near = reply[at : at + reach]
        there = wanted.intersection(near)
        if sum(word.bits for word in words if word.stem in there) < least:
            continue  # whatever their order
        common = _common(near, words)
        if sum(word.bits for word in common) >= least:
            yield common


def _common(near: Sequence[str], words: Sequence[Word]) -> list[Word]:
    """The weightiest sequence of words that stands in both."""
    best: list[tuple[float, list[Word]]] = [(0.0, [])] * (len(words) + 1)
    for stem in near:
        before, best = best, [(0.0, [])]
        for at, word in enumerate(words):
            longest = max(before[at + 1], best[at], key=lambda found: found[0])
            if stem == word.stem and before[at][0] + word.bits > longest[0]:
                longest = (before[at][0] + word.bits, [*before[at][1], word])
            best.append(longest)
    return best[-1][1]
