"""The write gate: what a model says it read becomes a memory only if the person really wrote it (P3)."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from core.memory.claims import Claim, Kind
from core.memory.transcript import Line, said_from

MAX_CLAIM_CHARS = 300
MIN_SUPPORT = 0.5
"""The share of a claim's telling words that must stand in the message it cites."""
CONFIDENCE_SAID = 0.9
"""The person said so in these words; nobody has confirmed it yet."""

STEM_LETTERS = 4
"""The first letters stand for the word: "allergic" and "allergy" are one to a reader."""
_ABOUT = frozenset(
    "a an and are called for from had has have he her his is it its does lived lives likes name named old "
    "said she that the their them they this to user uses was with year years".split()
)
"""Words that a claim in the third person adds to what was said."""

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
)
"""Letters of scripts that write no spaces: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""


def check(raw: Mapping[str, Any], lines: Mapping[int, Line]) -> Claim | None:
    """The claim, if its quote stands in the user's own message of that number and carries what it says.

    `raw` has message (int), quote, kind and text; `lines` are the user's messages by their number.
    """
    line = lines.get(raw["message"])
    text = " ".join(str(raw["text"]).split())
    if line is None or not text or len(text) > MAX_CLAIM_CHARS:
        return None
    span = find_quote(str(raw["quote"]), line.text)
    if span is None or not said_from(line.text, span[0]) or not _supported(text, line.text):
        return None
    return Claim(Kind(raw["kind"]), text, line, *span, confidence=CONFIDENCE_SAID)


def find_quote(quote: str, text: str) -> tuple[int, int] | None:
    """Where the quote's words stand in the text, (start, end); case and what is between words may differ."""
    wanted = _folded(quote)
    if not wanted:
        return None
    written = list(_letters(text))
    folded = "".join(letter for letter, _ in written)
    places = [place for _, place in written]
    at = folded.find(wanted)
    while at >= 0 and not (_is_edge(folded, places, at) and _is_edge(folded, places, at + len(wanted))):
        at = folded.find(wanted, at + 1)
    if at < 0:
        return None
    end = places[at + len(wanted) - 1] + 1
    while end < len(text) and text[end] in ".!%€$":
        end += 1
    return places[at], end


def _letters(text: str) -> Iterator[tuple[str, int]]:
    """The text's letters, marks and digits, folded, each with its place; a blank stands between words."""
    between = False
    for place, char in enumerate(text):
        folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())
        kept = [c for c in folded if unicodedata.category(c)[0] in "LMN"]
        if kept and between:
            yield " ", place - 1
        # Joiners and soft hyphens (Cf) stand inside words.
        between = not kept and (between or unicodedata.category(char) != "Cf")
        yield from ((c, place) for c in kept)


def _folded(text: str) -> str:
    return "".join(letter for letter, _ in _letters(text)).strip()


def _is_edge(folded: str, places: list[int], at: int) -> bool:
    """Whether a word may begin or end here: "cat" doesn't stand in "concatenate"."""
    if at in (0, len(folded)):
        return True
    if places[at - 1] == places[at]:
        return False  # amid what one character stands for
    before, after = folded[at - 1], folded[at]
    return " " in (before, after) or bool(_UNSPACED.match(before) or _UNSPACED.match(after))


def _supported(claim: str, message: str) -> bool:
    said = " " + _stripped(message)
    words = _stripped(claim).split()
    numbers = {word for word in words if sum(c.isdecimal() for c in word) > 1}
    if not all(f" {number} " in said + " " for number in numbers):
        return False
    names = {_stripped(word) for word in claim.split()[1:] if word[:1].isupper()}
    telling = {word for word in words if len(word) >= STEM_LETTERS or word in names} - _ABOUT - numbers
    telling = telling or {word for word in words if len(word) > 1} - _ABOUT - numbers
    if not telling:
        return bool(numbers)
    return sum(_is_begun(word[:STEM_LETTERS], said) for word in telling) / len(telling) >= MIN_SUPPORT


def _stripped(text: str) -> str:
    """Folded, and without accents: "Tochter" stands in "Töchter"."""
    return "".join(c for c in _folded(text) if unicodedata.category(c)[0] != "M")


def _is_begun(stem: str, said: str) -> bool:
    return f" {stem}" in said or (bool(_UNSPACED.match(stem)) and stem in said)
