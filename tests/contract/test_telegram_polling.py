"""Long polling against the stand-in: all comes in, once, and nothing is confirmed before it is written."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.errors import ConfigurationError, DeliveryUnknown
from tests.contract.telegram_bench import RecordingDesk, channel_for, polling
from tests.standins.telegram import Fault, TelegramStandIn
from tests.standins.telegram_chats import Json


@pytest.fixture
async def telegram() -> AsyncIterator[TelegramStandIn]:
    standin = TelegramStandIn()
    await standin.start()
    yield standin
    await standin.stop()


async def test_messages_come_in_order_and_are_confirmed(telegram: TelegramStandIn) -> None:
    desk = RecordingDesk()
    telegram.say(1, "before the start")
    async with polling(telegram, desk):
        telegram.say(1, "one")
        telegram.say(2, "two")
        await telegram.until(lambda: len(desk.messages) == 3 and not telegram.pending)

    assert desk.texts == ["before the start", "one", "two"]
    assert set(desk.offered.values()) == {1}
    assert {message.workspace for message in desk.messages} == {str(telegram.bot_id)}


async def test_the_start_announces_commands_and_never_drops_updates(telegram: TelegramStandIn) -> None:
    async with polling(telegram, RecordingDesk()):
        pass

    assert [command["command"] for command in telegram.commands] == [
        "start",
        "help",
        "memory",
        "page",
        "forget",
        "undo",
        "reset",
    ]
    assert len(telegram.calls_of("deleteWebhook")) == 1
    assert not [call for call in telegram.calls if call.params.get("drop_pending_updates") == "true"]


async def test_a_webhook_that_was_left_is_removed(telegram: TelegramStandIn) -> None:
    desk = RecordingDesk()
    await telegram.methods()["setwebhook"]({"url": "http://127.0.0.1:9/gone"})
    telegram.say(1, "waits behind the webhook")
    async with polling(telegram, desk):
        await telegram.until(lambda: desk.texts == ["waits behind the webhook"])


async def test_commands_that_cant_be_set_dont_keep_it_from_starting(telegram: TelegramStandIn) -> None:
    telegram.fail_next("setMyCommands", "server_error")
    desk = RecordingDesk()
    async with polling(telegram, desk):
        telegram.say(1, "hello")
        await telegram.until(lambda: desk.texts == ["hello"])


async def test_while_the_store_is_away_the_offset_stays(telegram: TelegramStandIn) -> None:
    desk = RecordingDesk(unavailable=4)
    async with polling(telegram, desk):
        first = telegram.say(1, "one")
        telegram.say(1, "two")
        await telegram.until(lambda: desk.offered["1:1"] >= 3)
        assert telegram.pending[0]["update_id"] == first["update_id"]
        await telegram.until(lambda: desk.texts == ["one", "two"] and not telegram.pending)

    assert desk.events == ["1:1", "1:2"]


async def test_what_wasnt_written_comes_again_after_a_restart(telegram: TelegramStandIn) -> None:
    away = RecordingDesk(unavailable=1_000_000)
    async with polling(telegram, away):
        telegram.say(1, "one")
        await telegram.until(lambda: away.offered["1:1"] >= 2)

    desk = RecordingDesk()
    async with polling(telegram, desk):
        await telegram.until(lambda: desk.texts == ["one"] and not telegram.pending)


async def test_a_stop_waits_for_what_is_being_written(telegram: TelegramStandIn) -> None:
    desk = RecordingDesk(hold=asyncio.Event())
    assert desk.hold is not None
    channel = channel_for(telegram, desk)
    await channel.start()
    telegram.say(1, "one")
    await telegram.until(lambda: desk.offered["1:1"] == 1)
    stopping = asyncio.create_task(channel.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    desk.hold.set()
    await asyncio.wait_for(stopping, 10)

    assert desk.texts == ["one"]
    await channel.stop()


@pytest.mark.parametrize(
    "kind", ["flood", "server_error", "close_before", "close_after", "garbage", "conflict"]
)
async def test_polling_goes_on_after_a_fault(telegram: TelegramStandIn, kind: Fault) -> None:
    desk = RecordingDesk()
    telegram.fail_next("getUpdates", kind, times=2, retry_after=0)
    async with polling(telegram, desk):
        telegram.say(1, "one")
        await telegram.until(lambda: desk.texts == ["one"] and not telegram.pending)

    assert desk.offered["1:1"] == 1


async def test_flood_control_is_obeyed(telegram: TelegramStandIn) -> None:
    desk = RecordingDesk()
    telegram.fail_next("getUpdates", "flood", retry_after=3600)
    async with polling(telegram, desk):
        await telegram.until(lambda: len(telegram.calls_of("getUpdates")) == 1)
        telegram.say(1, "one")
        await asyncio.sleep(0.3)

    assert len(telegram.calls_of("getUpdates")) == 1


async def test_two_pollers_both_live_on(telegram: TelegramStandIn) -> None:
    desk = RecordingDesk()
    async with polling(telegram, desk), polling(telegram, desk):
        for number in range(5):
            telegram.say(1, str(number))
        await telegram.until(lambda: len(desk.messages) == 5 and not telegram.pending)

    assert sorted(desk.texts) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    "content",
    [
        {"message_id": "x"},
        {},
        {"message_id": 1, "date": 10**30, "chat": {"id": 1, "type": "private"}, "text": "hi"},
        {"message_id": 1, "date": 1, "chat": None, "text": "hi"},
        "not even an object",
    ],
)
async def test_an_update_that_cant_be_read_is_passed_over(telegram: TelegramStandIn, content: Json) -> None:
    desk = RecordingDesk()
    async with polling(telegram, desk):
        telegram.push("message", content)
        telegram.say(1, "after it")
        await telegram.until(lambda: desk.texts == ["after it"] and not telegram.pending)


async def test_updates_for_others_are_passed_over(telegram: TelegramStandIn) -> None:
    desk = RecordingDesk()
    async with polling(telegram, desk):
        await telegram.until(lambda: bool(telegram.calls_of("getUpdates")))
        telegram.push("message_reaction", {"not": "asked for"})
        telegram.say(-100, "chatter in a group")
        telegram.say(-100, f"@{telegram.bot_username} hello")
        await telegram.until(lambda: desk.texts == ["hello"] and not telegram.pending)


async def test_an_edit_follows_its_message(telegram: TelegramStandIn) -> None:
    desk = RecordingDesk()
    async with polling(telegram, desk):
        telegram.say(1, "I live in Prto")
        telegram.correct(1, 1, "I live in Porto")
        await telegram.until(lambda: len(desk.messages) == 2)

    assert desk.texts == ["I live in Prto", "I live in Porto"]
    assert desk.messages[1].replaces == desk.messages[0].event


async def test_a_message_that_cant_be_one_is_declined(telegram: TelegramStandIn) -> None:
    desk = RecordingDesk()
    async with polling(telegram, desk):
        telegram.say(1, "   ")
        telegram.say(1, "hello")
        await telegram.until(lambda: desk.texts == ["hello"] and not telegram.pending)
    assert desk.declined == [("1", "There is nothing in your message.")]


async def test_one_poisonous_update_doesnt_block_the_others(telegram: TelegramStandIn) -> None:
    desk = RecordingDesk(broken_by="poison")
    telegram.say(1, "poison")
    telegram.say(1, "hello")
    async with polling(telegram, desk):
        await telegram.until(lambda: desk.texts == ["hello"] and not telegram.pending)
        assert desk.offered["1:1"] == 4, "once with the other, three times alone"
        telegram.say(1, "poison")
        telegram.say(1, "again")
        await telegram.until(lambda: desk.texts == ["hello", "again"] and not telegram.pending)


async def test_a_lone_poisonous_update_is_offered_three_times(telegram: TelegramStandIn) -> None:
    desk = RecordingDesk(broken_by="poison")
    telegram.say(1, "poison")
    async with polling(telegram, desk):
        await telegram.until(lambda: not telegram.pending)

    assert desk.offered["1:1"] == 3


async def test_a_platform_that_is_away_is_found_later(telegram: TelegramStandIn) -> None:
    desk = RecordingDesk()
    port = int(telegram.url.rpartition(":")[2])
    await telegram.stop()
    async with polling(telegram, desk):
        await telegram.start(port)
        telegram.say(1, "hello")
        await telegram.until(lambda: desk.texts == ["hello"])


@pytest.mark.parametrize(
    "token", ["123456789:AAnotherTokenAnotherTokenAnotherTo", "123:short", "no-token-at-all"]
)
async def test_a_wrong_token_is_one_clear_line(telegram: TelegramStandIn, token: str) -> None:
    channel = channel_for(telegram, RecordingDesk(), telegram_bot_token=token)
    with pytest.raises(ConfigurationError, match="TELEGRAM_BOT_TOKEN") as refused:
        await channel.start()

    assert token not in str(refused.value)
    await channel.stop()


@pytest.mark.parametrize("token", ["", "12:ab/../cd", "12:ab cd", "12:\nab"])
def test_a_garbled_token_isnt_even_tried(token: str) -> None:
    with pytest.raises(ConfigurationError, match="TELEGRAM_BOT_TOKEN"):
        channel_for(TelegramStandIn(url="http://127.0.0.1:9"), RecordingDesk(), telegram_bot_token=token)


async def test_neither_token_nor_words_come_into_the_logs(
    telegram: TelegramStandIn, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = RecordingDesk(unavailable=1)
    telegram.fail_next("getUpdates", "server_error")
    telegram.fail_next("sendMessage", "garbage")
    with caplog.at_level("DEBUG"):
        async with polling(telegram, desk) as channel:
            telegram.say(1, "my secret words")
            telegram.push("message", {"message_id": 9, "text": "my secret words"})
            await telegram.until(lambda: desk.texts == ["my secret words"] and not telegram.pending)
            telegram.fail_next("getUpdates", "garbage")
            telegram.say(1, "my secret words, again")
            await telegram.until(lambda: len(desk.texts) == 2 and not telegram.pending)
            with pytest.raises(DeliveryUnknown):
                await channel.open({"chat_id": "1"}, "my answer", reply_to=None, delivery_id=1, final=True)

    printed = capsys.readouterr()
    everything = caplog.text + printed.out + printed.err
    assert telegram.token not in everything
    assert "my secret words" not in everything
    assert "my answer" not in everything
