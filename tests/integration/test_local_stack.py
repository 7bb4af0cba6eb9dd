"""The supervisor with a real Valkey, a real Chroma and small real processes, started as people start it."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import chromadb
import httpx
import psutil
import pytest
import redis

from core.errors import AlreadyRunning
from core.settings import Settings
from deploy.local import parts_for, state

ROOT = Path(__file__).parents[2]
PROGRAM = str(ROOT / "tests" / "standins" / "small_mneme.py")
RUN = f"""
import sys
from core.settings import load_settings
from deploy.local import run
sys.exit(run(load_settings(), (sys.executable, {PROGRAM!r})))
"""
NOBODY = "http://127.0.0.1:9"
"""Nothing listens there (discard): what is given by this URL needn't be started."""
TIMEOUT_SECONDS = 60

pytestmark = pytest.mark.timeout(150)


def settings(data: Path, **named: Any) -> Settings:
    return Settings(_env_file=None, mneme_data_dir=data, **named)  # type: ignore[call-arg]


class Started:
    """A `mneme run` in a process of its own, and what it says."""

    def __init__(self, data: Path, environment: Mapping[str, str]) -> None:
        self.data = data
        self.said: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", RUN],
            env={**os.environ, "PYTHONPATH": str(ROOT), "MNEME_DATA_DIR": str(data), **environment},
            cwd=ROOT / "deploy",  # no .env there
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip())

    def wait_for(self, text: str) -> str:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                self.said.append(self._lines.get(timeout=0.1))
                if text in self.said[-1]:
                    return self.said[-1]
            if self.process.poll() is not None and not self._reader.is_alive() and self._lines.empty():
                break
        raise AssertionError(f"never said {text!r}: {self.said}")

    def ends(self) -> int:
        """Its exit status; what it said until then is in `said`."""
        status = self.process.wait(TIMEOUT_SECONDS)
        self._reader.join(TIMEOUT_SECONDS)
        while not self._lines.empty():
            self.said.append(self._lines.get())
        return status

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    @property
    def whole(self) -> str:
        return "\n".join(self.said)


def pids(data: Path) -> dict[str, int]:
    told = json.loads((data / "run.json").read_text())
    return {child["name"]: child["pid"] for child in told["processes"]}


def living(data: Path) -> list[psutil.Process]:
    """The processes that work on this data directory, whoever their parent is."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            known = process.environ().get("MNEME_DATA_DIR") == str(data)
            if (known or str(data) in " ".join(process.cmdline())) and process.status() != "zombie":
                found.append(process)
    return found


def none_living(data: Path) -> bool:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if not living(data):
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


class Starter:
    """Starts Mnemes on one data directory; at a test's end none is left."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._all: list[Started] = []

    def __call__(self, **environment: str) -> Started:
        without_model = {"OPENAI_BASE_URL": f"{NOBODY}/v1", "HTTP_PORT": "0"}
        self._all.append(Started(self.data, without_model | environment))
        return self._all[-1]

    def clear(self) -> None:
        for started in self._all:
            if started.process.poll() is None:
                started.process.kill()
            started.process.wait()
        for process in living(self.data):
            with contextlib.suppress(psutil.Error):
                process.kill()


@pytest.fixture
def start(data: Path) -> Iterator[Starter]:
    starter = Starter(data)
    yield starter
    starter.clear()


def test_it_starts_all_says_where_to_go_and_stops_all(start: Starter, data: Path) -> None:
    started = start()
    url = started.wait_for("Open http").removeprefix("Open ")
    running = state(settings(data))
    assert running is not None
    assert running.url is not None
    assert running.redis_url is not None
    assert running.chroma_url is not None
    assert url == f"{running.url}/"
    assert httpx.get(f"{url}readyz").status_code == 200
    assert redis.Redis.from_url(running.redis_url).ping()
    assert httpx.get(f"{running.chroma_url}/api/v2/heartbeat").status_code == 200
    assert list(pids(data)) == ["redis", "chroma", "worker", "service"]
    assert "[6 of 6]" in started.whole

    started.interrupt()
    assert started.ends() == 0
    assert none_living(data)
    assert state(settings(data)) is None
    assert started.said[-1] == "Mneme has stopped."


