"""The web chat as a person meets it: in a real browser, on a real service."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from core.app import App, open_app
from core.settings import Settings
from tests.acceptance.browsing import signed_in
from tests.integration.remembering import is_reflection
from tests.integration.web_service import SECRET, WebService, reads_the_secret, running_service
from tests.servers import free_port
from tests.standins.model import ModelStandIn, read_claim

PHONE_WIDTH, PHONE_HEIGHT = 360, 740
LONG_REPLY = " ".join(f"word{number}" for number in range(60))
ATTACK = (
    "<script>window.hacked=1</script><img src=x onerror='window.hacked=1'>[x](javascript:window.hacked=1)"
)


@pytest.fixture
def database_kind() -> str:
    """What the page does is the same over either database: one of them will do."""
    return "sqlite"


@pytest.fixture
async def service(app: App) -> AsyncIterator[WebService]:
    async with running_service(app) as running:
        yield running


@pytest.fixture(autouse=True)
def observant(model: ModelStandIn) -> None:
    """The model reads the one claim that these tests make."""
    model.extract = reads_the_secret
    model.answer = lambda messages: "I **see**."


@asynccontextmanager
async def opened(browser: Browser, service: WebService, **options: Any) -> AsyncIterator[Page]:
    """The chat, signed in as Ana, before anything was said."""
    async with signed_in(browser, service, "ana", **options) as page:
        await expect(page.locator("#empty")).to_be_visible()
        yield page


async def send(page: Page, text: str) -> None:
    await page.fill("#text", text)
    await page.press("#text", "Enter")
    await expect(page.locator("#text")).to_have_value("")


async def say(page: Page, text: str) -> None:
    """Sends, and waits until the reply has ended."""
    before = await page.locator(".reply").count()
    await send(page, text)
    await expect(page.locator(".reply")).to_have_count(before + 1)
    await expect(page.locator(".writing")).to_have_count(0)


async def test_the_link_signs_in_and_leaves_no_token_behind(browser: Browser, service: WebService) -> None:
    async with opened(browser, service) as page:
        assert "token" not in page.url
        await page.click("#sign-out")
        await expect(page.get_by_text("mneme sign-in")).to_be_visible()
        await page.go_back()
        await expect(page.locator("#composer")).to_have_count(0)


async def test_a_stranger_without_scripts_can_sign_in(browser: Browser, service: WebService) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{service.url}/sign-in?token={await service.app.sign_in.link_token('ana')}")
    await page.click("text=Sign in")
    await expect(page.locator("#composer")).to_be_visible()
    await context.close()


async def test_a_conversation_streams_and_outlives_a_reload(
    browser: Browser, service: WebService, model: ModelStandIn
) -> None:
    async with opened(browser, service) as page:
        await say(page, SECRET)
        await expect(page.locator(".reply strong")).to_have_text("see")
        model.answer = lambda messages: LONG_REPLY
        model.piece_seconds = 0.15
        await page.click("#new")
        await expect(page.locator("#empty")).to_be_visible()
        await send(page, "What am I allergic to?")
        words = page.locator(".writing .words")
        await expect(words).to_contain_text("word3")
        await page.reload()
        await expect(words).to_contain_text("word9")
        await expect(page.locator(".writing")).to_have_count(0)
        await expect(page.locator(".reply .words")).to_have_text(LONG_REPLY)
        await expect(page.locator(".recalled summary")).to_contain_text(SECRET)
        await page.reload()
        await expect(page.locator(".said p")).to_have_text("What am I allergic to?")
        await expect(page.locator(".reply .words")).to_have_text(LONG_REPLY)


async def test_a_line_is_begun_with_shift_and_an_example_is_taken_up(
    browser: Browser, service: WebService
) -> None:
    async with opened(browser, service) as page:
        await page.locator(".example").first.click()
        await expect(page.locator("#text")).to_be_focused()
        assert await page.input_value("#text")
        await page.fill("#text", "one")
        await page.press("#text", "Shift+Enter")
        await page.keyboard.type("two")
        await page.press("#text", "Enter")
        await expect(page.locator(".said p")).to_have_text("one\ntwo", use_inner_text=True)


async def test_a_double_click_sends_once(browser: Browser, service: WebService, model: ModelStandIn) -> None:
    async with opened(browser, service) as page:
        await page.fill("#text", "Only once")
        await page.dblclick("#send")
        await expect(page.locator(".reply strong")).to_have_count(1)
        await expect(page.locator(".said")).to_have_count(1)
    assert len(model.calls) == 1


async def test_a_burst_of_messages_has_one_reply(
    browser: Browser, service: WebService, model: ModelStandIn
) -> None:
    async with opened(browser, service) as page:
        for text in ("Hello", "I'm Ana", "and I sing"):
            await send(page, text)
        await expect(page.locator(".writing")).to_have_count(0)
        await expect(page.locator(".said")).to_have_count(3)
        await expect(page.locator(".reply")).to_have_count(len(model.calls))
        shown = await page.locator("#messages li").evaluate_all("items => items.map(item => item.className)")
        assert shown[-1] == "reply"
        await page.reload()
        await expect(page.locator(".said")).to_have_count(3)
        await expect(page.locator(".reply")).to_have_count(len(model.calls))


async def test_nothing_that_is_written_runs(
    browser: Browser, service: WebService, model: ModelStandIn
) -> None:
    model.answer = lambda messages: ATTACK
    async with opened(browser, service) as page:
        await say(page, f"{ATTACK}.")
        await expect(page.locator(".said p")).to_have_text(f"{ATTACK}.")
        await expect(page.locator("#unread q")).to_have_text(f"{ATTACK}.")
        assert await page.locator(".reply :is(script, img, a)").count() == 0
        await page.reload()
        await expect(page.locator(".reply .words")).to_contain_text("<script>")
        assert await page.evaluate("window.hacked") is None


async def test_the_memory_grows_beside_the_chat_and_forgets(browser: Browser, service: WebService) -> None:
    async with opened(browser, service) as page:
        await expect(page.locator("#nothing")).to_be_visible()
        await say(page, f"{SECRET}, so no satay.")
        await expect(page.locator("#unread q")).to_have_text(f"{SECRET}, so no satay.")
        await service.read_for_memories()
        await expect(page.locator("#memories .claim")).to_have_text("Is allergic to peanuts")
        await expect(page.locator("#unread li")).to_have_count(0)
        await page.click("#memories summary")
        await expect(page.locator("#memories .whole")).to_have_text(f"{SECRET}, so no satay.")

        await page.click("#memories .forget button")
        await page.click("text=Keep")
        await page.click("#memories .forget button")
        await page.click("#memories .grave")
        await expect(page.locator("#memories li")).to_have_count(0)
        await expect(page.locator("#status")).to_have_text("Forgotten.")
        await expect(page.locator("#messages")).not_to_contain_text("peanuts")
        await page.reload()
        await expect(page.locator("#empty")).to_be_visible()
        assert "peanuts" not in await page.inner_text("body")


async def test_what_could_not_be_sent_stays_in_the_box(
    browser: Browser, service: WebService, model: ModelStandIn, tmp_path: Path
) -> None:
    async with opened(browser, service) as page:
        lock = sqlite3.connect(tmp_path / "mneme.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        await page.fill("#text", "Keep me")
        async with page.expect_response("**/web/messages") as answered:
            await page.press("#text", "Enter")
        refused = await answered.value
        assert (refused.status, refused.headers["retry-after"]) == (503, "2")
        await expect(page.locator("#problem")).to_contain_text("try again")
        await expect(page.locator("#text")).to_have_value("Keep me")
        lock.execute("ROLLBACK")
        lock.close()
        await say(page, "Keep me")
        await expect(page.locator("#problem")).to_be_hidden()
        await expect(page.locator(".said")).to_have_count(1)
    assert len(model.calls) == 1


async def test_the_page_outlives_a_restart_of_the_service(browser: Browser, settings: Settings) -> None:
    settled = settings.model_copy(update={"http_port": free_port()})
    async with AsyncExitStack() as stack:
        async with open_app(settled) as app, running_service(app) as service:
            page = await stack.enter_async_context(opened(browser, service))
            await say(page, "I sing in a choir.")
        await page.fill("#text", "Are you there?")
        await page.press("#text", "Enter")
        await expect(page.locator("#problem")).to_contain_text("can't be reached")
        await expect(page.locator("#text")).to_have_value("Are you there?")
        async with open_app(settled) as app, running_service(app):
            await say(page, "Are you there? I play the lute.")
            await expect(page.locator("#problem")).to_be_hidden()
            await expect(page.locator("#unread li")).to_have_count(2)


async def test_a_failed_reply_says_so(browser: Browser, service: WebService, model: ModelStandIn) -> None:
    model.fail_next("too_long")
    async with opened(browser, service) as page:
        await say(page, "Hello")
        await expect(page.locator(".reply.failed .words")).not_to_be_empty()


async def test_it_fits_a_phone(browser: Browser, service: WebService) -> None:
    phone = {"viewport": {"width": PHONE_WIDTH, "height": PHONE_HEIGHT}, "is_mobile": True, "has_touch": True}
    async with opened(browser, service, **phone) as page:
        await say(page, f"{SECRET}. {'long' * 60}")
        assert await page.evaluate("document.documentElement.scrollWidth") == PHONE_WIDTH
        await expect(page.locator("#memory")).to_be_hidden()
        await expect(page.locator("#count")).to_have_text("1")
        await page.tap("#open-memory")
        await expect(page.locator("#unread q")).to_be_visible()
        await expect(page.locator("#close-memory")).to_be_focused()
        assert await page.evaluate("document.documentElement.scrollWidth") == PHONE_WIDTH
        await page.keyboard.press("Escape")
        await expect(page.locator("#memory")).to_be_hidden()
        await expect(page.locator("#open-memory")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_colours_follow_the_person(browser: Browser, service: WebService, scheme: str) -> None:
    async with opened(browser, service, color_scheme=scheme) as page:
        read = "getComputedStyle(document.documentElement).colorScheme"
        assert await page.evaluate(read) == scheme
        await page.click("#theme")
        other = {"light": "dark", "dark": "light"}[scheme]
        assert await page.evaluate(read) == other
        await page.reload()
        assert await page.evaluate(read) == other


async def test_every_control_has_a_name(browser: Browser, service: WebService) -> None:
    async with opened(browser, service) as page:
        await say(page, f"{SECRET}.")
        await expect(page.locator("#unread li")).to_have_count(1)
        tree = await page.locator("body").aria_snapshot()
        await expect(page.get_by_role("button", name=f"Forget: {SECRET}.")).to_be_visible()
        await expect(page.get_by_role("textbox", name="Your message")).to_be_visible()
    unnamed = [line for line in tree.splitlines() if line.strip() in ("- button", "- textbox", "- link")]
    assert unnamed == []


async def test_a_memory_shows_what_was_so_before_and_what_is_unsure(
    browser: Browser, service: WebService, model: ModelStandIn
) -> None:
    told = {
        "I live in Porto.": "Lives in Porto.",
        "I live in Braga now.": "Lives in Braga.",
        "Maybe I'm allergic to soy.": "Is allergic to soy.",
    }

    def reads(body: dict[str, Any]) -> str:
        page = body["messages"][-1]["content"]
        known = {"change": "replaces", "known": 1} if page.startswith("K1 Lives in Porto.") else {}
        claims = [read_claim(1, said, text, **known) for said, text in told.items() if f") {said}" in page]
        return json.dumps({"memories": claims})

    model.extract = reads
    async with opened(browser, service) as page:
        for said in told:
            await say(page, said)
            await service.read_for_memories()
        braga = page.locator(".memory").filter(has_text="Lives in Braga.")
        await expect(braga).to_be_visible()
        await expect(page.locator(".claim").filter(has_text="Lives in Porto.")).to_have_count(0)
        await expect(braga.get_by_text("Lives in Porto.")).not_to_be_visible()
        await braga.get_by_text("Before").click()
        await expect(braga.get_by_text("Lives in Porto.")).to_be_visible()
        soy = page.locator(".memory").filter(has_text="Is allergic to soy.")
        await expect(soy.get_by_text("You weren't sure")).to_be_visible()


async def test_a_conclusion_is_told_apart_and_goes_without_the_words(
    browser: Browser, service: WebService, model: ModelStandIn
) -> None:
    told = ("I went swimming before work on Monday.", "I went swimming before lunch again.")
    habit = "Goes swimming before work."

    def reads(body: dict[str, Any]) -> str:
        if is_reflection(body):
            conclusion = {"from": [1, 2], "kind": "routine", "text": habit}
            return json.dumps({"same": [], "conclusions": [conclusion]})
        page = body["messages"][-1]["content"]
        claims = [read_claim(1, said, said, kind="event") for said in told if f") {said}" in page]
        return json.dumps({"memories": claims})

    model.extract = reads
    async with opened(browser, service) as page:
        for said in told:
            await say(page, said)
            await service.read_for_memories()
        await expect(page.locator(".claim")).to_have_count(2)
        async with service.app.database.read() as connection:
            (user_id,) = await service.app.people.called(connection, "ana")
        steps = await service.app.consolidation.plan(user_id)
        async with service.app.database.write() as connection:
            await service.app.consolidation.carry_out(connection, user_id, steps)
        await service.app.indexer.flush(user_id)
        concluded = page.locator(".memory").filter(has=page.get_by_text(habit, exact=True))
        await expect(concluded.get_by_text("You didn't say so. I concluded it from this:")).to_be_visible()
        await expect(concluded.get_by_text(told[0])).to_be_visible()
        await concluded.get_by_role("button").click()
        await expect(concluded.get_by_text("Gone for good? What you said stays.")).to_be_visible()
        await concluded.get_by_role("button", name="Forget", exact=True).click()
        await expect(page.get_by_text(habit, exact=True)).to_have_count(0)
        await expect(page.locator(".claim")).to_have_count(2)
