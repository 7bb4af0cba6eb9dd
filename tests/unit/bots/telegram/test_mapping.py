"""From Telegram's JSON to an `IncomingMessage`, with the updates that Telegram really sends."""

from typing import Any

import pytest
from telegram import Update

from bots.telegram.mapping import SHARED_ACCOUNTS, BotAccount, to_incoming
from core.messages import ConversationKind, Enclosure, EnclosureKind, IncomingMessage
from tests.standins.telegram_chats import Json, automatic_entities, person, units

ME = BotAccount(id=99, username="Mneme_Bot")
GROUP: Json = {"id": -1001, "type": "supergroup", "title": "Friends"}
BOT: Json = {"id": 99, "is_bot": True, "first_name": "Mneme", "username": "mneme_bot"}
PHOTO = [{"file_id": "f", "file_unique_id": "u", "width": 1, "height": 1}]
FROM_SOMEBODY = {"type": "hidden_user", "date": 1_700_000_000, "sender_user_name": "Somebody"}


def message(text: str | None = None, *, chat: Json | None = None, **fields: Any) -> Json:
    content: Json = {} if text is None else {"text": text, "entities": automatic_entities(text)}
    private = {"id": 7, "type": "private", "first_name": "Ana"}
    return {
        **{"message_id": 5, "date": 1_700_000_000, "from": person(7), "chat": chat or private},
        **content,
        **fields,
    }


def read(content: Json, kind: str = "message") -> IncomingMessage | None:
    return to_incoming(Update.de_json({"update_id": 1, kind: content}, None), ME)


def taken(content: Json, kind: str = "message") -> IncomingMessage:
    incoming = read(content, kind)
    assert incoming is not None
    return incoming


def test_a_private_message() -> None:
    incoming = taken(message("Hello"))

    assert (incoming.channel, incoming.workspace, incoming.event) == ("telegram", "99", "7:5")
    assert incoming.sender.external_id == "7"
    assert incoming.sender.display_name == "Ana"
    assert incoming.sender.language == "en"
    assert incoming.conversation.external_id == "7"
    assert incoming.conversation.kind is ConversationKind.DIRECT
    assert incoming.conversation.address == {"chat_id": "7"}
    assert incoming.text == "Hello"
    assert incoming.sent_at.timestamp() == 1_700_000_000
    assert incoming.sent_at.tzinfo is not None
    assert incoming.reply_to == "5"
    assert incoming.replaces is None
    assert incoming.enclosures == ()


def test_an_edit_names_what_it_replaces() -> None:
    incoming = taken(message("Hello again", edit_date=1_700_000_060), "edited_message")

    assert incoming.event == "7:5:edit:1700000060"
    assert incoming.replaces == "7:5"
    assert incoming.sent_at.timestamp() == 1_700_000_060


def test_a_walking_live_location_is_not_a_message_each_step() -> None:
    content = message(location={"latitude": 1.0, "longitude": 2.0}, edit_date=1_700_000_060)

    assert read(content, "edited_message") is None


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("@mneme_bot what time is it?", "what time is it?"),
        ("@MNEME_BOT, what time is it?", "what time is it?"),
        ("what time is it @mneme_bot?", "what time is it?"),
        ("tell me @mneme_bot what time it is", "tell me what time it is"),
        ("tell me, @mneme_bot", "tell me,"),
        ("👩‍👩‍👧 and 😀 @mneme_bot 😀", "👩‍👩‍👧 and 😀 😀"),
        ("/memory@mneme_bot peanuts", "/memory peanuts"),
        ("@mneme_bot\n  indented\n  code", "indented\n  code"),
        ("@mneme_bot", ""),
    ],
)
def test_a_group_is_heard_when_it_mentions_the_bot(said: str, heard: str) -> None:
    incoming = taken(message(said, chat=GROUP))

    assert incoming.text == heard
    assert incoming.conversation.kind is ConversationKind.GROUP
    assert incoming.conversation.address == {"chat_id": "-1001"}


@pytest.mark.parametrize(
    "said",
    ["hello all", "mail me at ana@mneme_bot.example", "ask @mneme_bot_two", "/memory", "/memory@other_bot"],
)
def test_a_group_is_not_overheard(said: str) -> None:
    assert read(message(said, chat=GROUP)) is None


def test_a_mention_by_name_counts() -> None:
    entity = {"type": "text_mention", "offset": units("😀 "), "length": 5, "user": BOT}
    incoming = taken({**message(chat=GROUP), "text": "😀 Mneme hi", "entities": [entity]})

    assert incoming.text == "😀 hi"


def test_a_caption_can_mention() -> None:
    caption = "@mneme_bot what is this?"
    incoming = taken(
        message(chat=GROUP, photo=PHOTO, caption=caption, caption_entities=automatic_entities(caption))
    )

    assert incoming.text == "what is this?"
    assert incoming.enclosures == (Enclosure(EnclosureKind.ATTACHED, "[photo]"),)


def test_a_reply_to_the_bot_in_a_group_is_heard_and_needs_no_quote() -> None:
    replied = message("It is noon.", chat=GROUP, **{"from": BOT})
    incoming = taken(message("and in Porto?", chat=GROUP, reply_to_message=replied))

    assert incoming.text == "and in Porto?"
    assert incoming.enclosures == ()


def test_a_reply_to_somebody_else_is_quoted_when_the_bot_is_mentioned() -> None:
    replied = message("I love peanuts", chat=GROUP, **{"from": person(8, "Ben")})
    incoming = taken(message("@mneme_bot", chat=GROUP, reply_to_message=replied))

    assert incoming.text == ""
    assert incoming.enclosures == (Enclosure(EnclosureKind.QUOTED, "I love peanuts"),)


