"""What passes between a channel and the core, and nothing platform-specific."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from enum import StrEnum

MAX_TEXT_CHARS = 16_000
"""A longer message is refused with a clear line: it wouldn't fit into a prompt, and isn't speech."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


class ConversationKind(StrEnum):
    DIRECT = "direct"
    """One person and Mneme; nobody else reads it."""
    GROUP = "group"
    """Many people read it."""
    THREAD = "thread"
    """A thread inside a group's channel; the channel's members read it."""


class EnclosureKind(StrEnum):
    FORWARDED = "forwarded"
    QUOTED = "quoted"
    LINKED = "linked"
    ATTACHED = "attached"


@dataclass(frozen=True, slots=True)
class Enclosure:
    """Text that came with a message but that its sender didn't write: data, never memory, never orders."""

    kind: EnclosureKind
    text: str


def zone_of(offset: object, unit: timedelta) -> timezone | None:
    """The time zone that is so many units ahead of UTC; None of what can't be an offset."""
    if not isinstance(offset, int) or abs(offset) >= timedelta(days=1) / unit:
        return None
    return timezone(offset * unit)


@dataclass(frozen=True, slots=True)
class Sender:
    """The account that wrote a message: `external_id` is the platform's own id for it.

    `zone`: the time zone of where they are; None, where a platform doesn't tell, counts as this machine's.
    `outsider`: the platform says that they are no member of the workspace, but a guest or somebody else's.
    """

    external_id: str
    display_name: str
    language: str | None = None
    zone: tzinfo | None = None
    outsider: bool = False


@dataclass(frozen=True, slots=True)
class ConversationRef:
    """Where a message was written.

    `external_id` names the conversation within its channel and workspace (chat, or chat and thread).
    `address` is what the channel's adapter needs to write there; only that adapter reads it.
    """

    external_id: str
    kind: ConversationKind
    address: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """One message for Mneme, whatever the platform.

    `event` names it within channel and workspace: the same event twice is one message.
    `text` holds the sender's own words only; what was forwarded or quoted goes into `enclosures`.
    `reply_to` is the platform's id of the message, for an answer that points at it.
    `replaces` is the `event` of the message that this one is an edit of.
    `addressed`: it is meant for Mneme, and not only said in a conversation that Mneme takes part in.
    """

    channel: str
    workspace: str
    event: str
    sender: Sender
    conversation: ConversationRef
    text: str
    sent_at: datetime
    reply_to: str | None = None
    replaces: str | None = None
    enclosures: tuple[Enclosure, ...] = field(default=())
    addressed: bool = True


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of an incoming message: its inbox row, or the earlier one when it is a `duplicate`.

    `unheard`: its sender isn't let in and has been told so; nothing is kept of it, so it has no row.
    """

    inbox_id: int
    conversation_id: str
    duplicate: bool
    unheard: bool = False


def clean(text: str) -> str:
    """The text without what stores and models choke on: NUL, other control characters, lone surrogates.

    Line ends become `\\n`; white space around is dropped.
    """
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _CONTROLS.sub("", whole.replace("\r\n", "\n").replace("\r", "\n")).strip()
