from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from core.settings import Settings
from deploy.data_directory import RunState
from deploy.local import parts_for
from deploy.ports import Port
from deploy.probes import ask_http, ask_models, ask_redis, ollama_models, place
from deploy.stack import given, joined

KEY = "sk-right"


async def _models(request: web.Request) -> web.Response:
    if request.headers.get("Authorization") != f"Bearer {KEY}":
        return web.json_response({"error": "who are you?"}, status=401)
    return web.json_response({"data": []})


async def _tags(request: web.Request) -> web.Response:
    return web.json_response({"models": [{"name": "llama3.2:3b"}, {"name": "qwen3:8b"}]})


async def _busy(request: web.Request) -> web.Response:
    return web.json_response({"redis": "away"}, status=503)


@pytest.fixture
async def server() -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes([web.get("/v1/models", _models), web.get("/api/tags", _tags), web.get("/readyz", _busy)])
    runner = web.AppRunner(app)
    await runner.setup()
    port = Port.any()
    await web.TCPSite(runner, port.host, port.number).start()
    yield f"http://{port.reached_at}"
    await runner.cleanup()


@pytest.fixture
def nobody() -> str:
    return Port.any().reached_at


def settings(**named: object) -> Settings:
    return Settings(_env_file=None, **named)  # type: ignore[call-arg, arg-type]


async def test_a_model_server_is_asked_with_the_key(server: str) -> None:
    assert await ask_models(f"{server}/v1", KEY) is None
    assert await ask_models(f"{server}/v1", "sk-wrong") == "it refuses the key: check OPENAI_API_KEY"
    assert await ask_models(f"{server}/v1", None) == "it refuses the key: check OPENAI_API_KEY"


async def test_what_a_server_waits_for_is_told(server: str) -> None:
    assert await ask_http(f"{server}/readyz") == 'HTTP 503: {"redis": "away"}'


async def test_nobody_answers_and_no_address_is_repeated(nobody: str) -> None:
    assert await ask_http(f"http://{nobody}/") == "no answer"
    assert await ask_redis(f"redis://:hunter2@{nobody}/0") == "no answer"


async def test_a_redis_address_of_another_kind_is_told() -> None:
    assert await ask_redis("http://127.0.0.1") == "the address must begin with redis://, rediss:// or unix://"


async def test_another_password_is_told(tmp_path: Path) -> None:
    async with parts_for(settings(mneme_data_dir=tmp_path / "data", redis_url=None), {"redis"}) as whole:
        assert whole.redis_url is not None
        url = whole.redis_url.get_secret_value()
        assert await ask_redis(url) is None
        stranger = f"redis://:hunter2@{url.rpartition('@')[2]}"
        assert await ask_redis(stranger) == "it asks for another password"


async def test_a_running_ollama_is_found(server: str, nobody: str) -> None:
    assert await ollama_models(server) == ["llama3.2:3b", "qwen3:8b"]
    assert await ollama_models(f"http://{nobody}") == []
    assert await ollama_models(f"{server}/no") == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:hunter2@cache.example:6380/0", "cache.example:6380"),
        ("https://api.example/v1?key=hunter2", "api.example"),
        ("http://[::1", "the given address"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert place(url) == shown


def test_what_the_operator_names_is_given() -> None:
    clear = {"redis_url": None, "chroma_url": None, "openai_api_key": None, "openai_base_url": None}
    assert given(settings(**clear)) == set()
    assert given(settings(**clear | {"openai_api_key": KEY, "chroma_url": "http://c"})) == {"model", "chroma"}
    assert given(settings(**clear | {"openai_base_url": "http://m", "redis_url": "redis://r"})) == {
        "model",
        "redis",
    }


def test_what_runs_fills_in_only_what_the_operator_left_open() -> None:
    running = RunState(
        1, redis_url="redis://r", chroma_url="http://c", openai_base_url="http://m/v1", openai_api_key="k"
    )
    open_ones = settings(redis_url=None, openai_api_key=None, openai_base_url=None, chroma_url="http://mine")
    whole = joined(open_ones, running)
    assert whole.redis_url is not None
    assert whole.redis_url.get_secret_value() == "redis://r"
    assert whole.chroma_url == "http://mine"
    assert whole.openai_base_url == "http://m/v1"
