"""The Mini App as Telegram shows it: in a window of its own, and in a frame of its web client."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from playwright.async_api import Browser, Page, Route, expect
from pydantic import SecretStr

from bots.telegram.mapping import CHANNEL
from core.app import open_app
from core.messages import Sender
from core.settings import Settings
from core.users.people import Admission
from tests.integration.web_service import WebService, running_service
from tests.standins.telegram import TelegramStandIn
from tests.standins.telegram_app import init_data

ANA = 11


@pytest.fixture
def database_kind() -> str:
    """What the page does is the same over either database: one of them will do."""
    return "sqlite"


@pytest.fixture
async def bot() -> AsyncIterator[TelegramStandIn]:
    stand_in = TelegramStandIn()
    await stand_in.start()
    yield stand_in
    await stand_in.stop()


@pytest.fixture
async def service(settings: Settings, bot: TelegramStandIn) -> AsyncIterator[WebService]:
    """A service with a bot, said to be reached by https, where somebody from Telegram is let in."""
    changes = {
        "telegram_bot_token": SecretStr(bot.token),
        "telegram_api_base_url": bot.url,
        "public_url": "https://mneme.example.org",
    }
    async with open_app(settings.model_copy(update=changes)) as app, running_service(app) as running:
        async with app.database.write() as connection:
            sender = Sender(str(ANA), "Ana")
            await app.people.meet(connection, CHANNEL, str(bot.bot_id), sender, admitted=Admission.INVITE)
        yield running


def address(service: WebService, bot: TelegramStandIn) -> str:
    """What Telegram opens: the page, with what it signed in the fragment."""
    signed = init_data(bot.token, ANA, datetime.now(UTC))
    told = {"tgWebAppData": signed, "tgWebAppVersion": "9.0", "tgWebAppPlatform": "web"}
    return f"{service.url}/telegram/app#{urlencode(told)}"


async def framed(page: Page, host: str, inner: str) -> None:
    """Opens a page of the host, which isn't asked, with the inner address in a frame."""

    async def answer(route: Route) -> None:
        await route.fulfill(
            content_type="text/html", body=f'<iframe src="{inner}" width=600 height=600></iframe>'
        )

    await page.route(f"https://{host}/**", answer)
    await page.goto(f"https://{host}/")


async def test_it_opens_the_memory_and_asks_nobody_else(
    browser: Browser, service: WebService, bot: TelegramStandIn
) -> None:
    page = await browser.new_page(locale="en")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(address(service, bot))
    await expect(page.get_by_role("heading", name="O que sei de si")).to_be_visible()  # Telegram's language
    assert "tgWebApp" not in page.url
    assert [url for url in asked if not url.startswith(service.url)] == []
    await page.close()


async def test_what_it_was_opened_with_is_worth_nothing_elsewhere(
    browser: Browser, service: WebService, bot: TelegramStandIn
) -> None:
    opened = address(service, bot)
    page = await browser.new_page()
    await page.goto(opened)
    await expect(page.get_by_role("searchbox")).to_be_visible()
    other = await browser.new_page(locale="en")
    await other.goto(opened)
    await expect(other.get_by_role("alert")).to_contain_text("used before")
    await other.goto(f"{service.url}/memory")
    await expect(other.get_by_role("searchbox")).to_have_count(0)
    await page.close()
    await other.close()


async def test_telegrams_web_client_may_frame_it(
    browser: Browser, service: WebService, bot: TelegramStandIn
) -> None:
    page = await browser.new_page()
    await framed(page, "web.telegram.org", address(service, bot))
    inside = page.frame_locator("iframe")
    await expect(inside.get_by_role("searchbox")).to_be_visible()
    await inside.get_by_role("link", name="Privacidade").click()
    await inside.get_by_role("button", name="Pôr-me em pausa").click()
    await expect(inside.get_by_role("button", name="Terminar a pausa")).to_be_visible()
    await page.close()


async def test_nobody_else_may(browser: Browser, service: WebService, bot: TelegramStandIn) -> None:
    page = await browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    await framed(page, "evil.example", address(service, bot))
    await expect(page.frame_locator("iframe").locator("main")).to_have_count(0)
    assert any("frame-ancestors" in text for text in said)
    await page.close()
