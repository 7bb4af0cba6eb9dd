"""The local model's server as a process: what it says when it can't start, and how it stops.

It serves a tiny model of random weights, or the real one that `LOCAL_MODEL_FILE` names.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.servers import free_port
from tests.standins.tiny_model import write_tiny_model

KEY = "a-key-for-tests"
STARTING_SECONDS = 120


def command(model: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "deploy.model_server", "--model", str(model), "--port", str(port)]


def refused(model: Path, port: int, key: str = KEY) -> str:
    """The last line of a server that doesn't start."""
    done = subprocess.run(
        command(model, port),
        env=os.environ | {"MNEME_MODEL_KEY": key},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    return done.stderr.splitlines()[-1]


def test_says_what_is_no_model(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    assert "can't be read" in refused(file, free_port())
    file.write_text("hello")
    assert "is no GGUF file" in refused(file, free_port())
    file.write_bytes(b"GGUF" + bytes(1000))
    assert "damaged" in refused(file, free_port())


def test_wants_a_key(tmp_path: Path) -> None:
    assert "MNEME_MODEL_KEY" in refused(tmp_path / "model.gguf", free_port(), key="")


def test_says_that_its_port_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + bytes(1000))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "can't be listened on" in refused(file, taken.getsockname()[1])


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "LOCAL_MODEL_FILE" in os.environ:
        return Path(os.environ["LOCAL_MODEL_FILE"])
    file = tmp_path_factory.mktemp("model") / "tiny.gguf"
    write_tiny_model(file)
    return file


@contextmanager
def running(file: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    port = free_port()
    server = subprocess.Popen(command(file, port), env=os.environ | {"MNEME_MODEL_KEY": KEY})
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until_healthy(client)
            yield server, client
    finally:
        server.kill()
        server.wait(10)


def wait_until_healthy(client: httpx.Client) -> None:
    until = time.monotonic() + STARTING_SECONDS
    while not healthy(client) and time.monotonic() < until:
        time.sleep(0.2)


def healthy(client: httpx.Client) -> bool:
    try:
        return client.get("/health").is_success
    except httpx.TransportError:
        return False


CHAT = {"messages": [{"role": "user", "content": "Tell me a long story."}], "max_tokens": 500, "stream": True}


def test_lets_nobody_in_without_the_key(model_file: Path) -> None:
    with running(model_file) as (_, client):
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 401
        assert client.get("/slots", headers={"Authorization": f"Bearer {KEY}"}).status_code >= 400
        assert "<html" not in client.get("/").text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_at_once_even_amid_an_answer(number: signal.Signals, model_file: Path) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    with (
        running(model_file) as (server, client),
        client.stream("POST", "/v1/chat/completions", json=CHAT, headers=headers) as answer,
    ):
        next(answer.iter_lines())
        server.send_signal(number)
        assert server.wait(60) == 0


def test_says_nothing_of_what_is_written(model_file: Path) -> None:
    """Neither a prompt's words nor the model's stand in its log, even when an answer can't be read."""
    port = free_port()
    form = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
    body = {
        "messages": [{"role": "user", "content": "my sesame is open"}],
        "max_tokens": 20,
        "response_format": {"type": "json_schema", "json_schema": {"name": "form", "schema": form}},
    }
    server = subprocess.Popen(
        command(model_file, port),
        env=os.environ | {"MNEME_MODEL_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        wait_until_healthy(client)
        client.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {KEY}"})
    server.terminate()
    log, _ = server.communicate(timeout=60)
    assert [line for line in log.splitlines() if "answers at" not in line] == []
