"""The Telegram Mini App: who Telegram says opened it gets in, once, and into no other's memory."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import httpx
import pytest
from pydantic import SecretStr

from bots.telegram.mapping import CHANNEL
from bots.web.gate import APP_COOKIE
from core.app import App, open_app
from core.messages import Sender
from core.settings import Settings
from core.storage.schema import sign_ins
from core.users.people import Admission
from tests.integration.remembering import ONE_DATABASE
from tests.integration.web_service import WebService, running_service
from tests.standins.telegram import TelegramStandIn
from tests.standins.telegram_app import init_data

pytestmark = ONE_DATABASE
ANA, BEN, STRANGER, AT_THE_DOOR = 11, 12, 13, 14
SIGN_IN = "/telegram/app/sign-in"
FRAMED = "frame-ancestors https://web.telegram.org"


@dataclass(frozen=True)
class Telegram:
    """A service with a bot, and what Telegram signs for those who open its Mini App."""

    web: WebService
    bot: TelegramStandIn

    def signs(self, account: int, **fields: str) -> str:
        return init_data(self.bot.token, account, datetime.now(UTC), **fields)


@pytest.fixture
async def bot() -> AsyncIterator[TelegramStandIn]:
    stand_in = TelegramStandIn()
    await stand_in.start()
    yield stand_in
    await stand_in.stop()


def with_bot(settings: Settings, bot: TelegramStandIn, public_url: str | None = None) -> Settings:
    token = SecretStr(bot.token)
    return settings.model_copy(
        update={
            "telegram_bot_token": token,
            "telegram_api_base_url": bot.url,
            "public_url": public_url,
        }
    )


@pytest.fixture
async def telegram(settings: Settings, bot: TelegramStandIn) -> AsyncIterator[Telegram]:
    async with open_app(with_bot(settings, bot)) as app, running_service(app) as web:
        for account in (ANA, BEN, AT_THE_DOOR):
            await meet(app, bot, account, admitted=account != AT_THE_DOOR)
        yield Telegram(web, bot)


async def meet(app: App, bot: TelegramStandIn, account: int, *, admitted: bool) -> None:
    sender = Sender(str(account), f"Person {account}")
    by = Admission.INVITE if admitted else None
    async with app.database.write() as connection:
        await app.people.meet(connection, CHANNEL, str(bot.bot_id), sender, admitted=by)


async def opened(client: httpx.AsyncClient, data: str) -> int:
    return (await client.post(SIGN_IN, data={"init_data": data})).status_code


async def shown_to(client: httpx.AsyncClient) -> str:
    """Whose memory the page shows, by name; "" for nobody's."""
    page = await client.get("/memory")
    names = [f"Person {account}" for account in (ANA, BEN, STRANGER, AT_THE_DOOR)]
    return next((name for name in names if name in page.text), "")


async def test_who_opened_it_sees_their_own_memory(telegram: Telegram) -> None:
    async with telegram.web.stranger() as ana, telegram.web.stranger() as ben:
        assert await opened(ana, telegram.signs(ANA)) == 200
        assert await opened(ben, telegram.signs(BEN)) == 200
        assert (await shown_to(ana), await shown_to(ben)) == (f"Person {ANA}", f"Person {BEN}")


async def test_nobody_else_gets_in(telegram: Telegram) -> None:
    other_bot = init_data("987654321:AAAnother", ANA, datetime.now(UTC))
    stale = init_data(telegram.bot.token, ANA, datetime.now(UTC) - timedelta(minutes=6))
    future = init_data(telegram.bot.token, ANA, datetime.now(UTC) + timedelta(minutes=2))
    tampered = telegram.signs(ANA).replace(f"%3A{ANA}", f"%3A{BEN}")
    for data in (
        other_bot,
        stale,
        future,
        tampered,
        telegram.signs(STRANGER),
        telegram.signs(AT_THE_DOOR),
        "",
    ):
        async with telegram.web.stranger() as client:
            assert await opened(client, data) == 403
            assert APP_COOKIE not in client.cookies
            assert await shown_to(client) == ""


async def test_what_was_signed_once_opens_once(telegram: Telegram) -> None:
    data = telegram.signs(ANA)
    async with telegram.web.stranger() as ana, telegram.web.stranger() as thief:
        assert await opened(ana, data) == 200
        assert await opened(thief, data) == 403
        assert await shown_to(thief) == ""
        # A window that is loaded twice stays open.
        assert await opened(ana, data) == 200
        assert await shown_to(ana) == f"Person {ANA}"


async def test_opening_it_again_is_a_new_session_and_ends_the_old_one(telegram: Telegram) -> None:
    async with telegram.web.stranger() as ana, telegram.web.stranger() as thief:
        await opened(ana, telegram.signs(ANA))
        fixed = ana.cookies[APP_COOKIE]
        await opened(ana, telegram.signs(ANA, query_id="another"))
        assert ana.cookies[APP_COOKIE] != fixed
        thief.cookies.set(APP_COOKIE, fixed)
        assert await shown_to(thief) == ""


async def test_another_site_cannot_sign_anybody_in(telegram: Telegram) -> None:
    async with telegram.web.stranger(**{"Sec-Fetch-Site": "cross-site"}) as client:
        assert await opened(client, telegram.signs(ANA)) == 403
        assert APP_COOKIE not in client.cookies


async def test_only_telegram_may_frame_it_and_only_what_was_opened_there(telegram: Telegram) -> None:
    async with telegram.web.stranger() as client, telegram.web.visit("web-ana") as outside:
        policy = "content-security-policy"
        assert FRAMED in (await client.get("/telegram/app")).headers[policy]
        assert "frame-ancestors 'none'" in (await client.get("/memory")).headers[policy]
        assert "frame-ancestors 'none'" in (await outside.client.get("/memory")).headers[policy]
        await opened(client, telegram.signs(ANA))
        assert FRAMED in (await client.get("/memory")).headers[policy]


async def test_signing_out_there_ends_it(telegram: Telegram) -> None:
    async with telegram.web.stranger() as client:
        await opened(client, telegram.signs(ANA))
        assert (await client.post("/sign-out")).status_code == 303
        assert await shown_to(client) == ""


async def test_behind_https_its_cookie_comes_back_within_telegrams_frame_alone(
    settings: Settings, bot: TelegramStandIn
) -> None:
    public = with_bot(settings, bot, "https://mneme.example.org")
    async with open_app(public) as app, running_service(app) as web, web.stranger() as client:
        assert bot.menu_button["web_app"] == {"url": "https://mneme.example.org/telegram/app"}
        await meet(app, bot, ANA, admitted=True)
        body = urlencode({"init_data": Telegram(web, bot).signs(ANA)})
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await client.post(SIGN_IN, content=body, headers=form)
        cookie = next(each for each in answer.headers.get_list("set-cookie") if APP_COOKIE in each)
        for part in ("HttpOnly", "SameSite=None", "Secure", "Partitioned", "Max-Age=7200"):
            assert part in cookie
        async with app.database.read() as connection:
            assert cookie.partition("=")[2].partition(";")[0] not in str(
                (await connection.execute(sign_ins.select())).all()
            )


async def test_without_a_bot_there_is_no_app(app: App) -> None:
    async with running_service(app) as web, web.stranger() as client:
        assert (await client.get("/telegram/app")).status_code == 404
