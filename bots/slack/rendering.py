"""Markdown as Slack shows it: one `markdown` block a message, and nothing in it that rings a bell."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

BLOCK_CHARS = 12_000
"""What Slack takes in all `markdown` blocks of one message."""
PART_CHARS = 11_500
"""Where a long text is split: a little below, because defused mentions grow by a character."""
NOTICE_CHARS = 3_000
"""The `text` beside the block, for notifications; chat.update takes no more than 4,000."""
_SECTION_CHARS = 3_000
_MAX_FENCE_CHARS = 60
_DEFUSER = "\N{WORD JOINER}"

_PING = re.compile(
    r"<(?=!(?:channel|here|everyone|subteam\^|date\^)|@[A-Z0-9]{2,}[|>]|#[A-Z0-9]{2,}[|>])"
    r"|@(?=(?:channel|here|everyone)\b)",
    re.IGNORECASE,
)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)")


class _Fence(NamedTuple):
    opening: str
    marker: str


def defused(text: str) -> str:
    """The text with Slack's mentions made inert: the model may not call a channel or a person. Idempotent."""
    return _PING.sub(lambda found: found[0] + _DEFUSER, text)


def content(text: str) -> dict[str, Any]:
    """`text` and `blocks` for chat.postMessage and chat.update: one `markdown` block."""
    shown = _fitted(defused(text), BLOCK_CHARS)
    return {"text": _notice(shown), "blocks": [{"type": "markdown", "text": shown}]}


def plain_content(text: str) -> dict[str, Any]:
    """The same in `plain_text` sections, for a workspace that rejects the `markdown` block."""
    shown = _fitted(defused(text), BLOCK_CHARS)
    pieces = [shown[at : at + _SECTION_CHARS] for at in range(0, len(shown), _SECTION_CHARS)]
    return {
        "text": _notice(shown),
        "blocks": [
            {"type": "section", "text": {"type": "plain_text", "text": piece, "emoji": False}}
            for piece in pieces
            if piece.strip()
        ],
    }


def split(text: str, limit: int = PART_CHARS) -> list[str]:
    """The text in parts of at most `limit` characters (200 or more), cut between paragraphs where it can be.

    A code block that is cut is closed at the end of its part and opened again in the next.
    """
    return list(_parts(defused(text).strip("\n").rstrip(), limit))


def _parts(rest: str, limit: int) -> Iterator[str]:
    fence: _Fence | None = None
    while rest.strip():
        opening = f"{fence.opening}\n" if fence else ""
        if len(opening) + len(rest) <= limit:
            yield opening + rest
            return
        head, rest = _cut(rest, limit - len(opening) - _MAX_FENCE_CHARS - 1)
        part = opening + head
        fence = _open_fence(part)
        if fence is not None:
            yield f"{part}\n{fence.marker}"
            continue
        rest = rest.lstrip("\n")
        if part.strip():
            yield part.rstrip()


def _cut(text: str, room: int) -> tuple[str, str]:
    """The text in two, the first of at most `room` characters, at the best boundary in its second half."""
    for boundary in ("\n\n", "\n", " "):
        at = text.rfind(boundary, room // 2, room)
        if at > 0:
            return text[:at], text[at + len(boundary) :]
    return text[:room], text[room:]


def _open_fence(text: str) -> _Fence | None:
    """The code block that is still open at the end of the text; a fence too long to repeat isn't counted."""
    fence: _Fence | None = None
    for line in text.split("\n"):
        found = _FENCE.fullmatch(line)
        if found is None:
            continue
        marker, info = found[1], found[2].strip()
        if fence is not None:
            if marker[0] == fence.marker[0] and len(marker) >= len(fence.marker) and not info:
                fence = None
        elif len(marker) < _MAX_FENCE_CHARS and not (marker[0] == "`" and "`" in info):
            fence = _Fence(f"{marker}{info}"[:_MAX_FENCE_CHARS], marker)
    return fence


def _fitted(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _notice(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _fitted(escaped, NOTICE_CHARS)
