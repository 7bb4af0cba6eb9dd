"""What Slack's answers to a message mean for the core, seen through the real client."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from bots.slack.adapter import SlackChannel
from bots.slack.outgoing import SEARCH_PAGE, SEARCH_PAGES
from core.errors import DeliveryError, DeliveryUnknown, NotDelivered, Undeliverable
from tests.contract.slack_desk import RecordingDesk, served, settings_for
from tests.standins.slack import RETRY_AFTER_SECONDS, SlackStandIn

HERE = {"channel": "D1"}


@dataclass
class House:
    slack: SlackStandIn
    channel: SlackChannel

    async def open(self, text: str, address: dict[str, str] = HERE) -> str:
        return await self.channel.open(address, text, reply_to=None, delivery_id=42, final=False)

    async def edit(self, ts: str, text: str) -> None:
        await self.channel.edit(HERE, ts, text, delivery_id=42, final=True)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    slack = SlackStandIn()
    await slack.start()
    channel = SlackChannel(settings_for(slack, platform_timeout_seconds=4.0), RecordingDesk())
    async with served(channel):
        slack.say("D1", "hi")
        yield House(slack, channel)
    await slack.stop()


async def test_a_reply_is_opened_once_and_then_edited(house: House) -> None:
    ts = await house.open("**One**")
    await house.edit(ts, "**One** two")
    await house.edit(ts, "**One** two")

    (posted,) = house.slack.from_bot("D1")
    assert posted.history == ["**One**", "**One** two", "**One** two"]
    assert posted.metadata == {"event_type": "mneme_delivery", "event_payload": {"delivery_id": 42}}
    (call,) = house.slack.calls_of("chat.postMessage")
    assert (call["unfurl_links"], call["unfurl_media"]) == (False, False)


async def test_a_thread_is_answered_in_the_thread(house: House) -> None:
    root = house.slack.say("C1", f"{house.slack.mention} hi")
    address = {"channel": "C1", "thread_ts": root}
    await house.channel.show_thinking(address)
    await house.open("hello", address)
    assert [posted.shown for posted in house.slack.from_bot("C1", root)] == ["hello"]
    assert len(house.slack.calls_of("assistant.threads.setStatus")) == 1


async def test_a_hint_that_fails_is_nobodys_trouble(house: House) -> None:
    address = {"channel": "D1", "thread_ts": "1.000001"}
    house.slack.fail_next("assistant.threads.setStatus", "500")
    house.slack.fail_next("assistant.threads.setStatus", "missing_scope")
    for _ in range(3):
        await house.channel.show_thinking(address)
    await house.channel.show_thinking(HERE)
    assert len(house.slack.calls_of("assistant.threads.setStatus")) == 2


async def test_a_long_text_in_parts_is_taken_as_it_is(house: House) -> None:
    text = "\n\n".join(f"Paragraph {n}: <!channel> & " + "word " * 150 for n in range(60))
    parts = house.channel.split(text)
    assert len(parts) > 3
    for part in parts:
        await house.open(part)
    assert [posted.shown for posted in house.slack.from_bot("D1")] == parts


async def test_a_text_beyond_the_block_is_cut_rather_than_lost(house: House) -> None:
    await house.open("x" * 20_000)
    (posted,) = house.slack.from_bot("D1")
    assert len(posted.shown) == 12_000


@pytest.mark.parametrize("code", ["invalid_blocks", "msg_blocks_too_long"])
async def test_rejected_blocks_go_out_as_plain_text(house: House, code: str) -> None:
    text = "**bold** <b> & " + "long " * 2_000
    house.slack.fail_next("chat.postMessage", code)
    ts = await house.open(text)
    house.slack.fail_next("chat.update", code)
    await house.edit(ts, text)

    (posted,) = house.slack.from_bot("D1")
    assert posted.history == [text.rstrip(), text.rstrip()] or posted.history == [text, text]


OPEN_FAULTS: list[tuple[str, type[DeliveryError]]] = [
    ("429", NotDelivered),
    ("500", DeliveryUnknown),
    ("garbage", DeliveryUnknown),
    ("hang", DeliveryUnknown),
    ("close_before", DeliveryUnknown),
    ("close_after", DeliveryUnknown),
    ("internal_error", DeliveryUnknown),
    ("fatal_error", DeliveryUnknown),
    ("ratelimited", NotDelivered),
    ("service_unavailable", NotDelivered),
    ("channel_not_found", Undeliverable),
    ("not_in_channel", Undeliverable),
    ("is_archived", Undeliverable),
    ("account_inactive", Undeliverable),
    ("token_revoked", Undeliverable),
    ("a_code_from_the_future", Undeliverable),
]


@pytest.mark.parametrize(("fault", "expected"), OPEN_FAULTS)
async def test_what_a_failed_open_means(house: House, fault: str, expected: type[DeliveryError]) -> None:
    house.slack.fail_next("chat.postMessage", fault)
    with pytest.raises(DeliveryError) as caught:
        await house.open("hello")

    assert type(caught.value) is expected
    assert len(house.slack.calls_of("chat.postMessage")) == 1
    if fault == "429":
        assert isinstance(caught.value, NotDelivered)
        assert caught.value.retry_after == RETRY_AFTER_SECONDS
    for secret in (house.slack.bot_token, "127.0.0.1", "hello"):
        assert secret not in str(caught.value)


EDIT_FAULTS: list[tuple[str, type[DeliveryError]]] = [
    ("429", NotDelivered),
    ("500", NotDelivered),
    ("garbage", NotDelivered),
    ("hang", NotDelivered),
    ("close_after", NotDelivered),
    ("internal_error", NotDelivered),
    ("message_not_found", Undeliverable),
    ("cant_update_message", Undeliverable),
    ("edit_window_closed", Undeliverable),
]


@pytest.mark.parametrize(("fault", "expected"), EDIT_FAULTS)
async def test_what_a_failed_edit_means(house: House, fault: str, expected: type[DeliveryError]) -> None:
    ts = await house.open("hello")
    house.slack.fail_next("chat.update", fault)
    with pytest.raises(DeliveryError) as caught:
        await house.edit(ts, "hello world")
    assert type(caught.value) is expected

    if expected is NotDelivered:
        await house.edit(ts, "hello world")
        assert house.slack.from_bot("D1")[0].shown == "hello world"


async def test_the_workspace_says_no_by_itself(house: House) -> None:
    theirs = house.slack.say("D1", "mine")
    for ts in (theirs, "1.000001"):
        with pytest.raises(Undeliverable):
            await house.edit(ts, "x")
    with pytest.raises(Undeliverable):
        await house.open("x", {"channel": "C404"})
    house.slack.closed_channels["D1"] = "is_archived"
    with pytest.raises(Undeliverable):
        await house.open("x")


async def test_slack_out_of_reach_is_certainly_not_delivered(house: House) -> None:
    ts = await house.open("hello")
    await house.slack.stop()
    with pytest.raises(NotDelivered):
        await house.open("hello")
    with pytest.raises(NotDelivered):
        await house.edit(ts, "hello")
    await house.slack.start()
    await house.edit(ts, "hello again")


async def test_a_message_of_unknown_fate_is_found_by_its_delivery(house: House) -> None:
    """In a channel and in a thread, among others' messages and over several pages."""
    began = datetime.now(UTC)
    root = house.slack.say("C1", f"{house.slack.mention} hi")
    thread = {"channel": "C1", "thread_ts": root}
    for address in (HERE, thread):
        assert await house.channel.find(address, 42, began) is None
        house.slack.fail_next("chat.postMessage", "close_after")
        with pytest.raises(DeliveryUnknown):
            await house.open("hello", address)
        for number in range(130):
            house.slack.say(
                address["channel"], f"chat {number}", **({"thread_ts": root} if address is thread else {})
            )
        (posted,) = house.slack.from_bot(address["channel"], address.get("thread_ts"))
        assert await house.channel.find(address, 42, began) == posted.ts
        assert await house.channel.find(address, 43, began) is None
    assert await house.channel.find(HERE, 42, began + timedelta(hours=1)) is None, "an older installation's"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("missing_scope", DeliveryUnknown),
        ("429", NotDelivered),
        ("500", NotDelivered),
        ("hang", NotDelivered),
    ],
)
async def test_what_a_failed_search_means(house: House, fault: str, expected: type[DeliveryError]) -> None:
    house.slack.fail_next("conversations.history", fault)
    with pytest.raises(expected):
        await house.channel.find(HERE, 42, datetime.now(UTC))


async def test_a_channel_too_busy_to_be_searched_stays_unknown(house: House) -> None:
    for number in range(SEARCH_PAGE * SEARCH_PAGES + 1):
        house.slack.say("D1", f"chat {number}")
    with pytest.raises(DeliveryUnknown):
        await house.channel.find(HERE, 42, datetime.now(UTC))