def test_a_chosen_quote_is_all_that_is_quoted() -> None:
    replied = message("It is noon. It rains.", **{"from": BOT})
    quote = {"text": "It rains.", "position": 12, "is_manual": True}
    incoming = taken(message("really?", reply_to_message=replied, quote=quote))

    assert incoming.enclosures == (Enclosure(EnclosureKind.QUOTED, "It rains."),)


def test_a_topic_is_a_conversation_of_its_own() -> None:
    forum = {**GROUP, "is_forum": True}
    fields = {"message_thread_id": 12, "is_topic_message": True}
    incoming = taken(message("@mneme_bot hi", chat=forum, **fields))

    assert incoming.conversation.external_id == "-1001:12"
    assert incoming.conversation.kind is ConversationKind.THREAD
    assert incoming.conversation.address == {"chat_id": "-1001", "thread_id": "12"}


def test_a_topic_in_a_private_chat_stays_private() -> None:
    incoming = taken(message("hi", message_thread_id=12, is_topic_message=True))

    assert incoming.conversation.kind is ConversationKind.DIRECT
    assert incoming.conversation.external_id == "7:12"


def test_a_thread_of_replies_is_no_topic() -> None:
    incoming = taken(message("@mneme_bot hi", chat=GROUP, message_thread_id=3))

    assert incoming.conversation.external_id == "-1001"


def test_a_topic_that_the_bot_opened_isnt_a_reply_to_it() -> None:
    opened = message(None, chat=GROUP, forum_topic_created={"name": "T", "icon_color": 1}, **{"from": BOT})
    fields = {"message_thread_id": 12, "is_topic_message": True}

    assert read(message("hello all", chat=GROUP, reply_to_message=opened, **fields)) is None


def test_forwarded_text_is_never_the_senders() -> None:
    incoming = taken(message("/forget everything", forward_origin=FROM_SOMEBODY))

    assert incoming.text == ""
    assert incoming.enclosures == (Enclosure(EnclosureKind.FORWARDED, "/forget everything"),)


def test_an_inline_bots_text_is_never_the_senders() -> None:
    incoming = taken(message("made by a tool", via_bot={**BOT, "id": 55, "username": "gif"}))

    assert incoming.text == ""
    assert incoming.enclosures == (Enclosure(EnclosureKind.FORWARDED, "made by a tool"),)


def test_a_forwarded_mention_doesnt_call_the_bot() -> None:
    assert read(message("@mneme_bot obey", chat=GROUP, forward_origin=FROM_SOMEBODY)) is None


_FILE = {"file_id": "f", "file_unique_id": "u"}


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"photo": PHOTO}, "[photo]"),
        ({"voice": {**_FILE, "duration": 12}}, "[voice message, 12 s]"),
        ({"audio": {**_FILE, "duration": 200}}, "[audio, 200 s]"),
        ({"video": {**_FILE, "duration": 3, "width": 1, "height": 1}}, "[video, 3 s]"),
        ({"video_note": {**_FILE, "duration": 3, "length": 1}}, "[video message, 3 s]"),
        ({"document": {**_FILE, "file_name": "cv.pdf"}}, "[file cv.pdf]"),
        ({"document": _FILE}, "[file]"),
        ({"location": {"latitude": 1.0, "longitude": 2.0}}, "[location]"),
        ({"contact": {"phone_number": "1", "first_name": "Ben"}}, "[contact]"),
        ({"dice": {"emoji": "🎲", "value": 1}}, "[dice]"),
        (
            {
                "sticker": {
                    **_FILE,
                    **{"type": "regular", "width": 1, "height": 1, "emoji": "😀"},
                    **{"is_animated": False, "is_video": False},
                }
            },
            "[sticker 😀]",
        ),
    ],
)
def test_what_isnt_text_is_named(fields: Json, line: str) -> None:
    incoming = taken(message(**fields))

    assert incoming.text == ""
    assert incoming.enclosures == (Enclosure(EnclosureKind.ATTACHED, line),)


@pytest.mark.parametrize(
    "content",
    [
        message("beep", **{"from": {**BOT, "id": 55}}),
        message("@mneme_bot hi", chat=GROUP, sender_chat=GROUP),
        *(message("@mneme_bot hi", chat=GROUP, **{"from": person(id)}) for id in SHARED_ACCOUNTS),
        *(message("I like tea", **{"from": person(id)}) for id in SHARED_ACCOUNTS),
        message("/start@other_bot"),
        message(pinned_message=message("x")),
        message(chat=GROUP, new_chat_members=[BOT]),
        message(chat=GROUP, left_chat_member=BOT, reply_to_message=message("x", chat=GROUP, **{"from": BOT})),
    ],
)
def test_what_is_not_for_the_bot(content: Json) -> None:
    assert read(content) is None


@pytest.mark.parametrize("kind", ["channel_post", "edited_channel_post", "some_future_update"])
def test_other_updates_are_no_messages(kind: str) -> None:
    assert read(message("hi", chat={**GROUP, "type": "channel"}), kind) is None


@pytest.mark.parametrize(
    ("said", "heard"),
    [("a\x00b", "ab"), ("\ud800 lone", "\ufffd lone"), (" \r\n padded \r\n", "padded"), ("   ", "")],
)
def test_text_is_cleaned_at_the_door(said: str, heard: str) -> None:
    assert taken(message(said)).text == heard


def test_a_lone_surrogate_before_a_mention() -> None:
    assert taken(message("\ud800 @mneme_bot hi", chat=GROUP)).text == "\ufffd hi"
