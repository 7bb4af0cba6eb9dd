"""Mneme as processes: what an operator sees when something is wrong, and how it ends."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
from aiohttp import web

from bots.console.client import Terminal
from bots.service import Service
from core.app import App, open_app
from core.errors import ConfigurationError
from core.settings import Settings
from core.storage.database import database_url, upgrade
from tests.conftest import make_settings
from tests.integration.web_service import running_service
from tests.processes import Mneme, a_mneme, until
from tests.standins.model import ModelStandIn
from tests.standins.paper import Paper
from tests.standins.telegram import TelegramStandIn

WRONG_TOKEN = "987654321:AAWrongTokenWrongTokenWrongTokenWr"
SLACK_TOKEN = "xoxb-1234-wrongwrongwrong"
GARBLED = "my token/from @BotFather"
NOISE = b"GET / HTTP/1.1\r\nthe blue heron\r\n\r\n"


@pytest.fixture
def database_kind() -> str:
    """SQLite: what is tested here doesn't hang on the kind of record."""
    return "sqlite"


# In this process


async def test_a_garbled_token_keeps_no_other_channel_from_serving(settings: Settings) -> None:
    changed = make_settings(
        **settings.model_dump(exclude_unset=True)
        | {"telegram_bot_token": GARBLED, "slack_bot_token": GARBLED}
    )
    async with open_app(changed) as app, running_service(app) as service:
        async with service.stranger() as client:
            states = (await client.get("/readyz")).json()["parts"]
        assert states["web"] == states["console"] == "ready"
        assert states["telegram"].startswith("off: TELEGRAM_BOT_TOKEN")
        assert states["slack"].startswith("off: SLACK_APP_TOKEN")
        assert GARBLED not in str(states)


async def test_a_port_in_use_is_said_with_its_cure(settings: Settings, app: App) -> None:
    async with running_service(app) as first:
        port = int(first.url.rpartition(":")[2])
        changed = settings.model_copy(update={"http_port": port})
        async with open_app(changed) as other:
            service = Service(other)
            with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port} .*HTTP_PORT"):
                await service.start()
            async with asyncio.timeout(5):
                await service.stop()
            assert all(task.done() for task in service.tasks)


class Clinging(Paper):
    """A channel that can't let go."""

    def routes(self) -> Sequence[web.RouteDef]:
        return []

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        raise OSError("it won't close")


async def test_a_channel_that_fails_to_stop_keeps_nothing_from_stopping(app: App) -> None:
    service = Service(app)
    service.channels.insert(0, Clinging())
    port = await service.start()
    await service.stop()
    assert all(task.done() for task in service.tasks)
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{port}/healthz")


# As processes


@pytest.fixture(scope="module")
async def model_server() -> AsyncIterator[ModelStandIn]:
    model = ModelStandIn()
    await model.start()
    yield model
    await model.stop()


@pytest.fixture(scope="module")
async def mneme(
    redis_url: str,
    chroma_url: str,
    model_server: ModelStandIn,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Mneme]:
    """One that serves with wrong credentials on both platforms, and logs all it can."""
    folder, telegram = tmp_path_factory.mktemp("mneme"), TelegramStandIn()
    await telegram.start()
    settings = make_settings(
        database_url=f"sqlite:///{folder / 'mneme.db'}",
        redis_url=redis_url,
        chroma_url=chroma_url,
        openai_base_url=model_server.base_url,
        openai_api_key=model_server.key,
        openai_model=model_server.model,
        mneme_data_dir=folder / "data",
        telegram_bot_token=WRONG_TOKEN,
        telegram_api_base_url=telegram.url,
        slack_bot_token=SLACK_TOKEN,
        log_format="json",
        log_level="DEBUG",
    )
    upgrade(database_url(settings))
    async with a_mneme(settings, folder) as made:
        await made.serve()
        yield made
    await telegram.stop()


def log_of(mneme: Mneme) -> str:
    """All that `mneme serve` has logged so far."""
    return (mneme.folder / "serve-0.log").read_text()


def terminal(mneme: Mneme, name: str) -> Terminal:
    return Terminal.of(mneme.settings, mneme.url, name)


async def test_wrong_credentials_are_one_clear_line_and_the_others_go_on(mneme: Mneme) -> None:
    async with httpx.AsyncClient(base_url=mneme.url) as client:
        states = (await client.get("/readyz")).json()["parts"]
    assert states["telegram"].startswith("off: Telegram refuses TELEGRAM_BOT_TOKEN")
    assert states["slack"].startswith("off: SLACK_APP_TOKEN")
    off = [line for line in log_of(mneme).splitlines() if "channel_off" in line]
    assert sorted(json.loads(line)["channel"] for line in off) == ["slack", "telegram"]
    reply = await asyncio.to_thread(terminal(mneme, "ana").ask, "Hello")
    assert reply.text.endswith("Hello")


async def test_a_log_has_a_json_object_a_line_and_nobody_s_words(mneme: Mneme) -> None:
    said, name = "I keep zebrafish in the cellar", "Anastasia"
    assert not (await asyncio.to_thread(terminal(mneme, name).ask, said)).failed
    assert not (await asyncio.to_thread(terminal(mneme, name).ask, "/memory")).failed
    host, _, port = mneme.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(NOISE)
    await asyncio.wait_for(reader.read(), 10)
    writer.close()
    log = log_of(mneme)
    events = [json.loads(line) for line in log.splitlines()]
    assert {"serving", "channel_off"} <= {event["event"] for event in events}
    assert all({"event", "level", "timestamp"} <= event.keys() for event in events)
    secrets = (mneme.settings.openai_api_key, mneme.settings.mneme_master_key)
    tokens = [WRONG_TOKEN, SLACK_TOKEN, *(secret.get_secret_value() for secret in secrets if secret)]
    for private in ("zebrafish", "heron", name, *tokens):
        assert private not in log, next(line for line in log.splitlines() if private in line)


async def test_a_taken_port_ends_the_process_with_one_line(mneme: Mneme) -> None:
    done = await mneme.command("serve")
    assert done.returncode == os.EX_CONFIG
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"mneme: 127.0.0.1:{mneme.port} can't be listened on")
    assert "Traceback" not in done.stderr


async def test_a_stop_amid_a_reply_lets_it_end(mneme: Mneme, model_server: ModelStandIn) -> None:
    """The last test of this process: it ends it."""
    words = " ".join(f"word{number}" for number in range(40))
    model_server.answer = lambda messages: words
    model_server.piece_seconds = 0.05
    shown: list[str] = []
    asking = asyncio.create_task(asyncio.to_thread(terminal(mneme, "ben").ask, "Go on", on_text=shown.append))
    await until(lambda: shown)
    (process,) = mneme.processes
    process.terminate()
    assert await asyncio.to_thread(process.wait, 60) == 0, mneme.log()
    reply = await asyncio.wait_for(asking, 60)
    assert reply.text == words
    assert '"event": "stopped"' in log_of(mneme)
