"""From Markdown to what Telegram shows: plain text with entities, in parts that fit one message."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pyromark
import structlog
from pyromark import Options
from telegram import MessageEntity
from telegramify_markdown import RenderConfig, convert, utf16_len
from telegramify_markdown.entity import MessageEntity as LooseEntity

from core.messages import clean

MAX_UNITS = 4096
"""How long one message may be, in UTF-16 code units after rendering."""

_LINK_SCHEMES = frozenset({"http", "https", "mailto", "tg"})
_KINDS = frozenset(
    {
        MessageEntity.BOLD,
        MessageEntity.ITALIC,
        MessageEntity.UNDERLINE,
        MessageEntity.STRIKETHROUGH,
        MessageEntity.CODE,
        MessageEntity.PRE,
        MessageEntity.BLOCKQUOTE,
        MessageEntity.TEXT_LINK,
    }
)
_OPTIONS = (
    Options.ENABLE_TABLES | Options.ENABLE_STRIKETHROUGH | Options.ENABLE_TASKLISTS | Options.ENABLE_MATH
)
_GUARD_ROUNDS = 12
_LEAD = ".\n\n"
"""Goes before every text: in a list that comes first, the converter glues code to the line above it."""
_FENCE = re.compile(r"^[ \t]*(?P<ticks>`{3,16}|~{3,16})(?P<info>[^`\n]{0,40})$")
_FENCE_ROOM_UNITS = 80

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rendered:
    """Text for one or more messages; the entities' offsets and lengths count UTF-16 units."""

    text: str
    entities: tuple[MessageEntity, ...] = ()


def render(markdown: str) -> Rendered:
    """What Telegram should show for some Markdown: no word of it lost, blank only if it was blank."""
    source = clean(markdown)
    try:
        text, loose = convert(_LEAD + _guarded(source), latex_escape=False, config=_config())
    except Exception as error:  # noqa: BLE001 - a parser's fault on a model's text: plain text is always right
        _log.warning("telegram_rendering_failed", error=type(error).__name__)
        return Rendered(source)
    shown = text.removeprefix(_LEAD.strip()).lstrip("\n")
    skipped_units = utf16_len(text) - utf16_len(shown)
    shown = shown.rstrip()
    if not shown:
        return Rendered(source)
    return Rendered(shown, tuple(_entities(loose, skipped_units, utf16_len(shown))))


def split(markdown: str) -> list[str]:
    """The Markdown in parts that each render to at most `MAX_UNITS`; [] for blank text.

    Cuts between paragraphs where it can, else between lines, else between words. A code block that goes over
    the end of a part is closed there and opened again in the next. Of a text that grows at its end, all parts
    but the last stay as they are.
    """
    rest = clean(markdown)
    parts = []
    while rest:
        if _fits(rest):
            parts.append(rest)
            break
        room = MAX_UNITS
        head, tail = _cut(rest, room)
        # A table is padded to its widest cell, so what is short as Markdown may be long on the screen.
        while not _fits(head) and room > _FENCE_ROOM_UNITS * 2:
            room = room * 3 // 4
            head, tail = _cut(rest, room)
        parts.append(head)
        rest = tail
    return [part for part in parts if part.strip()]


def _fits(markdown: str) -> bool:
    # Links may make the Markdown longer than what is shown; the bound spares rendering a book to find out.
    return utf16_len(markdown) <= 4 * MAX_UNITS and utf16_len(render(markdown).text) <= MAX_UNITS


def _cut(text: str, room_units: int) -> tuple[str, str]:
    at = _boundary(_prefix(text, room_units - _FENCE_ROOM_UNITS))
    head, tail = text[:at], text[at:]
    fence = _open_fence(head)
    if fence is None:
        return head.rstrip(), tail.lstrip("\n")
    before, opening = head[: fence.start], text[fence.start : fence.end]
    if before.strip() and not head[fence.end :].strip():
        # Nothing of the block would be in this part but its fence.
        return before.rstrip(), text[fence.start :]
    code = tail.lstrip("\n")
    reopened = f"{opening.strip()}\n{code}"
    # A fence as long as the part itself is cut as it is, or the rest would never get shorter.
    return (f"{head.rstrip()}\n{fence.ticks}", reopened) if len(reopened) < len(text) else (head, code)


def _prefix(text: str, units: int) -> str:
    return text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore")


def _boundary(window: str) -> int:
    """Where to cut in this window: as late as it can be, in its second half, or else at its very end."""
    least = len(window) // 2
    at = window.rfind("\n\n")
    while at >= least:
        if _open_fence(window[:at]) is None:
            return at
        at = window.rfind("\n\n", 0, at)
    for gap in ("\n", " "):
        at = window.rfind(gap)
        if at >= least:
            return at + 1
    return len(window)


@dataclass(frozen=True, slots=True)
class _Fence:
    ticks: str
    start: int
    end: int


def _open_fence(text: str) -> _Fence | None:
    """The code fence still open at the end of the text; `start` and `end` are those of its first line."""
    fence: _Fence | None = None
    start = 0
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if found is not None:
            ticks = found["ticks"]
            if fence is None:
                fence = _Fence(ticks, start, start + len(line))
            elif ticks.startswith(fence.ticks) and not found["info"].strip():
                fence = None
        start += len(line) + 1
    return fence


