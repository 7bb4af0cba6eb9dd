"""Links in a reply: only what the person gave themselves stays one, and no picture stays.

Whatever a model was made to write, by a text that it was given to read, say: no client fetches a picture
whose address holds what was said, and no click sends it there. A link's words stay, and its address as code.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import pyromark
from pyromark import Options

from core.reply.addresses import as_code, key_of, others_in, trimmed

PICTURE = "(picture)"
ROUNDS = 8
"""Taking one thing out may make another of what stood beside it."""

_PARSERS = (
    Options(0),
    Options.ENABLE_TABLES | Options.ENABLE_STRIKETHROUGH | Options.ENABLE_TASKLISTS | Options.ENABLE_MATH,
)
"""Channels don't read Markdown all alike: an address has to be safe either way."""
_FENCE = re.compile(rb"\s*(?:`{3,}|~{3,})(?P<info>[^\n]*)")
_INLINE = frozenset({"Emphasis", "Strong", "Strikethrough"})

Edit = tuple[int, int, str]
"""Start and end in the UTF-8 source, and what stands there instead."""


def without_links(text: str, given: frozenset[str]) -> str:
    """The Markdown without pictures, and with no address as a link but the `given` ones (`addresses_in`)."""
    source = text.encode("utf-8", "replace")
    for _ in range(ROUNDS):
        before = source
        for options in _PARSERS:
            source = _edited(source, _Reading(source, options, given).edits())
        if source == before:
            return source.decode()
    # It resists: as one block of code it is harmless.
    return "```\n" + text.replace("`", "'") + "\n```"


def _edited(source: bytes, edits: Iterable[Edit]) -> bytes:
    """The source with the edits made; one that lies across another waits for the next round."""
    made, end = [], 0
    for start, stop, instead in sorted(edits):
        if start >= end:
            made.append(source[end:start] + instead.encode())
            end = stop
    return b"".join([*made, source[end:]])


class _Shown:
    """Text as it will be shown in one go, and where each of its pieces stands in the source."""

    def __init__(self) -> None:
        self.text = ""
        self._pieces: list[tuple[int, int, int, bool]] = []

    def add(self, text: str, source: bytes, start: int, end: int) -> None:
        as_it_stands = source[start:end] == text.encode()
        self._pieces.append((len(self.text), start, end, as_it_stands))
        self.text += text

    def part(self) -> None:
        """What stands before and what comes after aren't read as one."""
        self.text += "\n"

    def place(self, at: int) -> tuple[int, int]:
        """Where the character stands; one that is written as an entity, with the whole of that."""
        begin, start, end, as_it_stands = self._pieces[bisect_right(self._pieces, at, key=itemgetter(0)) - 1]
        if not as_it_stands:
            return start, end
        start += len(self.text[begin:at].encode())
        return start, start + len(self.text[at].encode())


@dataclass(slots=True)
class _Span:
    """A link or a picture; `first` and `last` are where what it shows begins and ends."""

    address: str
    start: int
    end: int
    is_given: bool
    first: int | None = None
    last: int = 0


