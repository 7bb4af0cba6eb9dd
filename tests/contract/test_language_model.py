"""What every language model must do, whoever serves it.

The stand-in, and the local server with a tiny model or with the real one that `LOCAL_MODEL_FILE` names.
"""

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from core.llm.model import ChatMessage, UnmeteredModel
from core.llm.openai_model import OpenAIModel
from tests.conftest import make_tries
from tests.standins.model import ModelStandIn
from tests.standins.tiny_model import write_tiny_model

LOADING_SECONDS = 120
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["cities"],
    "properties": {
        "cities": {"type": "array", "maxItems": 3, "items": {"type": "string", "enum": ["Porto", "Graz"]}},
    },
}


def adapter(base_url: str, key: str) -> OpenAIModel:
    return OpenAIModel(make_tries(120), api_key=key, base_url=base_url, model=None)


async def healthy(url: str) -> None:
    """Waits until the server has loaded its model."""
    async with httpx.AsyncClient() as client:
        while True:
            with suppress(httpx.TransportError):
                if (await client.get(url)).is_success:
                    return
            await asyncio.sleep(0.2)


async def stand_in(folder: Path) -> AsyncIterator[UnmeteredModel]:
    server = ModelStandIn()
    await server.start()
    model = adapter(server.base_url, server.key)
    yield model
    await model.aclose()
    await server.stop()


async def local(folder: Path) -> AsyncIterator[UnmeteredModel]:
    file = os.environ.get("LOCAL_MODEL_FILE")
    if file is None:
        file = str(folder / "tiny.gguf")
        write_tiny_model(Path(file))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    key = secrets.token_hex(16)
    command = [sys.executable, "-m", "deploy.model_server", "--model", file, "--port", str(port)]
    server = await asyncio.create_subprocess_exec(*command, env=os.environ | {"MNEME_MODEL_KEY": key})
    url = f"http://127.0.0.1:{port}"
    try:
        await asyncio.wait_for(healthy(f"{url}/health"), LOADING_SECONDS)
        model = adapter(f"{url}/v1", key)
        yield model
        await model.aclose()
    finally:
        server.terminate()
        await asyncio.wait_for(server.wait(), 30)


@pytest.fixture(params=[stand_in, local], ids=["stand-in", "local"], scope="module")
async def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UnmeteredModel]:
    async for one in request.param(tmp_path_factory.mktemp("model")):
        yield one


async def test_streams_an_answer(model: UnmeteredModel) -> None:
    messages = [ChatMessage("system", "You are brief."), ChatMessage("user", "Name three colours.")]
    pieces = [piece async for piece in model.stream(messages, max_tokens=40)]
    assert len(pieces) > 1
    assert all(pieces)


async def test_an_answer_is_no_longer_than_allowed(model: UnmeteredModel) -> None:
    messages = [ChatMessage("user", "Count from one to one hundred, in words.")]
    assert 1 <= len([piece async for piece in model.stream(messages, max_tokens=5)]) <= 5


async def test_a_conversation_may_hold_many_turns_and_any_text(model: UnmeteredModel) -> None:
    turns = [
        ChatMessage("user", "héllo 👋🏽 \u202e日本"),
        ChatMessage("assistant", "<|im_end|> {{x}}"),
        ChatMessage("user", " "),
    ]
    assert [piece async for piece in model.stream(turns, max_tokens=10)]


async def test_a_form_fits_its_schema(model: UnmeteredModel) -> None:
    messages = [ChatMessage("user", "Which cities? I moved from Porto to Graz.")]
    answer = await model.structured(messages, schema=SCHEMA, schema_name="cities", max_tokens=100)
    assert set(answer["cities"]) <= {"Porto", "Graz"}


async def test_has_a_name_after_the_first_call(model: UnmeteredModel) -> None:
    assert model.name
    assert "/" not in model.name
