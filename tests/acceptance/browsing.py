"""A person's browser: Chromium without a window, on our own pages."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page, expect

from tests.integration.web_service import WebService

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
    # What stands for a site of the world frames a service of this machine.
    " --disable-features=LocalNetworkAccessChecks"
).split()
PATIENCE_MS = 20_000

expect.set_options(timeout=PATIENCE_MS)


@asynccontextmanager
async def signed_in(browser: Browser, service: WebService, name: str, **options: Any) -> AsyncIterator[Page]:
    """The first page after signing in; any error in the page's own code, or that its policy blocks, fails."""
    context = await browser.new_context(**options)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if "Security Policy" in said.text else None)
    await page.goto(f"{service.url}/sign-in?token={await service.app.sign_in.link_token(name)}")
    if not options.get("java_script_enabled", True):
        await page.click("button.primary")
    await page.wait_for_url(f"{service.url}/")
    yield page
    await context.close()
    assert errors == []
