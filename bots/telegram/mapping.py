"""From Telegram's `Update` to an `IncomingMessage`: pure functions, no network."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from telegram import Message, MessageEntity, Update, User
from telegram.constants import ChatType

from core.messages import (
    ConversationKind,
    ConversationRef,
    Enclosure,
    EnclosureKind,
    IncomingMessage,
    Sender,
    clean,
)

CHANNEL = "telegram"
CHAT_ID = "chat_id"
THREAD_ID = "thread_id"

SHARED_ACCOUNTS = frozenset({1087968824, 777000, 136817688})
"""Behind which many stand, so that they are nobody: anonymous administrators, Telegram itself, channels."""

_NO_SPACE_BEFORE = ".,!?;:"


@dataclass(frozen=True, slots=True)
class BotAccount:
    """Who the bot is on Telegram, as `getMe` tells it; `username` comes without the @."""

    id: int
    username: str

    def is_named(self, name: str) -> bool:
        return name.removeprefix("@").lower() == self.username.lower()


def to_incoming(update: Update, me: BotAccount) -> IncomingMessage | None:
    """The message in this update, or None when it isn't one that a person wrote to the bot.

    Private chats are always for the bot; in groups only what mentions it, names it in a command or replies
    to it. Channel posts, other bots, anonymous administrators and service messages are never.
    """
    message = update.message or update.edited_message
    if message is None or not _is_for(message, me):
        return None
    if update.edited_message is not None and message.location is not None:
        # A live location is edited every few seconds as its sender walks about.
        return None
    person = message.from_user
    attached = _attachment(message)
    if person is None or (_text(message) is None and attached is None):
        return None
    name = f"{message.chat.id}:{message.message_id}"
    edited = message.edit_date if update.edited_message is not None else None
    return IncomingMessage(
        channel=CHANNEL,
        workspace=str(me.id),
        event=f"{name}:edit:{int(edited.timestamp())}" if edited else name,
        sender=_sender(person),
        conversation=_conversation(message),
        text=clean(_own_words(message, me)),
        sent_at=edited or message.date,
        reply_to=str(message.message_id),
        replaces=name if edited else None,
        enclosures=tuple(_enclosures(message, attached, me)),
    )


def is_group(chat_id: str) -> bool:
    """Whether an address's `chat_id` is a group's: people have positive ids, groups negative ones."""
    return chat_id.startswith("-")


def thread_of(address: Mapping[str, str]) -> int | None:
    """The topic that an address is in, if it is in one."""
    return int(address[THREAD_ID]) if THREAD_ID in address else None


def _sender(person: User) -> Sender:
    return Sender(str(person.id), clean(person.full_name), person.language_code)


def _conversation(message: Message) -> ConversationRef:
    address = {CHAT_ID: str(message.chat.id)}
    # Replies in an ordinary supergroup carry a thread id too; only a topic is a conversation of its own.
    topic = message.message_thread_id if message.is_topic_message else None
    if topic is not None:
        address[THREAD_ID] = str(topic)
    if message.chat.type == ChatType.PRIVATE:
        kind = ConversationKind.DIRECT
    else:
        kind = ConversationKind.GROUP if topic is None else ConversationKind.THREAD
    return ConversationRef(":".join(address.values()), kind, address)


def _is_for(message: Message, me: BotAccount) -> bool:
    person = message.from_user
    if person is None or person.is_bot or message.sender_chat is not None or person.id in SHARED_ACCOUNTS:
        return False
    if _commands_another_bot(message, me):
        return False
    if message.chat.type == ChatType.PRIVATE:
        return True
    if message.chat.type not in (ChatType.GROUP, ChatType.SUPERGROUP):
        return False
    mentioned = not _is_foreign(message) and any(
        _names(entity, _said(message, entity), me) for entity in _entities(message)
    )
    return mentioned or _is_by(_replied_to(message), me)


def _is_foreign(message: Message) -> bool:
    """Whether the text is somebody else's: forwarded, or written by an inline bot."""
    return message.forward_origin is not None or message.via_bot is not None


def _is_by(message: Message | None, me: BotAccount) -> bool:
    return message is not None and message.from_user is not None and message.from_user.id == me.id


def _replied_to(message: Message) -> Message | None:
    replied = message.reply_to_message
    # Every message in a topic "replies" to the service message that opened it.
    return None if replied is None or replied.forum_topic_created is not None else replied


def _commands_another_bot(message: Message, me: BotAccount) -> bool:
    for entity in _entities(message):
        if entity.type == MessageEntity.BOT_COMMAND and entity.offset == 0:
            _, _, bot = _said(message, entity).partition("@")
            return bool(bot) and not me.is_named(bot)
    return False


