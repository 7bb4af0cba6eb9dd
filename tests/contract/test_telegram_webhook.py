"""The webhook route: only Telegram may call it, and it says yes only to what is written down."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from bots.telegram.adapter import MAX_WEBHOOK_BYTES, TelegramChannel
from core.errors import ConfigurationError
from tests.contract.telegram_bench import SECRET, RecordingDesk, channel_for, serving
from tests.standins.telegram import TelegramStandIn
from tests.standins.telegram_chats import Json

HEADER = "X-Telegram-Bot-Api-Secret-Token"


@pytest.fixture
async def telegram() -> AsyncIterator[TelegramStandIn]:
    standin = TelegramStandIn()
    await standin.start()
    yield standin
    await standin.stop()


def webhook_channel(telegram: TelegramStandIn, desk: RecordingDesk, **changes: Any) -> TelegramChannel:
    given: Json = {"telegram_mode": "webhook", "telegram_webhook_secret": SECRET}
    return channel_for(telegram, desk, **{**given, **changes})


class Served:
    """A started channel behind its route, and a way to post to it."""

    def __init__(
        self, telegram: TelegramStandIn, desk: RecordingDesk, session: ClientSession, url: str
    ) -> None:
        self.telegram, self.desk = telegram, desk
        self._session, self._url = session, url + "/telegram/webhook"

    async def post(self, body: Any, secret: str | None = SECRET, **headers: str) -> int:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = headers if secret is None else {HEADER: secret, **headers}
        async with self._session.post(self._url, data=data, headers=given) as answer:
            return answer.status


@pytest.fixture
async def served(telegram: TelegramStandIn) -> AsyncIterator[Served]:
    desk = RecordingDesk()
    channel = webhook_channel(telegram, desk)
    async with serving(channel) as url, ClientSession() as session:
        await channel.start()
        yield Served(telegram, desk, session, url)
        await channel.stop()


async def test_telegram_delivers_through_the_webhook(telegram: TelegramStandIn) -> None:
    desk = RecordingDesk(unavailable=2)
    # The address is known only once the route is served, as it is behind a proxy.
    async with serving(webhook_channel(telegram, desk)) as probe:
        port = int(probe.rpartition(":")[2])
    channel = webhook_channel(telegram, desk, public_url=f"http://127.0.0.1:{port}")
    telegram.say(1, "before the start")
    async with serving(channel, port):
        await channel.start()
        telegram.say(1, "one")
        await telegram.until(lambda: len(desk.messages) == 2 and not telegram.pending)
        await channel.stop()

    assert desk.texts == ["before the start", "one"]
    assert [status for _, status in telegram.deliveries] == [503, 503, 200, 200]
    assert telegram.webhook is not None
    assert telegram.webhook.secret == SECRET
    assert not telegram.calls_of("getUpdates")


async def test_a_update_is_taken(served: Served) -> None:
    assert await served.post(served.telegram.say(1, "hello")) == 200
    assert served.desk.texts == ["hello"]


async def test_the_same_update_three_times_at_once_is_one_message(served: Served) -> None:
    update = served.telegram.say(1, "hello")
    statuses = await asyncio.gather(*(served.post(update) for _ in range(3)))

    assert statuses == [200, 200, 200]
    assert served.desk.texts == ["hello"]


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "x", SECRET[:-1], "sécret", "\udcff\udcfe"])
async def test_a_wrong_secret_is_turned_away(served: Served, secret: str | None) -> None:
    assert await served.post(served.telegram.say(1, "hello"), secret) == 401
    assert served.desk.messages == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[]", b'"text"', b"null", b"{}", b'{"update_id": "1"}', b"[" * 100_000],
)
async def test_what_isnt_an_update_is_a_bad_request(served: Served, body: bytes) -> None:
    assert await served.post(body) == 400


async def test_a_body_larger_than_any_update_is_refused(served: Served) -> None:
    assert await served.post(b" " * (MAX_WEBHOOK_BYTES + 1)) == 413


@pytest.mark.parametrize(
    "content",
    [{"message": {"message_id": "x"}}, {"message": "text"}, {"poll": {}}, {"some_future_update": {"a": 1}}],
)
async def test_an_update_that_cant_be_read_isnt_asked_for_again(served: Served, content: Json) -> None:
    assert await served.post({"update_id": 1, **content}) == 200
    assert served.desk.messages == []


async def test_while_the_store_is_away_telegram_keeps_it(served: Served) -> None:
    served.desk.unavailable = 1
    update = served.telegram.say(1, "hello")

    assert await served.post(update) == 503
    assert await served.post(update) == 200
    assert served.desk.texts == ["hello"]


async def test_a_message_that_cant_be_one_is_declined(served: Served) -> None:
    assert await served.post(served.telegram.say(1, " ")) == 200
    assert served.desk.declined == [("1", "There is nothing in your message.")]


async def test_until_telegram_says_who_the_bot_is_it_must_wait(telegram: TelegramStandIn) -> None:
    desk = RecordingDesk()
    port = int(telegram.url.rpartition(":")[2])
    channel = webhook_channel(telegram, desk)
    await telegram.stop()
    async with serving(channel) as url, ClientSession() as session:
        served = Served(telegram, desk, session, url)
        await channel.start()
        update = telegram.say(1, "hello")
        assert await served.post(update) == 503
        await telegram.start(port)
        await telegram.until(lambda: bool(telegram.commands))
        assert await served.post(update) == 200
        await channel.stop()
        assert await served.post(update) == 503

    assert desk.texts == ["hello"]


async def test_a_route_without_a_start_lets_nobody_in(telegram: TelegramStandIn) -> None:
    channel = webhook_channel(telegram, RecordingDesk(), telegram_webhook_secret=None)
    async with serving(channel) as url, ClientSession() as session:
        served = Served(telegram, RecordingDesk(), session, url)
        assert await served.post({"update_id": 1}, None) == 401
        assert await served.post({"update_id": 1}, "") == 401
    await channel.stop()


@pytest.mark.parametrize("secret", [None, "with space", "ümlaut", "x" * 257])
async def test_a_webhook_needs_a_secret(telegram: TelegramStandIn, secret: str | None) -> None:
    channel = webhook_channel(telegram, RecordingDesk(), telegram_webhook_secret=secret)
    with pytest.raises(ConfigurationError, match="TELEGRAM_WEBHOOK_SECRET"):
        await channel.start()
    await channel.stop()


async def test_a_public_url_that_telegram_doesnt_take(telegram: TelegramStandIn) -> None:
    telegram.allow_http_webhook = False
    channel = webhook_channel(telegram, RecordingDesk(), public_url="http://mneme.example")
    with pytest.raises(ConfigurationError, match="PUBLIC_URL"):
        await channel.start()
    await channel.stop()


def test_polling_serves_no_route(telegram: TelegramStandIn) -> None:
    assert channel_for(telegram, RecordingDesk()).routes() == []