def _config() -> RenderConfig:
    config = RenderConfig.isolated()
    config.cite_expandable = False
    symbol = config.markdown_symbol
    symbol.heading_level_1 = symbol.heading_level_2 = symbol.heading_level_3 = symbol.heading_level_4 = ""
    symbol.unordered_list_item = "•"
    symbol.task_uncompleted = "☐"
    return config


def _entities(loose: list[LooseEntity], skipped_units: int, units: int) -> Iterator[MessageEntity]:
    for entity in loose:
        # What was trimmed around the text is cut from the entity as well.
        offset = max(0, entity.offset - skipped_units)
        length = min(entity.offset + entity.length - skipped_units, units) - offset
        if entity.type not in _KINDS or length <= 0:
            continue
        if entity.type == MessageEntity.TEXT_LINK and not _is_link(entity.url):
            continue
        yield MessageEntity(entity.type, offset, length, url=entity.url, language=entity.language)


def _is_link(url: str | None) -> bool:
    try:
        return url is not None and urlsplit(url.strip()).scheme.lower() in _LINK_SCHEMES
    except ValueError:
        return False


# What the converter would drop or misread is escaped before it comes to it.

_Edit = tuple[int, int, bytes]
"""Start and end in the UTF-8 source, and what stands there instead."""

_LINE_BREAK_TAG = re.compile(r"<br\s*/?>", re.IGNORECASE)
_AFTER_A_FACTOR = re.compile(rb"[0-9A-Za-z)\]]\*{0,2}\Z")
_BEFORE_A_FACTOR = re.compile(rb"\*{0,2}[0-9A-Za-z(\[]")
_DUNDER = re.compile(rb"__[a-z0-9_]+__")
_FORMULA = re.compile(r"[\\^]")


def _guarded(markdown: str) -> str:
    """The Markdown with all that would lose characters escaped: HTML, `2*3*4`, `||`, prices, footnotes."""
    source = markdown.encode()
    for _ in range(_GUARD_ROUNDS):
        edits = sorted({edit[0]: edit for edit in _edits(source)}.values(), reverse=True)
        if not edits:
            return source.decode()
        for start, end, instead in edits:
            source = source[:start] + instead + source[end:]
    raise ValueError("the text still holds what would be dropped")


def _edits(source: bytes) -> Iterator[_Edit]:
    text = source.decode()
    for definition in pyromark.reference_definitions(text, options=_OPTIONS).values():
        yield _escape(source, definition["span"]["start"], b"[")
    yield from _pipes(source)
    for event, place in pyromark.events_with_range(text, options=_OPTIONS):
        start, end = place["start"], place["end"]
        match event:
            case {"Start": "HtmlBlock"}:
                yield _escape(source, start, b"<")
            case {"InlineHtml": str(tag)}:
                yield (start, end, b" ") if _LINE_BREAK_TAG.fullmatch(tag) else _escape(source, start, b"<")
            case {"Start": "Emphasis" | "Strong" as kind}:
                yield from _literal_signs(source, start, end, 2 if kind == "Strong" else 1)
            case {"InlineMath": str(formula)} if not _FORMULA.search(formula):
                yield _escape(source, start, b"$")
                yield _escape(source, end - 1, b"$")


def _escape(source: bytes, start: int, sign: bytes) -> _Edit:
    at = source.index(sign, start)
    return at, at, b"\\"


def _literal_signs(source: bytes, start: int, end: int, width: int) -> Iterator[_Edit]:
    """Escapes the stars of `2*3*4` and the lines of `__init__`, which CommonMark reads as emphasis."""
    if source[start : start + 1] == b"*":
        ends = (start, start + width), (end - width, end)
        literal = any(_is_between_factors(source, *stars) for stars in ends)
    else:
        literal = _DUNDER.fullmatch(source, start, end) is not None
    if literal:
        for at in (*range(start, start + width), *range(end - width, end)):
            yield at, at, b"\\"


def _is_between_factors(source: bytes, start: int, end: int) -> bool:
    before = source[max(0, start - 3) : start]
    return bool(_AFTER_A_FACTOR.search(before) and _BEFORE_A_FACTOR.match(source, end))


def _pipes(source: bytes) -> Iterator[_Edit]:
    """Parts the `||` that the converter takes for a spoiler, outside of code."""
    if b"||" not in source:
        return
    kept: list[tuple[int, int]] = []
    tables: list[tuple[int, int]] = []
    for event, place in pyromark.events_with_range(source.decode(), options=_OPTIONS):
        match event:
            case {"Start": {"CodeBlock": _}} | {"Code": _} | {"InlineMath": _} | {"DisplayMath": _}:
                kept.append((place["start"], place["end"]))
            case {"Start": {"Table": _}}:
                tables.append((place["start"], place["end"]))
    for pair in re.finditer(rb"(?<!\\)\|(?=\|)", source):
        at = pair.end()
        if any(start < at < end for start, end in kept):
            continue
        in_table = any(start <= at < end for start, end in tables)
        yield at, at, b" " if in_table else b"\\"
