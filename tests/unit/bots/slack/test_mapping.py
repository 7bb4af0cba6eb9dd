import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bots.slack.mapping import Bot, read
from core.messages import ConversationKind, EnclosureKind, IncomingMessage
from core.reply.commands import HELP
from core.reply.door_commands import OR_ASK, OWNER_HELP, PRIVATE_DOOR

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
BOT = Bot(workspace="T1", user_id="UMNEME")
TS = "1700000000.000100"


def said(text: str = "hello", **fields: Any) -> dict[str, Any]:
    """A direct message, unless the fields say otherwise."""
    event = {"type": "message", "channel": "D1", "channel_type": "im", "user": "UANA", "text": text, "ts": TS}
    return {**event, **fields}


def in_channel(text: str, **fields: Any) -> dict[str, Any]:
    return said(text, channel="C1", channel_type="channel", **fields)


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    inner = {"channel", "channel_type"}
    return {
        "type": "message",
        "subtype": "message_changed",
        "channel": before["channel"],
        "channel_type": before["channel_type"],
        "ts": "1700000099.000000",
        "message": {key: value for key, value in after.items() if key not in inner},
        "previous_message": {key: value for key, value in before.items() if key not in inner},
    }


def heard(event: dict[str, Any]) -> IncomingMessage:
    found = read(event, BOT)
    assert found is not None
    return found


def text_of(raw: str) -> str:
    return heard(said(raw)).text


def test_a_direct_message() -> None:
    message = heard(said())
    assert message.addressed
    assert not message.sender.outsider
    assert (message.channel, message.workspace, message.event, message.text) == (
        "slack",
        "T1",
        f"D1:{TS}",
        "hello",
    )
    assert message.conversation.external_id == "D1"
    assert message.conversation.kind is ConversationKind.DIRECT
    assert dict(message.conversation.address) == {"channel": "D1"}
    assert message.sent_at == datetime(2023, 11, 14, 22, 13, 20, 100, tzinfo=UTC)
    assert (message.reply_to, message.replaces) == (TS, None)


def test_a_thread_in_a_direct_message_is_a_conversation_of_its_own() -> None:
    conversation = heard(said(thread_ts="1700000000.000001")).conversation
    assert conversation.external_id == "D1:1700000000.000001"
    assert conversation.kind is ConversationKind.DIRECT
    assert conversation.address["thread_ts"] == "1700000000.000001"


def test_message_and_app_mention_are_one_message() -> None:
    as_message = heard(in_channel("<@UMNEME> hi"))
    mention = in_channel("<@UMNEME> hi", type="app_mention")
    del mention["channel_type"]
    assert heard(mention) == as_message
    assert as_message.addressed
    assert as_message.conversation.external_id == f"C1:{TS}"
    assert as_message.conversation.kind is ConversationKind.THREAD


def test_what_others_say_counts_only_in_a_thread_and_only_if_known() -> None:
    assert read(in_channel("lunch?"), BOT) is None
    assert read(in_channel("lunch?", thread_ts=TS), BOT) is None
    in_thread = heard(in_channel("lunch?", thread_ts="1700000000.000001"))
    assert not in_thread.addressed
    assert in_thread.conversation.external_id == "C1:1700000000.000001"


def test_a_group_message_is_a_group_and_answered_in_its_thread() -> None:
    found = heard(said("<@UMNEME> hi", channel="G1", channel_type="mpim"))
    assert found.conversation.kind is ConversationKind.GROUP
    assert found.conversation.address["thread_ts"] == TS
    assert read(said("hi", channel="G1", channel_type="mpim"), BOT) is None


