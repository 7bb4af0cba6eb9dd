"""The way in to the web chat: links that work once, sessions, and what is kept from forged requests."""

from collections.abc import AsyncIterator

import pytest

from bots.web.gate import COOKIE
from core.app import App, open_app
from core.settings import Settings
from tests.integration.web_service import WebService, running_service


@pytest.fixture
async def service(app: App) -> AsyncIterator[WebService]:
    async with running_service(app) as running:
        yield running


async def test_a_stranger_is_told_how_to_get_in_and_sees_nothing_else(service: WebService) -> None:
    async with service.stranger() as client:
        home = await client.get("/")
        assert home.status_code == 200
        assert "mneme sign-in" in home.text
        assert "composer" not in home.text
        for path in ("/web/history", "/web/memories", "/web/memories/events", "/web/replies/1"):
            assert (await client.get(path)).status_code == 401, path
        for path in ("/web/messages", "/sign-out", f"/web/memories/{'0' * 32}/forget"):
            assert (await client.post(path, json={})).status_code == 401, path


async def test_looking_at_a_link_does_not_use_it_up(service: WebService) -> None:
    token = await service.app.sign_in.link_token("ana")
    async with service.stranger() as client:
        for _ in range(3):
            page = await client.get("/sign-in", params={"token": token})
            assert token in page.text
            assert COOKIE not in client.cookies
        assert (await client.post("/sign-in", data={"token": token})).status_code == 303
        assert "composer" in (await client.get("/")).text


async def test_a_link_works_once(service: WebService) -> None:
    token = await service.app.sign_in.link_token("ana")
    async with service.stranger() as first, service.stranger() as second:
        assert (await first.post("/sign-in", data={"token": token})).headers["location"] == "/"
        refused = await second.post("/sign-in", data={"token": token})
        assert refused.status_code == 403
        assert "no longer works" in refused.text
        assert "mneme sign-in" in refused.text
        assert COOKIE not in second.cookies
        # Who is in already and follows the old link again just goes on.
        assert (await first.post("/sign-in", data={"token": token})).status_code == 303


async def test_the_session_is_kept_from_scripts_and_other_sites(service: WebService) -> None:
    token = await service.app.sign_in.link_token("ana")
    async with service.stranger() as client:
        cookie = (await client.post("/sign-in", data={"token": token})).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie


async def test_behind_https_the_session_travels_on_https_alone(settings: Settings) -> None:
    public = settings.model_copy(update={"public_url": "https://chat.example.org"})
    async with open_app(public) as app, running_service(app) as service, service.stranger() as client:
        token = await app.sign_in.link_token("ana")
        assert "Secure" in (await client.post("/sign-in", data={"token": token})).headers["set-cookie"]


async def test_signing_out_ends_the_session_in_the_record_too(service: WebService) -> None:
    async with service.visit("ana") as ana, service.stranger() as thief:
        thief.cookies.set(COOKIE, ana.client.cookies[COOKIE])
        assert (await thief.get("/web/memories")).status_code == 200
        assert (await ana.client.post("/sign-out")).headers["location"] == "/"
        assert COOKIE not in ana.client.cookies
        assert (await thief.get("/web/memories")).status_code == 401


async def test_a_token_cannot_break_out_of_the_page(service: WebService) -> None:
    async with service.stranger() as client:
        page = await client.get("/sign-in", params={"token": '"><script>alert(1)</script>'})
    assert "<script>alert" not in page.text


@pytest.mark.parametrize(
    "path", ["/", "/sign-in?token=x", "/web/files/chat.js", "/web/memories", "/web/history"]
)
async def test_every_answer_carries_the_headers_that_confine_it(service: WebService, path: str) -> None:
    async with service.visit("ana") as ana:
        headers = (await ana.client.get(path)).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] in ("no-store", "no-cache")
    # The link's token stands in the address: no other site may be told more than our host.
    assert headers["referrer-policy"] == "strict-origin"


async def test_only_the_pages_own_files_are_served(service: WebService) -> None:
    async with service.stranger() as client:
        assert (await client.get("/web/files/mneme.css")).headers["content-type"].startswith("text/css")
        for name in ("nothing.js", "..%2Fadapter.py", "%2Fetc%2Fpasswd", "chat.js%00"):
            assert (await client.get(f"/web/files/{name}")).status_code == 404, name


@pytest.mark.parametrize(
    "foreign",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_other_sites_cannot_act_for_a_visitor(service: WebService, foreign: dict[str, str]) -> None:
    async with service.visit("ana") as ana:
        ana.client.headers.update(foreign)
        body = {"text": "forged", "event": "e" * 8}
        for path in ("/web/messages", "/sign-out", f"/web/memories/{'0' * 32}/forget"):
            assert (await ana.post(path, body)).status_code == 403, path
        ana.client.headers.update({"Sec-Fetch-Site": "same-origin"})
        assert await ana.history("first") == []


async def test_a_form_of_another_site_is_no_json(service: WebService) -> None:
    async with service.visit("ana") as ana:
        answer = await ana.client.post(
            "/web/messages", content='{"text": "forged"}', headers={"Content-Type": "text/plain"}
        )
    assert answer.status_code == 415
