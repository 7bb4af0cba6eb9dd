"""Finding words again: where a quote stands in a text, whatever is between its words."""

import re
import unicodedata
from collections.abc import Iterator

Span = tuple[int, int]
"""Where something begins in a text, and where it ends."""

UNSPACED_LETTERS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
"""Of scripts that write no spaces, as a regular expression's class has them: Thai, Lao, Burmese, Khmer,
Japanese, Chinese."""
UNSPACED = re.compile(f"[{UNSPACED_LETTERS}]")


def find_quote(quote: str, text: str) -> Span | None:
    """Where the quote's words stand in the text; case and what is between words may differ."""
    wanted = folded(quote)
    if not wanted:
        return None
    written = list(_letters(text))
    letters = "".join(letter for letter, _ in written)
    places = [place for _, place in written]
    at = letters.find(wanted)
    while at >= 0 and not (_is_edge(letters, places, at) and _is_edge(letters, places, at + len(wanted))):
        at = letters.find(wanted, at + 1)
    if at < 0:
        return None
    end = places[at + len(wanted) - 1] + 1
    while end < len(text) and text[end] in ".!%€$":
        end += 1
    return places[at], end


def folded(text: str) -> str:
    """The text's words in small letters, one blank between two; accents stand behind their letters."""
    return "".join(letter for letter, _ in _letters(text)).strip()


def word_spans(text: str) -> list[tuple[str, Span]]:
    """The text's words, folded, and where each stands in it."""
    words: list[tuple[str, Span]] = []
    word, start, end = "", 0, 0
    for letter, place in [*_letters(text), (" ", len(text))]:
        if letter != " ":
            start = start if word else place
            word, end = word + letter, place + 1
        elif word:
            words.append((word, (start, end)))
            word = ""
    return words


def _letters(text: str) -> Iterator[tuple[str, int]]:
    """The text's letters, marks and digits, folded, each with its place; a blank stands between words."""
    between = False
    for place, char in enumerate(text):
        small = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())
        kept = [c for c in small if unicodedata.category(c)[0] in "LMN"]
        if kept and between:
            yield " ", place - 1
        # Joiners and soft hyphens (Cf) stand inside words.
        between = not kept and (between or unicodedata.category(char) != "Cf")
        yield from ((c, place) for c in kept)


def _is_edge(letters: str, places: list[int], at: int) -> bool:
    """Whether a word may begin or end here: "cat" doesn't stand in "concatenate"."""
    if at in (0, len(letters)):
        return True
    if places[at - 1] == places[at]:
        return False  # amid what one character stands for
    before, after = letters[at - 1], letters[at]
    return " " in (before, after) or bool(UNSPACED.match(before) or UNSPACED.match(after))
