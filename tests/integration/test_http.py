"""What an operator's tools see of a running service: alive, ready, measured, and never surprised aloud."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
import pytest
import structlog
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import make_url

from bots.http import HttpFace
from core.app import App, open_app
from core.errors import StoreUnavailable
from core.settings import Settings
from core.storage.database import database_url, new_id, upgrade
from core.storage.schema import conversations, users
from tests.conftest import make_settings
from tests.integration.web_service import WebService, running_service
from tests.servers import free_port
from tests.standins.model import ModelStandIn
from tests.standins.paper import Paper

SECRET = "the blue heron"
OUR_LABELS = {"channel", "outcome", "model", "purpose", "kind", "le"}


@pytest.fixture
def database_kind() -> str:
    """SQLite: what is tested here doesn't hang on the kind of record."""
    return "sqlite"


@pytest.fixture
async def service(app: App) -> AsyncIterator[WebService]:
    async with running_service(app) as running:
        yield running


async def get(service: WebService, path: str) -> httpx.Response:
    async with service.stranger() as client:
        return await client.get(path)


async def parts(service: WebService) -> tuple[int, dict[str, str]]:
    answer = await get(service, "/readyz")
    assert answer.json()["ready"] is (answer.status_code == 200)
    found: dict[str, str] = answer.json()["parts"]
    return answer.status_code, found


async def test_each_part_says_how_it_is(service: WebService) -> None:
    assert (await get(service, "/healthz")).json() == {"alive": True}
    status, states = await parts(service)
    assert status == 200
    assert states == {
        "database": "ready",
        "redis": "ready",
        "chroma": "ready",
        "worker": "not seen lately",
        "console": "ready",
        "web": "ready",
        "telegram": "not configured: set TELEGRAM_BOT_TOKEN",
        "slack": "not configured: set SLACK_BOT_TOKEN and SLACK_APP_TOKEN",
    }
    await service.app.bell.show_life("worker", 60)
    assert (await parts(service))[1]["worker"] == "ready"


async def test_without_redis_and_chroma_it_still_serves(settings: Settings) -> None:
    gone = {
        "redis_url": f"redis://127.0.0.1:{free_port()}/0",
        "chroma_url": f"http://127.0.0.1:{free_port()}",
    }
    changed = make_settings(**(settings.model_dump(exclude_unset=True) | gone))
    async with open_app(changed) as app, running_service(app) as service:
        status, states = await parts(service)
        assert status == 200
        assert states["database"] == "ready"
        away = {"redis": "BellUnavailable", "chroma": "IndexUnavailable", "worker": "BellUnavailable"}
        assert {name: states[name] for name in away} == away
        assert (await get(service, "/metrics")).status_code == 200


@pytest.fixture
def fragile_database(postgresql_url: str) -> Iterator["Fragile"]:
    name = f"mneme_{new_id()}"
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        fragile = Fragile(
            connection, name, make_url(postgresql_url).set(database=name).render_as_string(False)
        )
        yield fragile
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Fragile:
    """A database that its operator can shut and open again."""

    def __init__(self, operator: psycopg.Connection[Any], name: str, url: str) -> None:
        self._operator = operator
        self._name = name
        self.url = url

    def shut(self) -> None:
        self._allow("false")
        self._operator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self._name]
        )

    def open(self) -> None:
        self._allow("true")

    def _allow(self, whether: str) -> None:
        self._operator.execute(f"ALTER DATABASE {self._name} WITH ALLOW_CONNECTIONS {whether}")


async def test_without_its_record_it_says_so_and_comes_back(
    settings: Settings, fragile_database: Fragile
) -> None:
    changed = make_settings(
        **settings.model_dump(exclude_unset=True) | {"database_url": fragile_database.url}
    )
    upgrade(database_url(changed))
    async with open_app(changed) as app, running_service(app) as service, service.visit("ana") as ana:
        assert (await parts(service))[0] == 200
        fragile_database.shut()
        assert (await get(service, "/healthz")).status_code == 200
        status, states = await parts(service)
        assert (status, states["database"], states["redis"]) == (503, "StoreUnavailable", "ready")
        assert (await get(service, "/metrics")).status_code == 200
        unheard = {"text": "Hello", "conversation": "first", "event": new_id()}
        refused = await ana.post("/web/messages", unheard)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        fragile_database.open()
        assert (await parts(service))[0] == 200
        assert (await ana.post("/web/messages", unheard)).status_code == 200


