"""Slack over HTTP: what is acknowledged, what is refused, what comes again."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta, timezone
from typing import Any

import aiohttp
import pytest

from bots.slack.adapter import MAX_BODY_BYTES, SlackChannel
from core.errors import ConfigurationError, InvalidMessage, StoreUnavailable
from core.messages import ConversationKind
from tests.contract.slack_desk import RecordingDesk, served, settings_for
from tests.standins.slack import SlackStandIn
from tests.standins.slack_delivery import signed_headers

CHALLENGE = json.dumps({"type": "url_verification", "challenge": "c0ffee", "token": "x"}).encode()


@dataclass
class House:
    slack: SlackStandIn
    desk: RecordingDesk
    channel: SlackChannel
    session: aiohttp.ClientSession
    url: str

    async def post(self, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, str]:
        signed = signed_headers(self.slack.signing_secret, body) if headers is None else headers
        async with self.session.post(self.url, data=body, headers=signed) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    slack, desk = SlackStandIn(retry_seconds=0.1), RecordingDesk()
    await slack.start()
    channel = SlackChannel(settings_for(slack, slack_mode="http"), desk)
    async with served(channel) as url, aiohttp.ClientSession() as session:
        slack.events_url = url
        yield House(slack, desk, channel, session, url)
    await slack.stop()


async def test_a_mention_arrives_as_two_events_with_one_key(house: House) -> None:
    ts = house.slack.say("C1", f"{house.slack.mention} hello")
    await house.slack.settled()

    assert [d.event["type"] for d in house.slack.deliveries] == ["message", "app_mention"]
    first, second = house.desk.handed
    assert first == second
    assert (first.channel, first.workspace, first.event) == ("slack", "T0TEAM", f"C1:{ts}")
    assert first.text == "hello"
    assert (first.sender.display_name, first.sender.language) == ("Ana", "pt-PT")
    assert first.sender.zone == timezone(timedelta(hours=13))
    assert first.conversation.kind is ConversationKind.THREAD
    assert dict(first.conversation.address) == {"channel": "C1", "thread_ts": ts}
    assert house.desk.rows == 1
    assert len(house.slack.calls_of("users.info")) <= 2


async def test_a_thread_that_we_are_in_needs_no_mention_and_others_are_not_ours(house: House) -> None:
    root = house.slack.say("C1", f"{house.slack.mention} hello")
    await house.slack.settled()
    elsewhere = house.slack.say("C1", "lunch?", user="UBEN")
    house.slack.say("C1", "yes", thread_ts=elsewhere)
    house.slack.say("C1", "and more", user="UBEN", thread_ts=root)
    await house.slack.settled()

    assert {message.text for message in house.desk.handed} == {"hello", "and more"}


async def test_direct_messages_and_their_edits(house: House) -> None:
    ts = house.slack.say("D1", "I live in Porto")
    await house.slack.settled()
    house.slack.edit("D1", ts, "I live in Lisbon")
    await house.slack.settled()

    said, edited = house.desk.handed
    assert said.conversation.kind is ConversationKind.DIRECT
    assert (edited.text, edited.replaces) == ("I live in Lisbon", said.event)
    assert edited.event.startswith(f"{said.event}:edit:")


async def test_an_edited_mention_arrives_as_two_events_with_one_key(house: House) -> None:
    ts = house.slack.say("C1", f"{house.slack.mention} helo")
    await house.slack.settled()
    house.slack.edit("C1", ts, f"{house.slack.mention} hello")
    await house.slack.settled()

    _, _, first, second = house.desk.handed
    assert first == second
    assert first.replaces == f"C1:{ts}"


async def test_what_we_post_ourselves_is_not_handed_in(house: House) -> None:
    house.slack.say("D1", "hi")
    posted = await house.channel.open({"channel": "D1"}, "one", reply_to=None, delivery_id=1, final=False)
    await house.channel.edit({"channel": "D1"}, posted, "one two", delivery_id=1, final=True)
    await house.slack.settled()

    assert [message.text for message in house.desk.handed] == ["hi"]
    assert len(house.slack.deliveries) == 3


async def test_the_acknowledgement_waits_for_the_desk(house: House) -> None:
    house.desk.may_finish.clear()
    house.slack.say("D1", "hi")
    await house.slack.wait(lambda: bool(house.desk.handed))
    await asyncio.sleep(0.1)
    assert house.slack.deliveries[0].attempts == []

    house.desk.may_finish.set()
    await house.slack.settled()
    assert house.slack.deliveries[0].attempts == ["ok"]


async def test_what_the_store_cannot_take_comes_again(house: House) -> None:
    house.desk.refusals = [StoreUnavailable("full"), StoreUnavailable("full")]
    house.slack.say("D1", "hi")
    await house.slack.settled()

    assert house.slack.deliveries[0].attempts == ["http_error", "http_error", "ok"]
    assert (len(house.desk.handed), house.desk.rows) == (3, 1)


async def test_an_unforeseen_error_is_no_acknowledgement(house: House) -> None:
    house.desk.refusals = [RuntimeError("a fault of ours")]
    house.slack.say("D1", "hi")
    await house.slack.settled()
    assert house.slack.deliveries[0].attempts == ["http_error", "ok"]


async def test_a_message_that_cannot_be_is_declined_in_its_thread(house: House) -> None:
    """Until that is written down, Slack delivers it again."""
    thread = house.slack.say("D1", "hi")
    await house.slack.settled()
    house.desk.refusals = [StoreUnavailable("full"), InvalidMessage("Too long.")]
    ts = house.slack.say("D1", "x", thread_ts=thread)
    await house.slack.settled()
    ((message, line),) = house.desk.declined
    assert (ts in message.event, line) == (True, "Too long.")


async def test_the_sender_stays_an_id_where_slack_does_not_tell(house: House) -> None:
    house.slack.fail_next("users.info", "missing_scope")
    house.slack.say("D1", "hi")
    await house.slack.settled()
    house.slack.say("D1", "hi again")
    await house.slack.settled()
    assert [message.sender.display_name for message in house.desk.handed] == ["UANA", "UANA"]


async def test_guests_and_people_of_elsewhere_are_outsiders_and_apps_are_nobody(house: House) -> None:
    told: dict[str, dict[str, Any]] = {
        "UGUEST": {"is_restricted": True},
        "USINGLE": {"is_ultra_restricted": True},
        "USTRANGE": {"is_stranger": True},
        "UTHEIRS": {"team_id": "T2"},
        "UFLOW": {"is_bot": True, "is_workflow_bot": True},
        "UMEMBER": {"is_restricted": False},
    }
    for user, facts in told.items():
        house.slack.users[user] = {**house.slack.users["UANA"], **facts}
        house.slack.say("D1", "hi", user=user)
        await house.slack.settled()
    house.slack.say("D1", "hi", user="UANA", user_team="T2")
    await house.slack.settled()
    heard = [(message.sender.external_id, message.sender.outsider) for message in house.desk.handed]
    outside = [(user, True) for user in ("UGUEST", "USINGLE", "USTRANGE", "UTHEIRS")]
    assert heard == [*outside, ("UMEMBER", False), ("UANA", True)]


async def test_the_challenge_is_answered(house: House) -> None:
    status, text = await house.post(CHALLENGE)
    assert (status, json.loads(text)) == (200, {"challenge": "c0ffee"})


async def test_requests_that_are_not_slacks_are_refused(house: House) -> None:
    good = signed_headers(house.slack.signing_secret, CHALLENGE)
    stale = signed_headers(house.slack.signing_secret, CHALLENGE, at_seconds=time.time() - 301)
    early = signed_headers(house.slack.signing_secret, CHALLENGE, at_seconds=time.time() + 310)
    forged = signed_headers("another secret", CHALLENGE)
    other_body = signed_headers(house.slack.signing_secret, b"{}")
    assert (await house.post(CHALLENGE, good))[0] == 200

    for headers in (stale, early, forged, other_body, {}):
        assert (await house.post(CHALLENGE, headers))[0] == 401
    for name in ("X-Slack-Request-Timestamp", "X-Slack-Signature"):
        without = {key: value for key, value in good.items() if key != name}
        assert (await house.post(CHALLENGE, without))[0] == 401
        for value in ("", "abc", "1e9", "-1", "٣", "9" * 400, "v0=é", "v1=00", "nan"):
            assert (await house.post(CHALLENGE, {**good, name: value}))[0] == 401, (name, value)
    assert house.desk.handed == []


async def test_header_bytes_beyond_text_are_refused(house: House) -> None:
    host, port = house.url.split("/")[2].split(":")
    for name in (b"X-Slack-Request-Timestamp", b"X-Slack-Signature"):
        reader, writer = await asyncio.open_connection(host, int(port))
        head = b"POST /slack/events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n"
        good = [f"{k}: {v}".encode() for k, v in signed_headers(house.slack.signing_secret, b"{}").items()]
        lines = [line for line in good if not line.startswith(name)] + [name + b": \xff\xfe\xc3"]
        writer.write(head + b"\r\n".join(lines) + b"\r\n\r\n{}")
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"[" * 100_000,
        b"{}",
        b'{"type": 7}',
        b'{"type": "event_callback"}',
        b'{"type": "event_callback", "event": []}',
        b'{"type": "event_callback", "event": {"text": "no type"}}',
        b'{"type": "url_verification"}',
        b'{"type": "block_actions", "actions": []}',
        b"payload=%7B%7D",
    ],
    ids=lambda body: body[:40].decode(errors="replace"),
)
async def test_what_is_no_event_is_refused(house: House, body: bytes) -> None:
    assert (await house.post(body))[0] == 400


@pytest.mark.parametrize(
    "event",
    [
        {"type": "reaction_added", "user": "UANA", "item": {}},
        {"type": "message", "channel": "D1", "channel_type": "im", "user": "UANA", "text": "x", "ts": "abc"},
        {"type": "message", "channel": 7, "user": [], "text": {}, "ts": None},
        {"type": "message", "subtype": "message_deleted", "channel": "D1", "deleted_ts": "1.1"},
        {"type": "message", "subtype": "message_changed", "channel": "D1", "message": "?"},
        {"type": "tokens_revoked", "tokens": {"bot": ["UMNEME"]}},
        {"type": "a_type_from_the_future"},
    ],
    ids=lambda event: str(event["type"]) + str(event.get("subtype", "")),
)
@pytest.mark.parametrize("around", [{}, {"authorizations": []}, {"team_id": 5, "authorizations": "?"}])
async def test_events_that_say_nothing_are_acknowledged(
    house: House, event: dict[str, object], around: dict[str, object]
) -> None:
    body = json.dumps({"type": "event_callback", "event": event, **around}).encode()
    assert (await house.post(body))[0] in (200, 400)
    assert house.desk.handed == []


async def test_an_overlong_body_is_refused(house: House) -> None:
    assert (await house.post(b" " * (MAX_BODY_BYTES + 1)))[0] == 413


async def test_until_slack_told_who_we_are_events_are_put_off() -> None:
    slack, desk = SlackStandIn(retry_seconds=0.1), RecordingDesk()
    await slack.start()
    slack.fail_next("auth.test", "500")
    slack.fail_next("auth.test", "429")
    async with served(SlackChannel(settings_for(slack, slack_mode="http"), desk)) as url:
        slack.events_url = url
        slack.say("D1", "hi")
        await slack.settled()
    await slack.stop()

    assert slack.deliveries[0].attempts[0] == "http_error"
    assert [message.text for message in desk.handed] == ["hi"]


async def test_wrong_settings_are_named() -> None:
    slack = SlackStandIn()
    await slack.start()
    for overrides, name in (
        ({"slack_bot_token": "xoxb-wrong"}, "SLACK_BOT_TOKEN"),
        ({"slack_bot_token": None}, "SLACK_BOT_TOKEN"),
        ({"slack_signing_secret": None}, "SLACK_SIGNING_SECRET"),
    ):
        channel = SlackChannel(settings_for(slack, slack_mode="http", **overrides), RecordingDesk())
        with pytest.raises(ConfigurationError, match=name) as caught:
            await channel.start()
        assert "wrong" not in str(caught.value)
        await channel.stop()
    await slack.stop()