def test_what_it_keeps_is_its_users_alone(start: Starter, data: Path) -> None:
    started = start(CHROMA_URL=NOBODY)
    started.wait_for("Open http")
    running = state(settings(data))
    assert running is not None
    assert running.redis_url is not None
    password = (data / "redis.password").read_text()
    assert password in running.redis_url
    stranger = redis.Redis.from_url(running.redis_url.replace(password, ""))
    with pytest.raises(redis.RedisError):
        stranger.ping()
    lines = [" ".join(process.cmdline()) for process in living(data)]
    assert len(lines) >= 4
    assert not any(password in line for line in lines)
    assert password not in started.whole
    for path in data.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


async def test_data_outlives_a_restart(start: Starter, data: Path) -> None:
    for times in (1, 2):
        started = start()
        started.wait_for("Open http")
        running = state(settings(data))
        assert running is not None
        assert running.redis_url is not None
        assert running.chroma_url is not None
        port = int(running.chroma_url.rpartition(":")[2])
        client = await chromadb.AsyncHttpClient("127.0.0.1", port)
        collection = await client.get_or_create_collection("kept", embedding_function=None)
        await collection.upsert(ids=[str(times)], embeddings=[1.0, float(times)])
        assert redis.Redis.from_url(running.redis_url).rpush("kept", times) == times
        assert await collection.count() == times
        started.interrupt()
        assert started.ends() == 0


@pytest.mark.parametrize("name", ["redis", "chroma", "service"])
def test_a_killed_part_comes_back_where_it_was(start: Starter, data: Path, name: str) -> None:
    started = start(**({} if name == "chroma" else {"CHROMA_URL": NOBODY}))
    started.wait_for("Open http")
    before, running = pids(data), state(settings(data))
    os.kill(before[name], signal.SIGKILL)
    said = started.wait_for("starting it again")
    assert f"{name}  ended by SIGKILL; starting it again in 0.5 s; log: {name}.log" in said
    started.wait_for(f"{name}  ready")
    after, running_again = pids(data), state(settings(data))
    assert {part for part in before if before[part] != after[part]} == {name}
    assert running is not None
    assert running_again is not None
    assert (running.url, running.redis_url) == (running_again.url, running_again.redis_url)


def test_a_second_copy_is_refused_before_it_starts_anything(start: Starter, data: Path) -> None:
    first = start(CHROMA_URL=NOBODY)
    first.wait_for("Open http")
    before = pids(data)
    second = start(CHROMA_URL=NOBODY)
    assert second.ends() == 1
    url = state(settings(data))
    assert url is not None
    assert f"already running on {data} (pid {first.process.pid}, {url.url})" in second.whole
    assert pids(data) == before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child's life to its parent's")
def test_a_killed_supervisor_leaves_nothing_and_the_next_start_works(start: Starter, data: Path) -> None:
    started = start()
    started.wait_for("Open http")
    started.process.kill()
    assert none_living(data)
    assert state(settings(data)) is None
    again = start()
    again.wait_for("Open http")


def test_a_start_ends_what_an_earlier_one_left_running(start: Starter, data: Path) -> None:
    started = start(CHROMA_URL=NOBODY, SERVE_IS_STUBBORN="1")
    started.wait_for("Open http")
    left = pids(data)["service"]
    started.process.kill()
    started.process.wait()
    again = start(CHROMA_URL=NOBODY)
    again.wait_for("service  an earlier start left it running; ended it")
    again.wait_for("Open http")
    assert left not in [process.pid for process in living(data)]


