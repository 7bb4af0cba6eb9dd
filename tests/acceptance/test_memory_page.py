"""The page of one's memory as a person meets it: by mouse, by keyboard, without scripts, on a phone."""

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from core.app import App
from tests.acceptance.browsing import signed_in
from tests.integration.web_service import Visit, WebService, running_service
from tests.standins.model import ModelStandIn, read_claim

ATTACK = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"
LIFE = {
    "I live in Porto.": ("Lives in Porto.", {"kind": "identity"}),
    "I moved, I live in Braga now.": ("Lives in Braga.", {"kind": "identity"}),
    "I'm vegetarian, by the way.": ("Is vegetarian.", {"kind": "preference"}),
    "Maybe I'm allergic to soy.": ("Is allergic to soy.", {"kind": "preference"}),
    f"I like {ATTACK} a lot.": (f"Likes {ATTACK}.", {"kind": "preference"}),
}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
PICTURES = os.environ.get("PICTURES")
"""A folder for screenshots, for whoever wants to look at them."""


@pytest.fixture
def database_kind() -> str:
    """What the page does is the same over either database: one of them will do."""
    return "sqlite"


@pytest.fixture
async def service(app: App, model: ModelStandIn) -> AsyncIterator[WebService]:
    """A service at which Ana has told of her life, part of which is read for memories."""

    def reads(body: dict[str, Any]) -> str:
        page = body["messages"][-1]["content"]
        known = {"change": "replaces", "known": 1} if page.startswith("K1 Lives in Porto.") else {}
        claims = [
            read_claim(1, said, text, **fields, **known)
            for said, (text, fields) in LIFE.items()
            if f") {said}" in page
        ]
        return json.dumps({"memories": claims})

    model.extract = reads
    model.answer = lambda messages: "I see."
    async with running_service(app) as running:
        async with running.visit("ana") as ana:
            await tell(running, ana)
        yield running


async def tell(service: WebService, ana: Visit) -> None:
    for said in LIFE:
        await ana.say(said)
        await service.read_for_memories()
    await ana.say("The heron stood by the river again this morning.")


async def picture(page: Page, name: str) -> None:
    if PICTURES:
        await page.screenshot(path=f"{PICTURES}/{name}.png", full_page=True)


def entry(page: Page, text: str) -> Any:
    return page.locator(".entry").filter(has=page.locator(".claim", has_text=text))


async def test_it_is_looked_through_and_searched(browser: Browser, service: WebService) -> None:
    async with signed_in(browser, service, "ana") as page:
        await page.get_by_role("link", name="Search, correct, take along").click()
        await expect(page.get_by_role("heading", name="Who you are")).to_be_visible()
        await expect(entry(page, "Lives in Porto.")).to_have_count(0)
        braga = entry(page, "Lives in Braga.")
        await braga.get_by_text("Before that").click()
        await expect(braga.get_by_text("Lives in Porto.")).to_be_visible()
        await expect(entry(page, "allergic to soy").get_by_text("You weren't sure")).to_be_visible()
        await expect(entry(page, "onerror")).to_be_visible()
        assert await page.evaluate("window.hacked") is None
        await picture(page, "topics")
        await page.get_by_role("link", name="Timeline").click()
        await expect(entry(page, "Lives in Porto.")).to_contain_text("until")
        await picture(page, "timeline")
        await page.get_by_role("link", name="Word for word").click()
        await expect(page.locator(".entry q")).to_contain_text("heron")
        await page.get_by_role("link", name="Last replies").click()
        await expect(page.locator(".entry")).to_have_count(len(LIFE) + 1)
        await picture(page, "replies")
        await page.get_by_role("searchbox").fill("which city is home")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Found for “which city is home”")).to_be_visible()
        await expect(entry(page, "Lives in Braga.")).to_be_visible()
        await picture(page, "found")


