"""Words as they are compared: folded, split and stemmed by the language of the text."""

import re
import threading
import unicodedata
from functools import cache

import Stemmer

from core.memory.quotes import UNSPACED, UNSPACED_LETTERS

MAX_TEXT_CHARS = 8_000
"""What is read of a text: more would be somebody's document, not what they said."""

_STEMMED = {
    "ar": "arabic",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "ne": "nepali",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}
"""Snowball's stemmers by ISO 639-1."""

_WORD = re.compile(f"[{UNSPACED_LETTERS}]+|[^\\W_{UNSPACED_LETTERS}]+")

_turn = threading.Lock()
"""A stemmer must not be entered twice."""


def stems(text: str, language: str) -> list[str]:
    """The text's words in order, stemmed; of scripts that write no spaces, each two letters that touch."""
    folded = unicodedata.normalize("NFKC", text[:MAX_TEXT_CHARS]).casefold()
    words: list[str] = []
    for word in _WORD.findall(folded):
        words += _pairs(word) if UNSPACED.match(word) else [word]
    stemmer = _stemmer(_STEMMED.get(language))
    if stemmer is None:
        return words
    with _turn:
        stemmed: list[str] = stemmer.stemWords(words)
    return stemmed


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)] or [run]


@cache
def _stemmer(name: str | None) -> "Stemmer.Stemmer | None":
    # Without a cache, which would keep words that were forgotten.
    return Stemmer.Stemmer(name, 0) if name else None