def test_an_edit_replaces_and_both_events_of_it_agree() -> None:
    before = in_channel("<@UMNEME> helo")
    after = in_channel("<@UMNEME> hello", edited={"user": "UANA", "ts": "1700000005.000000"})
    found = heard(changed(before, after))
    assert found.event == f"C1:{TS}:edit:1700000005.000000"
    assert found.replaces == f"C1:{TS}"
    assert found.sent_at == datetime(2023, 11, 14, 22, 13, 25, tzinfo=UTC)
    mention = {**after, "type": "app_mention"}
    del mention["channel_type"]
    assert heard(mention) == found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (said("see https://a.b"), said("see https://a.b", attachments=[{"title": "A"}])),
        (
            said("x", edited={"user": "UANA", "ts": "1.1"}),
            said("x", edited={"user": "UANA", "ts": "1.1"}, attachments=[{"title": "A"}]),
        ),
        (said("x"), said("x", edited={"user": "UANA", "ts": "1.1"})),
        (said("x"), said("xy", user="UMNEME", edited={"user": "UMNEME", "ts": "1.1"})),
        (said("x"), said("xy", bot_id="B2", edited={"user": "UANA", "ts": "1.1"})),
        (said("x"), said("xy", subtype="tombstone", edited={"user": "UANA", "ts": "1.1"})),
    ],
    ids=["unfurled", "unfurled after an edit", "the same words", "our own", "a bot's", "tombstone"],
)
def test_changes_that_nobody_made_by_hand_are_no_edits(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert read(changed(before, after), BOT) is None


@pytest.mark.parametrize(
    "event",
    [
        said(user="UMNEME"),
        said(bot_id="B1"),
        said(user="USLACKBOT"),
        said(subtype="bot_message"),
        said(subtype="message_deleted"),
        said(subtype="channel_join"),
        said(user=None),
        said(ts="later"),
        said(ts="٣.١"),
        said(channel=None),
        said(type="reaction_added"),
        {},
    ],
)
def test_who_is_no_person_is_not_heard(event: dict[str, Any]) -> None:
    assert read(event, BOT) is None


@pytest.mark.parametrize(
    ("fields", "is_outsider"),
    [
        ({"team": "T1"}, False),
        ({"team": "T1", "user_team": "T1", "source_team": "T1"}, False),
        ({"team": "T2"}, True),
        ({"team": "T1", "user_team": "T2"}, True),
        ({"team": "T1", "source_team": "T2"}, True),
        ({"user_team": None, "team": 7}, False),
    ],
)
def test_who_writes_from_another_team_is_an_outsider(fields: dict[str, Any], is_outsider: bool) -> None:
    for event in (said(**fields), in_channel("<@UMNEME> hi", **fields)):
        assert heard(event).sender.outsider is is_outsider


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a &lt;b&gt; &amp; &amp;lt;", "a <b> & &lt;"),
        ("<@UMNEME> hi", "hi"),
        ("<@UMNEME|mneme>: hi", "hi"),
        ("hey <@UMNEME>, what now", "hey what now"),
        ("ask <@U9|ben> or <@U8>", "ask @ben or @U8"),
        ("in <#C9|general> and <#C8|>", "in #general and #C8"),
        ("<!here> <!subteam^S1|@team> <!date^1^{date}|today>", "@here @team today"),
        ("<https://a.b/c>", "https://a.b/c"),
        ("<https://a.b/c|a.b/c> <http://a.b|this>", "https://a.b/c [this](http://a.b)"),
        ("<mailto:a@b.c|a@b.c> <tel:+351|+351>", "a@b.c +351"),
        ("x\x00y\r\nz\ud800", "xy\nz\ufffd"),
        ("!memory", "/memory"),
        ("!Start ABC-123", "/start ABC-123"),
        ("<@UMNEME> !help", "/help"),
        (" /help", "/help"),
        ("!important", "!important"),
        ("!helpful", "!helpful"),
        ("say !help", "say !help"),
    ],
)
def test_slacks_markup_becomes_text(raw: str, text: str) -> None:
    assert text_of(raw) == text


def test_every_command_that_people_are_told_of_works_with_an_exclamation_mark() -> None:
    named = set(re.findall(r"`/([a-z]+)", "\n".join([HELP, OWNER_HELP, OR_ASK, PRIVATE_DOOR])))
    assert named > {"start", "memory", "ask", "invite"}
    assert {name: text_of(f"!{name} x") for name in named} == {name: f"/{name} x" for name in named}


def test_what_others_wrote_is_enclosed() -> None:
    message = heard(
        said(
            "look\n&gt; they &lt;said&gt;\n&gt;this\nok?\n```\n&gt; code\n```",
            subtype="file_share",
            files=[{"name": "plan.pdf"}, {"mode": "tombstone"}, "?"],
            attachments=[
                {"is_share": True, "author_name": "Ben", "text": "<@U9> sent it"},
                {"is_msg_unfurl": True, "fallback": "[today] Ben: hi"},
                {"title": "A page", "text": "of words"},
                {"color": "red"},
            ],
        )
    )
    assert message.text == "look\nok?\n```\n> code\n```"
    assert [(enclosure.kind, enclosure.text) for enclosure in message.enclosures] == [
        (EnclosureKind.QUOTED, "they <said>\nthis"),
        (EnclosureKind.FORWARDED, "Ben: @U9 sent it"),
        (EnclosureKind.FORWARDED, "[today] Ben: hi"),
        (EnclosureKind.LINKED, "A page: of words"),
        (EnclosureKind.ATTACHED, "[file: plan.pdf]"),
        (EnclosureKind.ATTACHED, "[file: without a name]"),
    ]


_odd = st.sampled_from(
    [None, True, 7, "", "x", "1.1", [], ["x", {}], {}, {"ts": "1.1"}, {"ts": 7}, [{"name": 7}]]
)
_fields = st.sampled_from(
    ["text", "user", "ts", "channel", "thread_ts", "files", "attachments", "edited", "message", "subtype"]
)


@unhurried
@given(st.dictionaries(_fields, _odd, max_size=4), st.sampled_from(["message", "app_mention"]))
def test_no_shape_of_event_raises(fields: dict[str, Any], kind: str) -> None:
    read({**said(), "type": kind, **fields}, BOT)


@unhurried
@given(st.text())
def test_no_text_raises_and_all_come_out_clean(raw: str) -> None:
    text = text_of(raw)
    assert text == text.strip()
    assert "\x00" not in text
