"""Addresses of the web and of mail, as they stand in a text, and who gave them."""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

SHOWN_CHARS = 200
"""A longer address is cut: nobody types it, and a platform's message could end amid its code."""

ADDRESS = re.compile(
    r"[a-z][a-z0-9+.-]{0,30}://\S+"
    r"|(?<![^\W_])(?:[\w.+-]{1,64}@)?"
    r"(?:(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,12}(?:xn--[\w-]+|[^\W\d_]{2,})|\d{1,3}(?:\.\d{1,3}){3})"
    r"(?::\d+)?(?:[/?#]\S*)?",
    re.IGNORECASE,
)
"""With a scheme, or what clients take for an address without one: `a.com`, `a.com/b`, `me@a.com`, `1.2.3.4`.

Its parts are bounded, or a text of a thousand dots would take a minute."""

_WORD = re.compile(r"\S+")
_PARTS = re.compile(r"(?:https?://|mailto:)?([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_TRAILING = ".,;:!?'\"*_~$…”’»。，、；：！？"
_BRACKETS = {")": "(", "]": "[", "}": "{", ">": "<", "）": "（", "】": "【", "」": "「"}
_AROUND = re.compile(r"[()\[\]<>\"|]")
_UNSHOWN = re.compile(r"[\s`|$]")


def addresses_in(texts: Iterable[str]) -> frozenset[str]:
    """The keys of all addresses in the texts, however they stand there: bare, in brackets, as Markdown."""
    found = (match[0] for text in texts for match in ADDRESS.finditer(text))
    ways = (way for address in found for way in (trimmed(address), _AROUND.split(address)[0]))
    return frozenset(map(key_of, ways))


def key_of(address: str) -> str:
    """What two ways to write an address have in common; its path and what follows count to the letter."""
    return _PARTS.sub(lambda found: found[1].casefold() + found[2], address, count=1).rstrip("/")


def others_in(text: str, given: frozenset[str]) -> Iterator[tuple[int, int]]:
    """Where in the text addresses stand whose keys aren't among the given ones."""
    for word in _WORD.finditer(text):
        if "." not in word[0] and "://" not in word[0]:
            continue  # most words: to look closer would take ten times as long
        for match in ADDRESS.finditer(text, *word.span()):
            address = trimmed(match[0])
            if key_of(address) not in given:
                yield match.start(), match.start() + len(address)


def trimmed(address: str) -> str:
    """Without the punctuation of the sentence that it stands in."""
    while address:
        last = address[-1]
        opening = _BRACKETS.get(last)
        if last not in _TRAILING and not (opening and address.count(last) > address.count(opening)):
            break
        address = address[:-1]
    return address


def as_code(address: str) -> str:
    """How an address is shown that nobody gave: no client makes a link of code."""
    shown = address if len(address) <= SHOWN_CHARS else address[:SHOWN_CHARS] + "…"
    return "`" + _UNSHOWN.sub(lambda found: quote(found[0]), shown) + "`"