def _names(entity: MessageEntity, said: str, me: BotAccount) -> bool:
    if entity.type == MessageEntity.MENTION:
        return me.is_named(said)
    if entity.type == MessageEntity.TEXT_MENTION:
        return entity.user is not None and entity.user.id == me.id
    if entity.type == MessageEntity.BOT_COMMAND:
        return me.is_named(said.partition("@")[2])
    return False


def _own_words(message: Message, me: BotAccount) -> str:
    """What the sender wrote, without what only says that it is for the bot."""
    text = _text(message)
    if text is None or _is_foreign(message):
        return ""
    private = message.chat.type == ChatType.PRIVATE
    # From the back, so that what is cut out doesn't move the entities before it.
    for entity in sorted(_entities(message), key=lambda entity: entity.offset, reverse=True):
        said = _said(message, entity)
        if not _names(entity, said, me):
            continue
        before, after = _around(text, entity)
        if entity.type == MessageEntity.BOT_COMMAND:
            text = before + said.partition("@")[0] + after
        elif not private:
            text = _without_gap(before, after)
    return text


def _without_gap(before: str, after: str) -> str:
    if not before.strip():
        return after.lstrip(" ,:")
    if not after or after[0] in _NO_SPACE_BEFORE:
        return before.rstrip(" ") + after
    return before + after.lstrip(" ") if before[-1].isspace() else before + after


def _enclosures(message: Message, attached: str | None, me: BotAccount) -> Iterator[Enclosure]:
    if _is_foreign(message) and (foreign := clean(_text(message) or "")):
        yield Enclosure(EnclosureKind.FORWARDED, foreign)
    if quoted := clean(_quoted(message, me)):
        yield Enclosure(EnclosureKind.QUOTED, quoted)
    if attached:
        yield Enclosure(EnclosureKind.ATTACHED, clean(attached))


def _quoted(message: Message, me: BotAccount) -> str:
    if message.quote is not None:
        return message.quote.text
    replied = _replied_to(message)
    if replied is None or _is_by(replied, me):
        # The bot's own words are in the conversation already.
        return ""
    return _text(replied) or _attachment(replied) or ""


def _text(message: Message) -> str | None:
    return message.text if message.text is not None else message.caption


def _entities(message: Message) -> Sequence[MessageEntity]:
    return message.entities if message.text is not None else message.caption_entities


def _said(message: Message, entity: MessageEntity) -> str:
    units = _units(_text(message) or "")
    return _letters(units[2 * entity.offset : 2 * (entity.offset + entity.length)])


def _around(text: str, entity: MessageEntity) -> tuple[str, str]:
    """What stands before and after an entity, whose place Telegram counts in UTF-16 units.

    python-telegram-bot's own `parse_entity` fails on a lone surrogate.
    """
    units = _units(text)
    return _letters(units[: 2 * entity.offset]), _letters(units[2 * (entity.offset + entity.length) :])


def _units(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")


def _letters(units: bytes) -> str:
    return units.decode("utf-16-le", "surrogatepass")


def _attachment(message: Message) -> str | None:
    """One honest line for what came with the message and can't be read as text."""
    if message.voice:
        return f"[voice message, {_seconds(message.voice.duration)} s]"
    if message.audio:
        return f"[audio, {_seconds(message.audio.duration)} s]"
    if message.video:
        return f"[video, {_seconds(message.video.duration)} s]"
    if message.video_note:
        return f"[video message, {_seconds(message.video_note.duration)} s]"
    if message.sticker:
        return f"[sticker {message.sticker.emoji or ''}".rstrip() + "]"
    if message.animation:
        return "[animation]"
    if message.document:
        return f"[file {message.document.file_name or ''}".rstrip() + "]"
    return next((line for name, line in _PLAIN_ATTACHMENTS if getattr(message, name)), None)


_PLAIN_ATTACHMENTS = (
    ("photo", "[photo]"),
    ("venue", "[place]"),
    ("location", "[location]"),
    ("contact", "[contact]"),
    ("poll", "[poll]"),
    ("dice", "[dice]"),
    ("game", "[game]"),
    ("story", "[story]"),
    ("checklist", "[checklist]"),
    ("paid_media", "[paid media]"),
    ("invoice", "[invoice]"),
)


def _seconds(duration: int | timedelta) -> int:
    return int(duration.total_seconds()) if isinstance(duration, timedelta) else int(duration)
