"""What the Telegram stand-in knows: chats, the messages in them, and the Bot API's rules for text."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

MAX_TEXT_UNITS = 4096
ENTITY_TYPES = frozenset(
    {
        *("mention", "hashtag", "cashtag", "bot_command", "url", "email", "phone_number", "bold", "italic"),
        *("underline", "strikethrough", "spoiler", "blockquote", "expandable_blockquote", "code", "pre"),
        *("text_link", "text_mention", "custom_emoji", "date_time"),
    }
)

_AUTOMATIC = re.compile(
    r"(?P<url>https?://\S+)|(?<![\w/])(?P<bot_command>/[A-Za-z0-9_]{1,64}(?:@\w{3,32})?)"
    r"|(?<!\w)(?P<mention>@\w{3,32})|(?<!\w)(?P<hashtag>#\w+)"
)


class Refused(Exception):
    """The Bot API says no: `code` is the HTTP status, `description` and `parameters` are its own."""

    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = parameters

    def body(self) -> Json:
        answer: Json = {"ok": False, "error_code": self.code, "description": self.description}
        return {**answer, "parameters": self.parameters} if self.parameters else answer


def bad_request(text: str) -> Refused:
    return Refused(400, f"Bad Request: {text}")


@dataclass
class Shown:
    """A message as people see it; `history` holds its earlier texts, `raw` is the Bot API's `Message`."""

    message_id: int
    text: str
    entities: list[Json]
    from_bot: bool
    raw: Json
    history: list[str] = field(default_factory=list)


@dataclass
class Chat:
    """One chat; `messages` are in the order in which they were sent, the users' and the bot's."""

    id: int
    type: str
    title: str
    messages: list[Shown] = field(default_factory=list)
    topics: set[int] = field(default_factory=set)
    blocked: bool = False
    moved_to: int | None = None

    @property
    def from_bot(self) -> list[Shown]:
        return [message for message in self.messages if message.from_bot]

    def find(self, message_id: int) -> Shown | None:
        return next((message for message in self.messages if message.message_id == message_id), None)

    def next_id(self) -> int:
        return self.messages[-1].message_id + 1 if self.messages else 1

    def raw(self) -> Json:
        if self.type == "private":
            return {"id": self.id, "type": "private", "first_name": self.title}
        forum = {"is_forum": True} if self.topics else {}
        return {"id": self.id, "type": self.type, "title": self.title, **forum}

    def add(self, raw: Json, *, from_bot: bool) -> Shown:
        text: str = raw.get("text") or raw.get("caption") or ""
        shown = Shown(raw["message_id"], text, raw.get("entities", []), from_bot, raw)
        self.messages.append(shown)
        return shown


def person(user_id: int, first_name: str = "Ana", **fields: Any) -> Json:
    """A `User` as the Bot API shows a human."""
    return {"id": user_id, "is_bot": False, "first_name": first_name, "language_code": "en", **fields}


def units(text: str) -> int:
    """The length in UTF-16 code units, by which Telegram counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def automatic_entities(text: str) -> list[Json]:
    """The entities that Telegram itself finds in what a person types: commands, mentions, links, hashtags."""
    return [
        {"type": found.lastgroup, "offset": units(text[: found.start()]), "length": units(found[0])}
        for found in _AUTOMATIC.finditer(text)
    ]


def checked_text(text: str, entities: Any) -> tuple[str, list[Json]]:
    """The text as Telegram would show it, trimmed, and its entities.

    Raises:
        Refused: empty, too long, or with entities that don't fit it.
    """
    if not isinstance(entities, list) or not all(isinstance(entity, Mapping) for entity in entities):
        raise bad_request("can't parse entities: expected an Array of MessageEntity")
    for entity in entities:
        _check_entity(text, entity)
    trimmed = text.strip()
    if not trimmed:
        raise bad_request("message text is empty")
    if units(trimmed) > MAX_TEXT_UNITS:
        raise bad_request("message is too long")
    return trimmed, _trimmed(entities, units(text) - units(text.lstrip()), units(trimmed))


def _check_entity(text: str, entity: Mapping[str, Any]) -> None:
    offset, length = entity.get("offset"), entity.get("length")
    if not isinstance(offset, int) or not isinstance(length, int):
        raise bad_request('can\'t parse entities: can\'t find field "offset" or "length"')
    if entity.get("type") not in ENTITY_TYPES:
        raise bad_request("can't parse entities: unsupported type specified")
    if entity["type"] == "text_link" and not entity.get("url"):
        raise bad_request("can't parse entities: can't find field \"url\"")
    if offset < 0 or length < 0 or offset + length > units(text):
        raise bad_request(
            f"entity beginning at UTF-16 offset {offset} ends after the end of the text"
            f" at UTF-16 offset {units(text)}"
        )
    coded = text.encode("utf-16-le", "surrogatepass")
    for edge in (offset, offset + length):
        if 0xDC <= next(iter(coded[2 * edge + 1 : 2 * edge + 2]), 0) <= 0xDF:
            raise bad_request(f"entity begins or ends in a middle of a UTF-16 symbol at offset {edge}")


def _trimmed(entities: list[Json], skipped: int, length: int) -> list[Json]:
    fitting = []
    for entity in entities:
        start = max(entity["offset"] - skipped, 0)
        end = min(entity["offset"] + entity["length"] - skipped, length)
        if end > start:
            fitting.append({**entity, "offset": start, "length": end - start})
    return fitting