class _Reading:
    """One reading of a source, and what has to be changed in it."""

    def __init__(self, source: bytes, options: Options, given: frozenset[str]) -> None:
        self._source = source
        self._options = options
        self._given = given
        self._spans: list[_Span] = []
        self._shown = _Shown()
        self._code_block = ""
        self._indented: list[tuple[str, int]] = []
        self._begins_of_code: set[int] = set()
        self._ends_of_code: set[int] = set()

    def edits(self) -> Iterator[Edit]:
        text = self._source.decode()
        for definition in pyromark.reference_definitions(text, options=self._options).values():
            if not self._is_given(definition["dest"]):
                yield self._escape(definition["span"]["start"], "[")
        for event, place in pyromark.events_with_range(text, options=self._options):
            yield from self._read(event, place["start"], place["end"])
        yield from self._of_shown()

    def _is_given(self, address: str) -> bool:
        return key_of(trimmed(address)) in self._given

    def _escape(self, start: int, sign: str) -> Edit:
        at = self._source.index(sign.encode(), start)
        return at, at, "\\"

    def _read(self, event: Any, start: int, end: int) -> Iterator[Edit]:
        match event:
            case {"Start": {"Link": dict(link)}} | {"Start": {"Image": dict(link)}}:
                self._stretch(start, end)
                is_given = "Link" in event["Start"] and self._is_given(link["dest_url"])
                self._spans.append(_Span(link["dest_url"], start, end, is_given))
            case {"End": "Link" | "Image" as kind}:
                yield from self._of_span(self._spans.pop(), is_picture=kind == "Image")
            case {"Start": str(kind)} | {"End": str(kind)} if kind in _INLINE:
                self._stretch(start, end)
            case {"Start": {"CodeBlock": kind}}:
                yield from self._of_shown()
                self._code_block = "indented" if kind == "Indented" else "fenced"
                yield from self._of_fence(start, end)
            case {"Start": _}:
                yield from self._of_shown()
            case {"End": _}:
                yield from self._of_shown()
                yield from self._of_indented()
                self._code_block = ""
            case {"Text": str(text)} if self._code_block:
                if self._code_block == "indented":
                    self._indented.append((text, start))
            case {"Text": str(text)} | {"Html": str(text)} | {"InlineHtml": str(text)}:
                self._stretch(start, end)
                self._shown.add(text, self._source, start, end)
                if "Text" not in event and self._has_others(text):
                    # No channel renders HTML, so its address is text; but it is no code before this is.
                    for sign in re.finditer(b"<", self._source[start:end]):
                        yield start + sign.start(), start + sign.start(), "\\"
            case _:
                self._stretch(start, end)
                self._shown.part()
                yield from self._of_other(event, start, end)

    def _of_other(self, event: Any, start: int, end: int) -> Iterator[Edit]:
        match event:
            case {"Code": _}:
                self._begins_of_code.add(start)
                self._ends_of_code.add(end)
            case {"InlineMath": _} | {"DisplayMath": _} if self._has_others(self._source.decode()):
                # Who reads formulas another way may end one amid an address.
                for sign in re.finditer(rb"\$", self._source[start:end]):
                    yield start + sign.start(), start + sign.start(), "\\"

    def _stretch(self, start: int, end: int) -> None:
        """Notes what the links shows that are being read."""
        for span in self._spans:
            span.first = start if span.first is None else span.first
            span.last = max(span.last, end)

    def _of_span(self, span: _Span, *, is_picture: bool) -> Iterator[Edit]:
        if span.is_given:
            return
        if self._source[span.start : span.start + 1] == b"<":
            yield span.start, span.end, as_code(span.address)
        elif span.first is None:
            yield span.start, span.end, PICTURE if is_picture else as_code(span.address)
        else:
            words = self._source[span.first : span.last].decode()
            is_said = is_picture or key_of(words) == key_of(span.address)
            yield span.start, span.first, ""
            yield span.last, span.end, "" if is_said else f" ({as_code(span.address)})"

    def _of_fence(self, start: int, end: int) -> Iterator[Edit]:
        """What stands beside it is the name of a language, and shown where the block is empty."""
        fence = _FENCE.match(self._source, start, end)
        if fence and self._has_others(fence["info"].decode()):
            yield fence.start("info"), fence.end("info"), ""

    def _of_indented(self) -> Iterator[Edit]:
        """What is indented only may not be code to everybody: with an address in it, it is made text."""
        lines, self._indented = self._indented, []
        if any(self._has_others(text) for text, _ in lines):
            for text, start in lines:
                begin = len(self._source[:start].rstrip(b" \t"))
                is_first = self._source[begin - 1 : begin] in (b"", b"\n")
                yield begin, start + len(text) - len(text.lstrip(" \t")), "" if is_first else " "

    def _has_others(self, text: str) -> bool:
        return next(others_in(text, self._given), None) is not None

    def _of_shown(self) -> Iterator[Edit]:
        shown, self._shown = self._shown, _Shown()
        for at, until in others_in(shown.text, self._given):
            start, end = shown.place(at)[0], shown.place(until - 1)[1]
            # What stands right before or behind may not take the code's own marks away.
            while self._source[start - 1 : start] in (b"`", b"\\") and start not in self._ends_of_code:
                start -= 1
            while self._source[end : end + 1] == b"`" and end not in self._begins_of_code:
                end += 1
            before, after = " " * (start in self._ends_of_code), " " * (end in self._begins_of_code)
            yield start, end, before + as_code(shown.text[at:until]) + after
