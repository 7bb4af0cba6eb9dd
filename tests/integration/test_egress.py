"""PRIVACY_MODE=local as an operator has it: processes that reach this machine and nobody else."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from core.settings import Settings
from tests.conftest import make_settings
from tests.integration.remembering import ONE_DATABASE
from tests.processes import Mneme, a_mneme, environment, until
from tests.servers import free_port
from tests.standins.model import ELSEWHERE, ModelStandIn
from tests.standins.telegram import TelegramStandIn

ANA = 1001
ATTEMPTS = """
import asyncio, json, smtplib, socket, sys, time, urllib.request
import aiohttp, httpx, openai, redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from bots.command import prepared
prepared()
ONCE = Retry(NoBackoff(), 0)
here, port = sys.argv[1], int(sys.argv[2])

async def by_aiohttp(url):
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status

async def by_httpx(url):
    async with httpx.AsyncClient() as client:
        return (await client.get(url)).status_code

def datagram(host):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        return end.sendto(b"hello", (host, 53))

attempts = {
    "aiohttp": lambda host: asyncio.run(by_aiohttp(f"http://{host}:{port}/")),
    "httpx": lambda host: asyncio.run(by_httpx(f"http://{host}:{port}/")),
    "httpx, blocking": lambda host: httpx.get(f"http://{host}:{port}/").status_code,
    "urllib": lambda host: urllib.request.urlopen(f"http://{host}:{port}/").status,
    "socket": lambda host: socket.create_connection((host, port)).close(),
    "datagram": datagram,
    "redis": lambda host: redis.Redis(host, port, retry=ONCE).ping(),
    "smtp": lambda host: smtplib.SMTP(host, port),
    "openai": lambda host: openai.OpenAI(base_url=f"http://{host}:{port}", api_key="k", max_retries=0)
        .models.list(),
}
REFUSED = "PRIVACY_MODE=local refuses"

def outcome(attempt, host):
    began = time.monotonic()
    try:
        attempt(host)
    except Exception as error:
        while error is not None:
            if REFUSED in str(error):
                return "refused" if time.monotonic() - began < 5 else "refused late"
            error = error.__cause__ or error.__context__
        return "let through"
    return "let through"

print(json.dumps({f"{name} to {host}": outcome(attempt, host)
                  for host in (here, "198.51.100.1", "leak.example") for name, attempt in attempts.items()}))
"""

pytestmark = [pytest.mark.timeout(150), ONE_DATABASE]


def local(settings: Settings, **given: object) -> Settings:
    chosen = settings.model_dump(exclude_unset=True) | {"privacy_mode": "local", "access": "open"} | given
    return make_settings(**chosen)


def test_whatever_a_process_tries_it_reaches_this_machine_alone(settings: Settings, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ATTEMPTS, "127.0.0.1", str(free_port())],
        env=environment(local(settings), free_port()) | {"PYTHONPATH": os.getcwd()},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout.splitlines()[-1])
    assert len(outcomes) == 27
    expected = {name: "let through" if "127.0.0.1" in name else "refused" for name in outcomes}
    assert outcomes == expected
    assert "host=leak.example" in done.stderr


@pytest.mark.parametrize(
    ("command", "given", "named"),
    [
        ("serve", {"openai_base_url": "http://192.168.77.5:11434/v1"}, "OPENAI_BASE_URL"),
        ("worker", {"redis_url": "redis://:hush@cache.internal:6379/0"}, "REDIS_URL"),
        ("doctor", {"database_url": "postgresql://mneme:hush@db.internal/mneme"}, "DATABASE_URL"),
        ("run", {"chroma_url": "http://index.internal:8000"}, "CHROMA_URL"),
    ],
)
async def test_a_setting_that_leads_elsewhere_ends_every_command(
    settings: Settings, tmp_path: Path, command: str, given: dict[str, object], named: str
) -> None:
    async with a_mneme(local(settings, **given), tmp_path) as mneme:
        done = await mneme.command(command)
    assert done.returncode == os.EX_CONFIG
    (line,) = done.stderr.splitlines()
    assert line.startswith("mneme: PRIVACY_MODE=local, but this isn't on this machine: ")
    assert f"(by {named})" in line
    assert "hush" not in line


def test_a_proxy_would_be_a_way_around(settings: Settings, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bots.cli", "code"],
        env=environment(local(settings), free_port())
        | {"PYTHONPATH": os.getcwd(), "https_proxy": "http://127.0.0.1:3128"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == os.EX_CONFIG
    assert "names a proxy" in done.stderr


@pytest.fixture
async def telegram() -> AsyncIterator[TelegramStandIn]:
    stand_in = TelegramStandIn()
    await stand_in.start()
    yield stand_in
    await stand_in.stop()


@pytest.fixture
async def mneme(settings: Settings, telegram: TelegramStandIn, tmp_path: Path) -> AsyncIterator[Mneme]:
    chosen = local(settings, telegram_bot_token=telegram.token, telegram_api_base_url=telegram.url)
    (tmp_path / "logs").mkdir()
    async with a_mneme(chosen, tmp_path / "logs") as made:
        yield made


async def test_a_listed_platform_works_and_a_model_that_sends_elsewhere_gets_nothing(
    mneme: Mneme, telegram: TelegramStandIn, model: ModelStandIn
) -> None:
    await mneme.serve()
    telegram.say(ANA, "I live in Porto.")
    await until(lambda: telegram.chat(ANA).from_bot)
    model.weather = lambda request, body: "elsewhere"
    telegram.say(ANA, "What do you know?")
    await until(lambda: len(telegram.chat(ANA).from_bot) == 2)
    assert telegram.chat(ANA).from_bot[1].text.startswith("I can't reach my language model right now.")
    assert "connection_refused" in mneme.log()
    assert f"host={ELSEWHERE}" in mneme.log()

    async with httpx.AsyncClient(base_url=mneme.url) as client:
        assert (await client.get("/readyz")).json()["privacy_mode"] == "local"
        counted = (await client.get("/metrics")).text
    assert "mneme_connections_refused_total 0.0" not in counted

    mneme.work()  # its jobs are done by a process that it forks
    worker_log = mneme.folder / "worker-1.log"
    await until(lambda: f"host={ELSEWHERE}" in worker_log.read_text())
    examined = (await mneme.command("doctor")).stdout
    assert "privacy mode local, nothing leaves this machine" in examined
