"""Slack and the whole core: a mention in, one streamed reply out, by socket and by HTTP."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bots.front_desk import FrontDesk
from bots.slack.adapter import SlackChannel
from core.app import App, open_app
from core.settings import Settings
from core.storage.database import database_url, upgrade
from deploy.local import parts_for
from tests.contract.slack_desk import served, settings_for
from tests.standins.model import ModelStandIn
from tests.standins.slack import SlackStandIn

WITHIN_SECONDS = 60.0


@pytest.fixture(scope="module")
async def parts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Settings]:
    """Redis and Chroma, started for this file."""
    data_dir: Path = tmp_path_factory.mktemp("slack")
    bare = Settings(_env_file=None, mneme_data_dir=data_dir, redis_url=None, chroma_url=None)  # type: ignore[call-arg]
    async with parts_for(bare, {"redis", "chroma"}) as settings:
        yield settings


@dataclass
class House:
    slack: SlackStandIn
    app: App

    async def replies(self, channel: str, thread_ts: str | None = None, *, count: int = 1) -> list[str]:
        """What the bot shows there, once `count` replies are complete and nothing more is being written."""

        def done() -> bool:
            shown = self.slack.from_bot(channel, thread_ts)
            return len(shown) >= count and not self.app.lanes.at_work

        await self.slack.wait(done, within_seconds=WITHIN_SECONDS)
        return [posted.shown for posted in self.slack.from_bot(channel, thread_ts)]


@pytest.fixture(params=["socket", "http"])
async def house(parts: Settings, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    slack, model = SlackStandIn(retry_seconds=3.0), ModelStandIn()
    await slack.start()
    await model.start()
    settings = settings_for(
        slack,
        slack_mode=request.param,
        mneme_data_dir=tmp_path,
        redis_url=parts.redis_url,
        chroma_url=parts.chroma_url,
        openai_base_url=model.base_url,
        openai_api_key=model.key,
        access="open",
        burst_seconds=0.1,
    )
    await asyncio.to_thread(upgrade, database_url(settings))
    async with open_app(settings) as app:
        desk = FrontDesk(app.database, app.inbox, app.conversations, app.lanes)
        channel = SlackChannel(settings, desk)
        app.outlets[channel.name] = channel
        working = asyncio.gather(app.lanes.run(), app.bell.listen())
        async with served(channel) as url:
            slack.events_url = url if request.param == "http" else None
            yield House(slack, app)
        await app.lanes.stop()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    await model.stop()
    await slack.stop()


async def test_a_mention_is_answered_once_in_its_thread(house: House) -> None:
    root = house.slack.say("C1", f"{house.slack.mention} what is the time?")
    assert await house.replies("C1", root) == ["You said: Ana: what is the time?"]

    house.slack.say("C1", "and <@UBEN|ben> asks too", thread_ts=root, user="UBEN")
    replies = await house.replies("C1", root, count=2)
    assert len(replies) == 2
    assert "and @ben asks too" in replies[1]
    assert house.slack.from_bot("C1") == []


async def test_a_direct_message_and_a_command(house: House) -> None:
    house.slack.say("D1", "hello there")
    assert await house.replies("D1") == ["You said: hello there"]

    house.slack.say("D1", "!help")
    replies = await house.replies("D1", count=2)
    assert len(replies) == 2
    assert "Mneme" in replies[1]


async def test_an_empty_mention_is_told_so(house: House) -> None:
    root = house.slack.say("C1", house.slack.mention)
    (told,) = await house.replies("C1", root)
    assert "empty" in told
    await house.slack.settled()
