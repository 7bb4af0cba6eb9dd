"""Writing to Telegram: what is shown, and what each way of failing means for a delivery."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from bots.channel import Channel
from bots.telegram.adapter import TelegramChannel
from core.errors import DeliveryError, DeliveryUnknown, NotDelivered, Undeliverable
from core.storage.pacer import Limit
from tests.contract.telegram_bench import RecordingDesk, channel_for
from tests.standins.telegram import Fault, TelegramStandIn

ANA = {"chat_id": "1"}
GROUP = {"chat_id": "-100"}


@pytest.fixture
async def telegram() -> AsyncIterator[TelegramStandIn]:
    standin = TelegramStandIn()
    await standin.start()
    standin.say(1, "hello")
    standin.say(-100, "hello")
    yield standin
    await standin.stop()


@pytest.fixture
async def channel(telegram: TelegramStandIn) -> AsyncIterator[TelegramChannel]:
    made = channel_for(telegram, RecordingDesk())
    yield made
    await made.stop()


@pytest.fixture
async def hasty(telegram: TelegramStandIn) -> AsyncIterator[TelegramChannel]:
    """A channel that doesn't wait long for an answer."""
    made = channel_for(telegram, RecordingDesk(), platform_timeout_seconds=0.4)
    yield made
    await made.stop()


async def write(channel: TelegramChannel, text: str, address: dict[str, str] = ANA) -> str:
    return await channel.open(address, text, reply_to="1", delivery_id=1, final=False)


async def change(
    channel: TelegramChannel, message: str, text: str, address: dict[str, str] = ANA, *, final: bool = True
) -> None:
    await channel.edit(address, message, text, delivery_id=1, final=final)


async def test_it_is_a_channel(channel: Channel) -> None:
    assert channel.name == "telegram"
    assert channel.pace.edit_interval_seconds == 1.0
    assert channel.split("hello") == ["hello"]
    assert channel.split(" ") == []


async def test_a_reply_is_opened_and_edited(telegram: TelegramStandIn, channel: TelegramChannel) -> None:
    message = await write(channel, "Good **mor")
    await change(channel, message, "Good **morning** [Ana](https://a.example)")

    (shown,) = telegram.chat(1).from_bot
    assert (str(shown.message_id), shown.text, shown.history) == (message, "Good morning Ana", ["Good **mor"])
    assert [entity["type"] for entity in shown.entities] == ["bold", "text_link"]
    assert telegram.calls_of("sendMessage")[0].params["link_preview_options"] == {"is_disabled": True}
    assert telegram.calls_of("editMessageText")[0].params["link_preview_options"] == {"is_disabled": True}


async def test_only_in_groups_the_answer_points_at_the_question(
    telegram: TelegramStandIn, channel: TelegramChannel
) -> None:
    await write(channel, "to Ana")
    await write(channel, "to the group", GROUP)
    await channel.open(GROUP, "to nobody", reply_to="999", delivery_id=2, final=True)

    assert "reply_to_message" not in telegram.chat(1).from_bot[0].raw
    assert telegram.chat(-100).from_bot[0].raw["reply_to_message"]["message_id"] == 1
    assert telegram.chat(-100).from_bot[1].text == "to nobody"


async def test_a_topic_is_answered_in_the_topic(telegram: TelegramStandIn, channel: TelegramChannel) -> None:
    telegram.say(-100, "in a topic", thread=12)
    address = {"chat_id": "-100", "thread_id": "12"}
    await channel.show_thinking(address)
    await write(channel, "an answer", address)

    assert telegram.calls_of("sendChatAction")[0].params["message_thread_id"] == "12"
    assert telegram.chat(-100).from_bot[0].raw["message_thread_id"] == 12


async def test_every_part_of_a_long_reply_is_taken(
    telegram: TelegramStandIn, channel: TelegramChannel
) -> None:
    book = "\n\n".join(f"**{number}** 😀 " + "word " * 150 for number in range(20))
    for part in channel.split(book):
        await write(channel, part)

    assert sum(shown.text.count("word") for shown in telegram.chat(1).from_bot) == 20 * 150


async def test_showing_the_same_again_is_no_error(
    telegram: TelegramStandIn, channel: TelegramChannel
) -> None:
    message = await write(channel, "**hello**")
    await change(channel, message, "**hello**")

    assert len(telegram.calls_of("editMessageText")) == 1


async def test_entities_that_are_refused_are_left_out(
    telegram: TelegramStandIn, channel: TelegramChannel
) -> None:
    telegram.fail_next("sendMessage", "entities")
    telegram.fail_next("editMessageText", "entities")
    message = await write(channel, "**hello**")
    await change(channel, message, "**hello** there")

    (shown,) = telegram.chat(1).from_bot
    assert (shown.text, shown.entities) == ("hello there", [])


async def test_a_group_that_moved_is_followed(telegram: TelegramStandIn, channel: TelegramChannel) -> None:
    telegram.chat(-100).moved_to = -200
    telegram.say(-200, "here we are")
    message = await write(channel, "**hello**", GROUP)
    await change(channel, message, "hello again", GROUP)

    assert [shown.text for shown in telegram.chat(-200).from_bot] == ["hello again"]