async def test_numbers_tell_of_everything_but_of_nobody(service: WebService, model: ModelStandIn) -> None:
    model.answer = lambda messages: f"I saw {SECRET} too."
    async with service.visit("anastasia") as ana:
        assert not (await ana.say(f"I saw {SECRET}"))["failed"]
    answer = await get(service, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    ours = [family for family in text_string_to_metric_families(answer.text) if family.name[:6] == "mneme_"]
    samples = [sample for family in ours for sample in family.samples]
    counts = {
        (sample.name, sample.labels.get("channel"), sample.labels.get("outcome")): sample.value
        for sample in samples
    }
    assert counts["mneme_messages_total", "web", "accepted"] >= 1
    assert counts["mneme_messages_total", "web", "answered"] >= 1
    assert counts["mneme_reply_seconds_count", "web", None] >= 1
    assert counts["mneme_queue_age_seconds", None, None] == 0
    names = {family.name for family in ours}
    assert {
        "mneme_model_seconds",
        "mneme_model_tokens",
        "mneme_lane_wait_seconds",
        "mneme_index_behind",
    } <= names
    assert {label for sample in samples for label in sample.labels} <= OUR_LABELS
    async with service.app.database.read() as connection:
        ids = [*await connection.scalars(users.select()), *await connection.scalars(conversations.select())]
    assert len(ids) == 2
    for private in (*ids, "heron", "anastasia"):
        assert private not in answer.text


# What nobody foresaw


class Odd(Paper):
    """A channel whose routes fail."""

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.get("/odd/{way}", self._fail)]

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def _fail(self, request: web.Request) -> web.StreamResponse:
        way = request.match_info["way"]
        if way.endswith("midway"):
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"begun")
        if way.startswith("away"):
            raise StoreUnavailable("the database is locked")
        if way == "gone":
            raise web.HTTPGone(text="as meant")
        raise ValueError(SECRET)


@asynccontextmanager
async def odd_face(app: App) -> AsyncIterator[httpx.AsyncClient]:
    face = HttpFace(app, [Odd(name="odd")], {}, app.settings)
    port = await face.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        await face.stop()


async def heard(address: str, request: str) -> str:
    """All that the server says to these bytes, until it hangs up."""
    host, _, port = address.removeprefix("http://").rstrip("/").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.encode())
    try:
        return (await asyncio.wait_for(reader.read(), 10)).decode()
    finally:
        writer.close()


async def test_what_nobody_foresaw_is_told_without_its_text(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    async with odd_face(app) as client:
        with structlog.testing.capture_logs() as told:
            failed = await client.get(f"/odd/{SECRET}")
    assert failed.status_code == 500
    assert "heron" not in failed.text
    assert [(line["event"], line["route"], line["error"]) for line in told] == [
        ("request_failed", "/odd/{way}", "ValueError")
    ]
    assert "heron" not in str(told)
    assert "heron" not in str([record.exc_text for record in caplog.records])


async def test_what_was_foreseen_is_answered_as_meant(app: App) -> None:
    async with odd_face(app) as client:
        assert (await client.get("/odd/gone")).status_code == 410
        away = await client.get("/odd/away")
        assert (away.status_code, away.headers["retry-after"]) == (503, "2")
        assert (await client.get("/nowhere")).status_code == 404
        assert (await client.post("/healthz")).status_code == 405


@pytest.mark.parametrize("way", ["fail-midway", "away-midway"])
async def test_an_answer_that_has_begun_isn_t_followed_by_another(app: App, way: str) -> None:
    async with odd_face(app) as client:
        said = await heard(str(client.base_url), f"GET /odd/{way} HTTP/1.1\r\nHost: x\r\n\r\n")
    assert "begun" in said
    assert said.count("HTTP/1.1 ") == 1
    assert not said.endswith("0\r\n\r\n"), "as if it were whole"


async def test_noise_from_strangers_isn_t_repeated_in_the_log(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with odd_face(app) as client:
        for noise in (f"GET / HTTP/1.1\r\n{SECRET}\r\n\r\n", f"GET /{SECRET} HTTP\r\n\r\n", "\x16\x03\x01"):
            await heard(str(client.base_url), noise)
        assert (await client.get("/healthz")).status_code == 200
    assert "http_error" in caplog.text
    assert "heron" not in caplog.text
