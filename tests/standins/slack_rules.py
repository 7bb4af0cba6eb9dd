"""What Slack's Web API demands of a call, in its own error codes."""

import json
from typing import Any

from aiohttp import web

MARKDOWN_CHARS = 12_000
BLOCKS_CHARS = 13_200
UPDATE_TEXT_CHARS = 4_000
POST_TEXT_CHARS = 40_000
_SECTION_CHARS = 3_000
_MAX_BLOCKS = 50
_STRUCTURED = ("blocks", "attachments", "metadata")


class Refused(Exception):
    """Slack's answer `{"ok": false, "error": code}`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


async def arguments(request: web.Request) -> dict[str, Any]:
    """The call's arguments from the query, a form, or JSON, as Slack takes them."""
    if request.method == "GET":
        return dict(request.query)
    if request.content_type == "application/json":
        try:
            given = await request.json()
        except ValueError:
            raise Refused("invalid_json") from None
        if not isinstance(given, dict):
            raise Refused("json_not_object")
        return given
    if request.content_type not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        raise Refused("invalid_post_type")
    form: dict[str, Any] = dict((await request.post()).items())
    for key in _STRUCTURED:
        if key in form:
            try:
                form[key] = json.loads(form[key])
            except ValueError:
                raise Refused("invalid_arguments") from None
    return form


def bearer(request: web.Request, given: dict[str, Any]) -> str:
    """The token of a call, from its header or its form."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme == "Bearer" and token:
        return token
    token = given.get("token", "")
    if not isinstance(token, str) or not token or request.content_type == "application/json":
        raise Refused("not_authed")
    return token


def text_argument(given: dict[str, Any], name: str, missing: str = "invalid_arguments") -> str:
    """A required argument that is a string."""
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(missing)
    return value


def check_content(given: dict[str, Any], text_chars: int) -> tuple[str, list[dict[str, Any]]]:
    """The text and blocks of a message, if Slack would show them."""
    text = given.get("text") or ""
    blocks = given.get("blocks") or []
    if not isinstance(text, str) or not isinstance(blocks, list):
        raise Refused("invalid_arguments")
    if not text.strip() and not blocks:
        raise Refused("no_text")
    if len(text) > text_chars:
        raise Refused("msg_too_long")
    if len(blocks) > _MAX_BLOCKS or not all(_is_block(block) for block in blocks):
        raise Refused("invalid_blocks")
    if sum(len(block["text"]) for block in blocks if block["type"] == "markdown") > MARKDOWN_CHARS:
        raise Refused("invalid_blocks")
    if sum(len(words_of(block)) for block in blocks) > BLOCKS_CHARS:
        raise Refused("msg_blocks_too_long")
    return text, blocks


def check_metadata(given: dict[str, Any]) -> dict[str, Any] | None:
    """The message's metadata, if it has Slack's two members."""
    metadata = given.get("metadata")
    if metadata is None or metadata == {}:
        return None
    if (
        not isinstance(metadata, dict)
        or not isinstance(metadata.get("event_type"), str)
        or not isinstance(metadata.get("event_payload"), dict)
    ):
        raise Refused("invalid_metadata_format")
    return metadata


def words_of(block: dict[str, Any]) -> str:
    """What a person reads of a valid block."""
    text: str | dict[str, str] = block["text"]
    return text if isinstance(text, str) else text["text"]


def _is_block(block: object) -> bool:
    if not isinstance(block, dict):
        return False
    text = block.get("text")
    if block.get("type") == "markdown":
        return isinstance(text, str) and text != ""
    if block.get("type") != "section" or not isinstance(text, dict):
        return False
    words = text.get("text")
    return (
        text.get("type") in ("plain_text", "mrkdwn")
        and isinstance(words, str)
        and 0 < len(words) <= _SECTION_CHARS
    )
