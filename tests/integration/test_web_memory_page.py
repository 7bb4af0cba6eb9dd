"""The page of one's memory over HTTP: whose it is, what a search finds, and who may change anything."""

import io
import re
import zipfile
from collections.abc import AsyncIterator
from html import unescape
from typing import Any

import pytest

from bots.web.gate import COOKIE
from core.app import App, open_app
from core.rights.export import JSON_FILE
from core.settings import Settings
from tests.integration.web_service import SECRET, Visit, WebService, reads_the_secret, running_service
from tests.servers import free_port
from tests.standins.model import ModelStandIn

HERON = "The heron stood by the river again this morning."
RESTING = "My index is resting"


@pytest.fixture(autouse=True)
def observant(model: ModelStandIn) -> None:
    """The model reads the one claim that these tests make."""
    model.extract = reads_the_secret
    model.answer = lambda messages: "I see."


@pytest.fixture
async def service(app: App) -> AsyncIterator[WebService]:
    async with running_service(app) as running:
        yield running


async def tell(service: WebService, visit: Visit) -> str:
    """Says the secret among other things and has it read; gives the memory's id."""
    await visit.say(f"{SECRET}, so no satay for me.")
    await service.read_for_memories()
    await visit.say(HERON)
    (memory,) = (await visit.memories())["memories"]
    id: str = memory["id"]
    return id


async def page(visit: Visit, path: str = "", **query: Any) -> str:
    answer = await visit.client.get(f"/memory{path}", params=query)
    assert answer.status_code == 200, path
    return unescape(answer.text)


async def test_each_sees_their_own_and_nobody_elses(service: WebService) -> None:
    async with service.visit("ana") as ana, service.visit("ben") as ben:
        memory = await tell(service, ana)
        for path in ("", "/timeline"):
            assert "Is allergic to peanuts" in await page(ana, path)
        assert HERON in await page(ana, "/words")
        assert f"{SECRET}, so no satay for me." in await page(ana, "/replies")
        assert "Is allergic to peanuts" in await page(ana, q="peanuts")
        assert HERON in await page(ana, q="HERON river")
        for path in ("", "/timeline", "/words", "/replies", "?q=peanuts", "?kind=fact"):
            shown = await page(ben, path)
            assert SECRET not in shown, path
            assert "Is allergic" not in shown, path
        for deed in ("forget", "edit", "pin", "mute"):
            form = {"back": "/memory", "text": "Is allergic to nothing."}
            answer = await ben.client.post(f"/memory/memories/{memory}/{deed}", data=form)
            assert answer.headers["location"] == "/memory?done=gone", deed
        shown = await page(ana)
        assert "Is allergic to peanuts" in shown
        assert "allergic to nothing" not in shown


async def test_a_form_forgets_and_leads_back_here_alone(service: WebService) -> None:
    async with service.visit("ana") as ana:
        memory = await tell(service, ana)
        (kept,) = (await ana.memories())["unread"]
        back = {"back": "/memory/words?page=1&done=gone"}
        answer = await ana.client.post(f"/memory/messages/{kept['message']}/forget", data=back)
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            "/memory/words?page=1&done=forgotten",
        )
        assert HERON not in await page(ana, "/words")
        for away in ("https://evil.example/", "//evil.example", "/sign-out", "/memory/../x", "\r\nX: y"):
            answer = await ana.client.post(f"/memory/memories/{memory}/forget", data={"back": away})
            assert answer.headers["location"].startswith("/memory?done="), away
        assert "peanuts" not in await page(ana)


async def test_a_memory_is_corrected_marked_and_its_refusals_are_told(service: WebService) -> None:
    async with service.visit("ana") as ana:
        memory = await tell(service, ana)

        async def do(deed: str, **form: str) -> str:
            answer = await ana.client.post(f"/memory/memories/{memory}/{deed}", data=form)
            return str(answer.headers["location"])

        for text, why in (("  ", "Say what to remember instead."), ("x" * 601, "too long for one memory")):
            refused = await ana.client.post(f"/memory/memories/{memory}/edit", data={"text": text})
            assert why in refused.text
            assert f">{text}</textarea>" in refused.text
        assert await do("pin") == "/memory?done=pin"
        assert "pinned: always in mind" in await page(ana)
        assert await do("mute") == "/memory?done=mute"
        muted = await page(ana)
        assert "not used" in muted
        assert "Use again" in muted
        assert await do("edit", text="Is allergic to <b>hazelnuts</b>.", back="/memory?q=allergic") == (
            "/memory?q=allergic&done=edited"
        )
        answer = await ana.client.get("/memory")
        assert "Is allergic to &lt;b&gt;hazelnuts&lt;/b&gt;." in answer.text
        assert "corrected by you" in answer.text
        assert "Is allergic to peanuts" in answer.text  # its history


async def test_a_pause_is_begun_shown_and_ended_here(service: WebService) -> None:
    paused = "Paused: I keep nothing of what you say."
    async with service.visit("ana") as ana:
        answer = await ana.client.post("/memory/pause", data={"back": "/memory/privacy"})
        assert answer.headers["location"] == "/memory/privacy?done=paused"
        for path in ("", "/timeline", "/privacy"):
            assert paused in await page(ana, path), path
        assert paused in (await ana.client.get("/")).text
        await ana.say(HERON)
        assert HERON not in await page(ana, "/words")
        assert HERON not in await page(ana, "/replies")
        assert "You wrote" not in await page(ana, "/replies")
        assert HERON not in await page(ana, q="river")
        await ana.client.post("/memory/resume", data={"back": "/memory/privacy"})
        assert paused not in await page(ana)
        await ana.say("I sing in a choir.")
        shown = await page(ana, "/words")
        assert "I sing in a choir." in shown
        assert HERON not in shown