@pytest.mark.parametrize("step", ["Mneme starts", "redis  starting", "chroma  starting", "worker  starting"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_can_be_broken_off(start: Starter, data: Path, step: str, number: signal.Signals) -> None:
    started = start(**({} if step == "chroma  starting" else {"CHROMA_URL": NOBODY}))
    started.wait_for(step)
    started.process.send_signal(number)
    assert started.ends() == 0
    assert none_living(data)
    assert "Traceback" not in started.whole


def test_a_second_interrupt_ends_everything_at_once(start: Starter, data: Path) -> None:
    started = start(CHROMA_URL=NOBODY, SERVE_IS_STUBBORN="1")
    started.wait_for("Open http")
    started.interrupt()
    started.wait_for("service  stopping")
    started.interrupt()
    assert started.process.wait(15) == 0  # its grace would be 20 s
    assert none_living(data)


def test_a_part_given_by_url_is_used_and_not_started(start: Starter, data: Path) -> None:
    started = start(CHROMA_URL=NOBODY, REDIS_URL="redis://:secret@127.0.0.1:9/0")
    started.wait_for("Open http")  # the service lives without its worker
    assert list(pids(data)) == ["worker", "service"]
    assert "chroma  127.0.0.1:9 isn't usable now (no answer)" in started.whole
    assert "redis  127.0.0.1:9 isn't usable now (no answer)" in started.whole
    assert "worker  waiting" in started.whole
    assert "secret" not in started.whole
    assert not (data / "redis").exists()


def test_in_local_mode_the_model_isn_t_fetched(start: Starter, data: Path) -> None:
    started = start(PRIVACY_MODE="local", OPENAI_BASE_URL="", CHROMA_URL=NOBODY)
    assert started.ends() == 1
    assert "Mneme can't run: PRIVACY_MODE=local fetches nothing" in started.whole
    assert not list(data.rglob("*.partial"))
    assert none_living(data)


async def test_other_commands_start_the_parts_they_need(data: Path, start: Starter) -> None:
    alone = settings(data, openai_base_url=NOBODY)
    async with parts_for(alone, {"redis", "model"}) as whole:
        assert whole.redis_url is not None
        assert redis.Redis.from_url(whole.redis_url.get_secret_value()).ping()
        assert whole.openai_base_url == NOBODY
        assert whole.chroma_url is None
        started = start(CHROMA_URL=NOBODY, REDIS_URL=whole.redis_url.get_secret_value())
        assert started.ends() == 1
        assert "already running" in started.whole
    assert none_living(data)


async def test_other_commands_join_a_running_mneme(data: Path, start: Starter) -> None:
    start(CHROMA_URL=NOBODY).wait_for("Open http")
    before = pids(data)
    async with parts_for(settings(data), {"redis"}) as whole:
        assert whole.redis_url is not None
        assert redis.Redis.from_url(whole.redis_url.get_secret_value()).ping()
    with pytest.raises(AlreadyRunning, match="has no chroma yet"):
        async with parts_for(settings(data), {"chroma"}):
            pass
    assert pids(data) == before


def test_a_directory_that_cant_be_made_is_said_with_its_cure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    started = Started(tmp_path / "file" / "data", {})
    assert started.ends() == 1
    assert "can't be used (Not a directory): set MNEME_DATA_DIR" in started.whole


def test_a_taken_port_that_was_asked_for_is_said_before_anything_starts(start: Starter, data: Path) -> None:
    first = start(CHROMA_URL=NOBODY)
    url = first.wait_for("Open http")
    port = url.rstrip("/").rpartition(":")[2]
    other = Started(data.with_name("other"), {"HTTP_PORT": port})
    assert other.ends() == 1
    assert f"HTTP_PORT {port} is taken" in other.whole
    assert "starting" not in other.whole


@pytest.mark.parametrize(
    ("fault", "cure"),
    [
        ("MIGRATE_FAILS", "The database can't be made ready: the schema is from the future"),
        ("SERVE_MISCONFIGURED", "TELEGRAM_MODE=webhook needs TELEGRAM_WEBHOOK_SECRET"),
    ],
)
def test_what_cant_be_mended_by_trying_again_ends_it(
    start: Starter, data: Path, fault: str, cure: str
) -> None:
    started = start(CHROMA_URL=NOBODY, **{fault: "1"})
    assert started.ends() == 1
    assert f"Mneme can't run: {cure}" in started.whole
    assert none_living(data)


def test_a_part_that_falls_is_said_with_its_last_words(start: Starter) -> None:
    started = start(CHROMA_URL=NOBODY, SERVE_FAILS="1")
    said = started.wait_for("starting it again in 1 s")
    assert "service  ended with exit status 1" in said
    assert "it last said: the service has fallen over" in said
