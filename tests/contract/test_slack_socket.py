"""Slack over Socket Mode: envelopes are acknowledged after the desk, or come again."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from bots.slack.adapter import SlackChannel
from core.errors import ConfigurationError, InvalidMessage, StoreUnavailable
from tests.contract.slack_desk import RecordingDesk, served, settings_for
from tests.standins.slack import SlackStandIn


@dataclass
class House:
    slack: SlackStandIn
    desk: RecordingDesk
    channel: SlackChannel


@pytest.fixture
async def house() -> AsyncIterator[House]:
    slack, desk = SlackStandIn(retry_seconds=2.0), RecordingDesk()
    await slack.start()
    channel = SlackChannel(settings_for(slack), desk)
    async with served(channel):
        yield House(slack, desk, channel)
    await slack.stop()


async def test_a_mention_arrives_as_two_events_with_one_key(house: House) -> None:
    ts = house.slack.say("C1", f"{house.slack.mention} hello")
    await house.slack.settled()

    assert {message.event for message in house.desk.handed} == {f"C1:{ts}"}
    assert len(house.slack.deliveries) == 2
    assert house.desk.rows == 1


async def test_socket_mode_serves_no_route(house: House) -> None:
    assert house.channel.routes() == []


async def test_the_acknowledgement_waits_for_the_desk(house: House) -> None:
    house.desk.may_finish.clear()
    house.slack.say("D1", "hi")
    await house.slack.wait(lambda: len(house.desk.handed) > 1)
    assert set(house.slack.deliveries[0].attempts) == {"timeout"}

    house.desk.may_finish.set()
    await house.slack.settled()
    assert house.desk.rows == 1


async def test_what_the_store_cannot_take_comes_again(house: House) -> None:
    house.desk.refusals = [StoreUnavailable("full"), RuntimeError("a fault of ours")]
    house.slack.say("D1", "hi")
    await house.slack.settled()

    assert house.slack.deliveries[0].attempts == ["timeout", "timeout", "ok"]
    assert (len(house.desk.handed), house.desk.rows) == (3, 1)


async def test_a_message_that_cannot_be_is_told_and_acknowledged(house: House) -> None:
    house.desk.refusals = [InvalidMessage("Too long.")]
    house.slack.say("D1", "x")
    await house.slack.settled()
    assert house.slack.deliveries[0].attempts == ["ok"]
    assert [line for _, line in house.desk.declined] == ["Too long."]


@pytest.mark.parametrize("how", ["refresh", "drop"])
async def test_a_lost_line_is_taken_up_again(house: House, how: str) -> None:
    await getattr(house.slack.socket, how)()
    await house.slack.wait(lambda: house.slack.socket.connections > 1)
    house.slack.say("D1", "still there?")
    await house.slack.settled()
    assert house.desk.rows == 1


async def test_slack_away_for_a_while_after_the_start(house: House) -> None:
    await house.slack.stop()
    await asyncio.sleep(0.7)
    await house.slack.start()
    await house.slack.wait(lambda: house.slack.socket.connections > 1)
    house.slack.say("D1", "back again")
    await house.slack.settled()
    assert house.desk.rows == 1


async def test_slack_away_at_the_start_is_no_error() -> None:
    slack, desk = SlackStandIn(retry_seconds=2.0), RecordingDesk()
    await slack.start()
    await slack.stop()
    async with served(SlackChannel(settings_for(slack), desk)):
        await slack.start()
        slack.say("D1", "hi")
        await slack.settled()
    await slack.stop()
    assert desk.rows == 1


async def test_a_stop_lets_what_is_accepted_be_acknowledged() -> None:
    slack, desk = SlackStandIn(), RecordingDesk()
    await slack.start()
    channel = SlackChannel(settings_for(slack), desk)
    async with served(channel):
        desk.may_finish.clear()
        slack.say("D1", "hi")
        await slack.wait(lambda: bool(desk.handed))
        stopping = asyncio.ensure_future(channel.stop())
        await asyncio.sleep(0.05)
        slack.say("D1", "too late")
        desk.may_finish.set()
        await stopping
        await channel.stop()
    await slack.stop()

    assert [delivery.acknowledged for delivery in slack.deliveries] == [True, False]
    assert [message.text for message in desk.handed] == ["hi"]


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({"slack_bot_token": "xoxb-wrong"}, "SLACK_BOT_TOKEN"),
        ({"slack_app_token": "xapp-wrong"}, "SLACK_APP_TOKEN"),
        ({"slack_app_token": "xoxb-stand-in"}, "SLACK_APP_TOKEN"),
        ({"slack_app_token": None}, "SLACK_APP_TOKEN"),
        ({"slack_bot_token": "xapp-stand-in"}, "SLACK_BOT_TOKEN"),
    ],
)
async def test_wrong_tokens_are_named(overrides: dict[str, str | None], name: str) -> None:
    slack = SlackStandIn()
    await slack.start()
    channel = SlackChannel(settings_for(slack, **overrides), RecordingDesk())
    with pytest.raises(ConfigurationError, match=name) as caught:
        await channel.start()
    assert not any(str(value) in str(caught.value) for value in overrides.values() if value)
    await slack.stop()


async def test_no_words_and_no_tickets_are_logged(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    house.desk.refusals = [RuntimeError("a fault of ours")]
    house.slack.say("D1", "my secret words")
    await house.slack.settled()
    await house.slack.socket.drop()
    await house.slack.wait(lambda: house.slack.socket.connections > 1)

    written = "\n".join(record.getMessage() + str(record.exc_text) for record in caplog.records)
    assert "slack_library_RuntimeError" in written
    for secret in ("my secret words", "ticket=", house.slack.bot_token, house.slack.app_token):
        assert secret not in written