async def test_consent_is_given_and_taken_back_here(settings: Settings) -> None:
    asking = settings.model_copy(update={"special_categories": "ask"})
    async with open_app(asking) as app, running_service(app) as service, service.visit("ana") as ana:
        await ana.say("I have diabetes.")
        assert "You haven't said yet" in await page(ana, "/privacy")
        assert "I have diabetes." not in await page(ana, "/words")
        answer = await ana.client.post("/memory/consent/give", data={"back": "/memory/privacy"})
        assert answer.headers["location"] == "/memory/privacy?done=agreed"
        assert "I have diabetes." in await page(ana, "/words")
        shown = await page(ana, "/privacy")
        assert "You agreed." in shown
        assert "are forgotten: 1." in shown
        await ana.client.post("/memory/consent/refuse", data={"back": "/memory/privacy"})
        assert "I have diabetes." not in await page(ana, "/words")
        assert "You didn't agree" in await page(ana, "/privacy")


async def test_everything_can_be_taken_along(service: WebService) -> None:
    async with service.visit("ana") as ana, service.visit("ben") as ben:
        await tell(service, ana)
        for visit, is_hers in ((ana, True), (ben, False)):
            answer = await visit.client.post("/memory/export")
            assert answer.headers["content-type"] == "application/zip"
            assert answer.headers["content-disposition"].startswith("attachment; filename=")
            with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
                told = archive.read(JSON_FILE).decode()
            assert ("Is allergic to peanuts" in told) is is_hers


async def test_who_types_the_word_is_erased_gets_a_receipt_and_is_signed_out(service: WebService) -> None:
    async with service.visit("ana") as ana, service.visit("ben") as ben:
        await tell(service, ana)
        await ben.say(HERON)
        wrong = await ana.client.post("/memory/erase", data={"word": "yes", "back": "/memory/privacy"})
        assert wrong.headers["location"] == "/memory/privacy?done=not_erased"
        assert "Is allergic to peanuts" in await page(ana)
        german = {"Accept-Language": "de"}
        answer = await ana.client.post("/memory/erase", data={"word": " Löschen "}, headers=german)
        assert answer.status_code == 200
        (number,) = re.findall(r"mneme user receipt ([\w-]+)", answer.text)
        receipt = await service.app.erasure.find(number)
        assert receipt is not None
        assert (await service.app.erasure.remains(receipt)).is_nothing
        assert COOKIE not in ana.client.cookies
        assert (await ana.client.get("/memory")).status_code == 401
        assert HERON in await page(ben, "/words")


@pytest.mark.parametrize(
    "foreign",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
    ],
)
async def test_a_form_of_another_site_changes_nothing(service: WebService, foreign: dict[str, str]) -> None:
    async with service.visit("ana") as ana:
        memory = await tell(service, ana)
        form = {"back": "/memory", "word": "erase", "text": "forged"}
        for path in (
            f"/memory/memories/{memory}/forget",
            f"/memory/memories/{memory}/edit",
            "/memory/erase",
            "/memory/export",
            "/memory/pause",
            "/memory/consent/give",
        ):
            answer = await ana.client.post(path, data=form, headers=foreign)
            assert answer.status_code == 403, path
            assert answer.headers["content-type"].startswith("text/html")
        assert "Is allergic to peanuts" in await page(ana)


async def test_a_stranger_is_told_how_to_get_in(service: WebService) -> None:
    async with service.stranger() as client:
        for path in ("", "/timeline", "/words", "/replies", "/privacy"):
            answer = await client.get(f"/memory{path}")
            assert answer.status_code == 401
            assert "mneme sign-in" in answer.text
        for path in (f"/memories/{'0' * 32}/forget", f"/memories/{'0' * 32}/pin", "/erase", "/export"):
            assert (await client.post(f"/memory{path}")).status_code == 401


async def test_words_are_found_while_the_index_is_away(settings: Settings) -> None:
    alone = settings.model_copy(update={"chroma_url": f"http://127.0.0.1:{free_port()}"})
    async with open_app(alone) as app, running_service(app) as service, service.visit("ana") as ana:
        await tell(service, ana)
        found = await page(ana, q="peanuts")
        assert "Is allergic to peanuts" in found
        assert RESTING in found
        assert RESTING in await page(ana, q="zeppelin")


@pytest.mark.parametrize(
    "query", [{"page": "0"}, {"page": "-1"}, {"page": "9" * 30}, {"page": "²"}, {"q": " "}]
)
async def test_an_odd_address_shows_a_page(service: WebService, query: dict[str, str]) -> None:
    async with service.visit("ana") as ana:
        for path in ("", "/timeline", "/words"):
            await page(ana, path, **query)
        assert (await ana.client.get("/memory", params={"kind": "<b>"})).status_code == 404


async def test_the_language_is_the_browsers_until_another_is_chosen(service: WebService) -> None:
    async with service.visit("ana") as ana:
        ana.client.headers["Accept-Language"] = "de-CH,de;q=0.9"
        german = await page(ana)
        assert '<html lang="de">' in german
        assert "Was ich über dich weiß" in german
        assert '<html lang="ja">' in await page(ana, lang="ja")
        assert '<html lang="ja">' in await page(ana, "/timeline")
        assert '<html lang="ja">' in (await ana.client.get("/", params={"lang": "tlh"})).text
        answer = await ana.post("/web/messages", {"text": 1})
        assert answer.json() == {"error": "文章を送ってください。"}