async def test_the_keyboard_alone_searches_and_forgets(browser: Browser, service: WebService) -> None:
    async with signed_in(browser, service, "ana") as page:
        await page.goto(f"{service.url}/memory")
        await page.keyboard.press("Tab")
        await expect(page.get_by_text("Skip to the content")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("searchbox")).to_be_focused()
        await page.keyboard.type("vegetarian")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(f"{service.url}/memory?q=vegetarian")
        forget = entry(page, "Is vegetarian.").locator(".ask summary", has_text="Forget")
        await forget.focus()
        await page.keyboard.press("Enter")
        await expect(entry(page, "Is vegetarian.").get_by_text("It goes for good")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(entry(page, "Is vegetarian.").get_by_text("It goes for good")).to_be_hidden()
        await expect(forget).to_be_focused()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Forget for good")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("Forgotten.")
        await expect(page.get_by_role("status")).to_be_focused()
        await expect(entry(page, "Is vegetarian.")).to_have_count(0)
        await page.reload()
        await expect(page.get_by_role("status")).to_be_hidden()


async def test_the_keyboard_alone_edits_and_pins(browser: Browser, service: WebService) -> None:
    async with signed_in(browser, service, "ana") as page:
        await page.goto(f"{service.url}/memory?kind=identity")
        braga = entry(page, "Lives in Braga.")
        await braga.locator("summary", has_text="Edit").focus()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await expect(braga.get_by_role("textbox")).to_be_focused()
        await picture(page, "edit")
        await page.keyboard.press("Control+A")
        await page.keyboard.type("Lives in Guimarães, by the castle.")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("Corrected.")
        castle = entry(page, "Lives in Guimarães, by the castle.")
        await expect(castle).to_contain_text("corrected by you")
        await castle.get_by_role("button", name="Pin").focus()
        await page.keyboard.press("Space")
        await expect(castle).to_contain_text("pinned: always in mind")
        await expect(castle.get_by_role("button", name="Unpin")).to_be_visible()


async def test_who_erases_themselves_is_shown_a_receipt(browser: Browser, service: WebService) -> None:
    async with signed_in(browser, service, "ana") as page:
        await page.goto(f"{service.url}/memory/privacy")
        await picture(page, "privacy")
        await page.get_by_label("Type erase to do it:").fill("era")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("Nothing was erased")
        await page.get_by_label("Type erase to do it:").fill("erase")
        await page.get_by_role("button", name="Erase me").click()
        await expect(page.get_by_text("You are erased.")).to_be_visible()
        await expect(page.get_by_text("mneme user receipt")).to_be_visible()
        await picture(page, "erased")
        await page.goto(f"{service.url}/")
        await expect(page.get_by_text("mneme sign-in")).to_be_visible()


@pytest.mark.parametrize("language", ["de", "ja"])
async def test_it_speaks_the_persons_language(browser: Browser, service: WebService, language: str) -> None:
    async with signed_in(browser, service, "ana", locale=language, color_scheme="dark") as page:
        await picture(page, f"chat-{language}")
        for part in ("", "/timeline", "/words", "/replies", "/privacy"):
            await page.goto(f"{service.url}/memory{part}")
            assert await page.get_attribute("html", "lang") == language
        await page.goto(f"{service.url}/memory")
        await picture(page, f"topics-{language}")
        await page.get_by_role("link", name="English").click()
        await expect(page.get_by_role("heading", name="What I remember about you")).to_be_visible()
        await page.goto(f"{service.url}/")
        await expect(page.get_by_placeholder("Write to Mneme")).to_be_visible()


async def test_it_needs_no_script(browser: Browser, service: WebService) -> None:
    async with signed_in(browser, service, "ana", java_script_enabled=False) as page:
        await page.goto(f"{service.url}/memory?kind=identity")
        await entry(page, "Lives in Braga.").get_by_text("Forget", exact=True).click()
        await entry(page, "Lives in Braga.").get_by_role("button", name="Forget for good").click()
        await expect(page.get_by_role("status")).to_have_text("Forgotten.")
        assert page.url.startswith(f"{service.url}/memory?kind=identity")
        # What it had come in the place of holds again.
        await expect(page.locator(".claim")).to_have_text(["Lives in Porto."])
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_text("mneme sign-in")).to_be_visible()
        await page.goto(f"{service.url}/memory")
        await expect(page.locator(".entry")).to_have_count(0)
        await expect(page.get_by_text("mneme sign-in")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_phone(browser: Browser, service: WebService, scheme: str) -> None:
    async with signed_in(browser, service, "ana", color_scheme=scheme, **PHONE) as page:
        for path in ("", "/timeline", "/words", "/replies", "/privacy"):
            await page.goto(f"{service.url}/memory{path}")
            assert await page.evaluate("document.documentElement.scrollWidth") == 360, path
        await page.goto(f"{service.url}/memory")
        await entry(page, "Lives in Braga.").locator(".ask summary").last.click()
        await picture(page, f"phone-{scheme}")
