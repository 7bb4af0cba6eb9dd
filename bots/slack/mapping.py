"""What Slack's events say, as messages for Mneme. Pure: no network, no clock."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bots.slack.mrkdwn import readable, without_mention, without_quotes
from core.messages import (
    MAX_TEXT_CHARS,
    ConversationKind,
    ConversationRef,
    Enclosure,
    EnclosureKind,
    IncomingMessage,
    Sender,
    clean,
)

CHANNEL = "slack"
_HUMAN_SUBTYPES = (None, "file_share", "thread_broadcast")
_SLACKBOT = "USLACKBOT"
_TIMESTAMP = re.compile(r"[0-9]{1,10}\.[0-9]{1,9}")
_BANG_COMMAND = re.compile(
    r"!(start|help|reset|memory|page|forget|undo|erase|export|pause|resume|incognito|consent|link|unlink"
    r"|ask|invite|requests|approve|deny|block)\b",
    re.IGNORECASE,
)
_TEAMS = ("user_team", "source_team", "team")


@dataclass(frozen=True, slots=True)
class Bot:
    """Who Mneme is in one workspace: the ids that `auth.test` tells."""

    workspace: str
    user_id: str


def read(event: Mapping[str, Any], bot: Bot) -> IncomingMessage | None:
    """The message in an Events API event (the inner `event`), or None when no person speaks in it.

    Where it isn't `addressed` to Mneme, it counts only in a known conversation. The sender's display name is
    still the bare id.

    `message` and `app_mention`, which both arrive for one mention, give the same `event` key; so do the
    `message_changed` and the second `app_mention` of a mention that was edited.
    """
    if event.get("type") == "app_mention":
        return _said(event, event, bot, _edited_at(event), mentioned=True)
    if event.get("type") != "message":
        return None
    if event.get("subtype") != "message_changed":
        return _said(event, event, bot, "", mentioned=False)
    message, before = _part(event, "message"), _part(event, "previous_message")
    edited_at = _edited_at(message)
    if not edited_at or edited_at == _edited_at(before) or message.get("text") == before.get("text"):
        return None  # Slack's own change: an unfurled link, a count of replies
    return _said(message, event, bot, edited_at, mentioned=False)


def _said(
    message: Mapping[str, Any], event: Mapping[str, Any], bot: Bot, edited_at: str, *, mentioned: bool
) -> IncomingMessage | None:
    author, channel, ts = _text(message, "user"), _text(event, "channel"), _text(message, "ts")
    if not channel or not _TIMESTAMP.fullmatch(ts) or not _is_person(message, bot):
        return None
    thread_ts = _text(message, "thread_ts")
    conversation = _conversation(channel, _text(event, "channel_type"), ts, thread_ts)
    raw = _text(message, "text")
    unaddressed = without_mention(raw, bot.user_id)
    addressed = mentioned or conversation.kind is ConversationKind.DIRECT or unaddressed != raw
    if not addressed and not edited_at and thread_ts in ("", ts):
        return None  # what starts a conversation between others
    own, quoted = without_quotes(unaddressed)
    original = f"{channel}:{ts}"
    return IncomingMessage(
        channel=CHANNEL,
        workspace=bot.workspace,
        event=f"{original}:edit:{edited_at}" if edited_at else original,
        sender=Sender(author, author, outsider=_is_of_another_team(message, bot)),
        conversation=conversation,
        text=_command(clean(readable(own))),
        sent_at=datetime.fromtimestamp(float(edited_at or ts), UTC),
        reply_to=ts,
        replaces=original if edited_at else None,
        enclosures=tuple(_enclosures(message, quoted)),
        addressed=addressed,
    )


def _is_person(message: Mapping[str, Any], bot: Bot) -> bool:
    if message.get("bot_id") or message.get("subtype") not in _HUMAN_SUBTYPES:
        return False
    return _text(message, "user") not in ("", bot.user_id, _SLACKBOT)


def _is_of_another_team(message: Mapping[str, Any], bot: Bot) -> bool:
    """Whether somebody writes through Slack Connect, as the message itself tells."""
    team = next((team for key in _TEAMS if (team := _text(message, key))), bot.workspace)
    return team != bot.workspace


def _conversation(channel: str, channel_type: str, ts: str, thread_ts: str) -> ConversationRef:
    # app_mention carries no channel_type, but a direct message's channel is always D...
    if channel_type == "im" or channel.startswith("D"):
        if thread_ts in ("", ts):
            return ConversationRef(channel, ConversationKind.DIRECT, {"channel": channel})
        kind = ConversationKind.DIRECT
    else:
        kind = ConversationKind.GROUP if channel_type == "mpim" else ConversationKind.THREAD
    root = thread_ts or ts
    return ConversationRef(f"{channel}:{root}", kind, {"channel": channel, "thread_ts": root})


def _command(text: str) -> str:
    """Slack's clients keep a leading `/` for themselves, so `!help` stands for `/help`."""
    found = _BANG_COMMAND.match(text)
    return f"/{found[1].lower()}{text[found.end() :]}" if found else text


def _enclosures(message: Mapping[str, Any], quoted: str) -> Iterator[Enclosure]:
    if quotation := _cleaned(quoted):
        yield Enclosure(EnclosureKind.QUOTED, quotation)
    for attachment in _parts(message, "attachments"):
        shared = bool(attachment.get("is_share") or attachment.get("is_msg_unfurl"))
        body = _text(attachment, "text") or _text(attachment, "fallback")
        title = _text(attachment, "author_name" if shared else "title")
        if text := _cleaned(": ".join(part for part in (title, body) if part)):
            yield Enclosure(EnclosureKind.FORWARDED if shared else EnclosureKind.LINKED, text)
    for file in _parts(message, "files"):
        name = _cleaned(_text(file, "name") or _text(file, "title")) or "without a name"
        yield Enclosure(EnclosureKind.ATTACHED, f"[file: {name}]")


def _cleaned(raw: str) -> str:
    return clean(readable(raw))[:MAX_TEXT_CHARS]


def _edited_at(message: Mapping[str, Any]) -> str:
    ts = _text(_part(message, "edited"), "ts")
    return ts if _TIMESTAMP.fullmatch(ts) else ""


def _text(source: Mapping[str, Any], key: str) -> str:
    value = source.get(key)
    return value if isinstance(value, str) else ""


def _part(source: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = source.get(key)
    return value if isinstance(value, Mapping) else {}


def _parts(source: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = source.get(key)
    return [part for part in value if isinstance(part, Mapping)] if isinstance(value, list) else []
