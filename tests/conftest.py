"""What tests share: real stores, a model that stands in at the HTTP boundary, an app over both databases."""

import asyncio
import base64
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL, make_url

from bots.service import end_all
from core.app import App, open_app
from core.clock import Clock, SystemClock
from core.llm.breaker import Breakers
from core.llm.tries import Patience, Tries
from core.settings import Settings
from core.storage.database import new_id, upgrade
from tests.servers import chroma_server, postgresql_folder, postgresql_server, redis_server
from tests.standins.model import ModelStandIn


@pytest.fixture(scope="session", autouse=True)
def trust_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No certificate is trusted: none is needed here, and each client would load all there are, in 30 ms."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("SSL_CERT_FILE", raising=False)
        environment.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("trusted")))
        yield


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def chroma_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_server(tmp_path_factory.mktemp("chroma")) as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    programs = postgresql_folder()
    if programs is None:
        pytest.skip("PostgreSQL's initdb isn't installed (apt install postgresql)")
    with postgresql_server(programs) as url:
        yield url


@pytest.fixture
async def model() -> AsyncIterator[ModelStandIn]:
    """A model server that answers as the test says; the default repeats the prompt's last message."""
    stand_in = ModelStandIn()
    await stand_in.start()
    yield stand_in
    await stand_in.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of record in turn."""
    kind: str = request.param
    return kind


@pytest.fixture
def empty_database(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'mneme.db'}"
        return
    with postgresql_database(request.getfixturevalue("postgresql_url")) as url:
        yield url


@pytest.fixture
def migrated_database(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with this version's tables, and nothing in them."""
    if database_kind == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "mneme.db")
        yield f"sqlite:///{tmp_path / 'mneme.db'}"
        return
    template = request.getfixturevalue("postgresql_template")
    with postgresql_database(request.getfixturevalue("postgresql_url"), template) as url:
        yield url


# To migrate takes longer than many a test: it is done once, and then copied.


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "mneme.db"
    upgrade(URL.create("sqlite", database=str(file)))
    return file


@pytest.fixture(scope="session")
def postgresql_template(postgresql_url: str) -> Iterator[str]:
    """The name of a database with this version's tables."""
    with postgresql_database(postgresql_url) as url:
        upgrade(make_url(url))
        yield make_url(url).database or ""


@contextmanager
def postgresql_database(server: str, template: str = "template1") -> Iterator[str]:
    """The URL of a database of its own on the server, gone after the block."""
    name = f"mneme_{new_id()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(
    migrated_database: str, redis_url: str, chroma_url: str, model: ModelStandIn, tmp_path: Path
) -> Settings:
    """Settings of a whole Mneme of the test's own, impatient where people would be patient."""
    return make_settings(
        database_url=migrated_database,
        redis_url=redis_url,
        chroma_url=chroma_url,
        openai_base_url=model.base_url,
        openai_api_key=model.key,
        openai_model=model.model,
        mneme_data_dir=tmp_path / "data",
    )


def make_settings(**values: object) -> Settings:
    """Settings from these values alone: neither the environment nor a `.env` shows through."""
    impatient: dict[str, object] = {
        "mneme_master_key": base64.b64encode(os.urandom(32)).decode(),
        "burst_seconds": 0.05,
        "sweep_seconds": 0.5,
        "idle_seconds": 0,
        "consolidate_seconds": 0,
        "special_categories": "keep",
        "privacy_notice": False,
        "http_port": 0,
    }
    return Settings(_env_file=None, **(impatient | values))  # type: ignore[call-arg, arg-type]


def make_tries(seconds: float = 20, *, clock: Clock | None = None, failures: int = 5) -> Tries:
    """Calls to a model that is waited for so long, whatever it is that it keeps one waiting with."""
    breakers = Breakers(clock or SystemClock(), failures=failures, rest_seconds=10)
    return Tries(Patience(seconds, seconds, seconds), breakers)


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[App]:
    """The core, wired; its lanes aren't running."""
    async with open_app(settings) as opened:
        yield opened


@asynccontextmanager
async def lanes_running(app: App) -> AsyncIterator[None]:
    """The app's bell is heard and its lanes are worked within the block."""
    async with AsyncExitStack() as stack:
        tasks = [asyncio.create_task(work) for work in (app.bell.listen(), app.lanes.run())]
        stack.push_async_callback(end_all, tasks)
        yield
        await app.lanes.stop()
