"""What axe-core, the accessibility checker, finds on every page: nothing."""

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page

from core.app import App
from tests.acceptance.browsing import signed_in
from tests.integration.web_service import SECRET, reads_the_secret, running_service
from tests.standins.model import ModelStandIn

PARTS = ("", "?q=peanuts", "?kind=fact", "/timeline", "/words", "/replies", "/privacy")


@pytest.fixture
def database_kind() -> str:
    """What the pages look like is the same over either database: one of them will do."""
    return "sqlite"


async def found_on(page: Page) -> list[str]:
    """Each finding as its rule, its gravity and the elements that it is about."""
    results = await Axe().run(page)
    return [
        f"{page.url}: {finding['id']} ({finding['impact']}) {[node['html'] for node in finding['nodes']]}"
        for finding in results.response["violations"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing(browser: Browser, app: App, model: ModelStandIn, scheme: str) -> None:
    model.extract = reads_the_secret
    model.answer = lambda messages: "I **see**.\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    found = []
    async with running_service(app) as service:
        async with service.visit("ana") as ana:
            await ana.say(f"{SECRET}, so no satay for me.")
            await service.read_for_memories()
            await ana.say("The heron stood by the river again this morning.")
        async with signed_in(browser, service, "ana", color_scheme=scheme) as page:
            await page.locator("#memories .claim").wait_for()
            found += await found_on(page)
            for address in (*(f"/memory{part}" for part in PARTS), "/sign-in?token=x", "/memory?kind=none"):
                await page.goto(service.url + address)
                await page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
                found += await found_on(page)
            await page.set_viewport_size({"width": 360, "height": 740})
            for address in ("/", "/memory"):
                await page.goto(service.url + address)
                found += await found_on(page)
            await page.get_by_role("button", name="Sign out").click()
            await page.get_by_text("mneme sign-in").wait_for()
            found += await found_on(page)
    assert found == []