@pytest.mark.parametrize(
    ("fault", "opening", "editing"),
    [
        ("flood", NotDelivered, NotDelivered),
        ("server_error", DeliveryUnknown, NotDelivered),
        ("hang", DeliveryUnknown, NotDelivered),
        ("close_before", DeliveryUnknown, NotDelivered),
        ("close_after", DeliveryUnknown, NotDelivered),
        ("garbage", DeliveryUnknown, NotDelivered),
        ("forbidden", Undeliverable, Undeliverable),
    ],
)
async def test_what_a_failure_means(
    telegram: TelegramStandIn,
    channel: TelegramChannel,
    hasty: TelegramChannel,
    fault: Fault,
    opening: type[DeliveryError],
    editing: type[DeliveryError],
) -> None:
    message = await write(channel, "hello")
    telegram.fail_next("sendMessage", fault)
    telegram.fail_next("editMessageText", fault)
    failing = hasty if fault == "hang" else channel
    with pytest.raises(opening):
        await write(failing, "again")
    with pytest.raises(editing):
        await change(failing, message, "changed")

    assert len(telegram.calls_of("sendMessage")) == 2
    assert len(telegram.calls_of("editMessageText")) == 1


async def test_an_edit_of_unknown_fate_can_be_repeated(
    telegram: TelegramStandIn, channel: TelegramChannel
) -> None:
    message = await write(channel, "hello")
    telegram.fail_next("editMessageText", "close_after")
    with pytest.raises(NotDelivered):
        await change(channel, message, "changed")
    await change(channel, message, "changed")

    assert telegram.chat(1).from_bot[0].text == "changed"


async def test_flood_control_says_how_long(telegram: TelegramStandIn, channel: TelegramChannel) -> None:
    telegram.fail_next("sendMessage", "flood", retry_after=7)
    with pytest.raises(NotDelivered) as refused:
        await write(channel, "hello")

    assert refused.value.retry_after == 7


async def test_a_refused_connection_is_certain(telegram: TelegramStandIn, channel: TelegramChannel) -> None:
    await telegram.stop()
    with pytest.raises(NotDelivered):
        await write(channel, "hello")
    with pytest.raises(NotDelivered):
        await change(channel, "2", "hello")


async def test_after_the_stop_nothing_leaves(telegram: TelegramStandIn, channel: TelegramChannel) -> None:
    await channel.start()
    await channel.stop()
    with pytest.raises(NotDelivered):
        await write(channel, "hello")


async def test_a_token_that_was_revoked_is_certain(
    telegram: TelegramStandIn, channel: TelegramChannel
) -> None:
    telegram.token = "123456789:AAnotherTokenAnotherTokenAnotherTo"
    with pytest.raises(NotDelivered) as refused:
        await write(channel, "hello")

    assert "AA" not in str(refused.value)


@pytest.mark.parametrize("address", [{"chat_id": "404"}, {"chat_id": "1", "thread_id": "9"}])
async def test_a_place_that_is_gone_is_for_good(channel: TelegramChannel, address: dict[str, str]) -> None:
    with pytest.raises(Undeliverable):
        await write(channel, "hello", address)


async def test_a_person_who_blocked_the_bot(telegram: TelegramStandIn, channel: TelegramChannel) -> None:
    message = await write(channel, "hello")
    telegram.chat(1).blocked = True
    with pytest.raises(Undeliverable):
        await write(channel, "hello")
    with pytest.raises(Undeliverable):
        await change(channel, message, "changed")


@pytest.mark.parametrize("message", ["1", "404"])
async def test_a_message_that_cant_be_edited(channel: TelegramChannel, message: str) -> None:
    with pytest.raises(Undeliverable):
        await change(channel, message, "changed")


@pytest.mark.parametrize("text", ["", "   ", "\n"])
async def test_blank_text_is_never_shown(channel: TelegramChannel, text: str) -> None:
    with pytest.raises(Undeliverable):
        await write(channel, text)


async def test_typing_is_shown(telegram: TelegramStandIn, channel: TelegramChannel) -> None:
    await channel.show_thinking(ANA)

    assert telegram.calls_of("sendChatAction")[0].params == {"chat_id": "1", "action": "typing"}


@pytest.mark.parametrize("fault", ["flood", "server_error", "hang", "close_before", "forbidden"])
async def test_typing_that_fails_is_let_go(
    telegram: TelegramStandIn, hasty: TelegramChannel, fault: Fault
) -> None:
    telegram.fail_next("sendChatAction", fault)
    await hasty.show_thinking(ANA)
    await telegram.stop()
    await hasty.show_thinking(ANA)


async def test_its_limits_are_telegrams_own(channel: TelegramChannel) -> None:
    chat, bot = "telegram:1", "telegram"
    assert list(channel.limits(ANA, live=False)) == [Limit(chat, 1, 1.0), Limit(bot, 30, 1.0)]
    group = "telegram:-100"
    assert list(channel.limits(GROUP, live=False)) == [
        Limit(group, 1, 1.0),
        Limit(bot, 30, 1.0),
        Limit(group, 20, 60.0),
    ]


@pytest.mark.parametrize("address", [ANA, GROUP])
async def test_live_edits_leave_room_for_what_must_arrive(
    channel: TelegramChannel, address: dict[str, str]
) -> None:
    counts = {(limit.key, limit.seconds): limit.count for limit in channel.limits(address, live=False)}
    live = {(limit.key, limit.seconds): limit.count for limit in channel.limits(address, live=True)}
    assert live["telegram", 1.0] < counts["telegram", 1.0]
    if address is GROUP:
        assert live["telegram:-100", 60.0] < counts["telegram:-100", 60.0]
        assert live["telegram:-100", 3.0] == 1, "an edit every three seconds, or a minute's room is gone"


async def test_telegram_cannot_be_asked_what_became_of_a_message(channel: TelegramChannel) -> None:
    with pytest.raises(DeliveryUnknown):
        await channel.find(ANA, 7, datetime.now(UTC))


async def test_a_private_chat_is_edited_each_time(
    telegram: TelegramStandIn, channel: TelegramChannel
) -> None:
    message = await write(channel, "o")
    await change(channel, message, "on", final=False)
    await change(channel, message, "one", final=False)

    assert telegram.chat(1).from_bot[0].history == ["o", "on"]
