"""How long `mneme run` takes to its first reply, what its processes weigh, and our own share of a reply."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from deploy.data_directory import DataDirectory
from tests.processes import until
from tests.standins.model import ModelStandIn

REPLIES = 20
STOP_SECONDS = 40


@asynccontextmanager
async def running(environment: dict[str, str], log: Path) -> AsyncIterator[None]:
    """`mneme run`, from its welcome to Ctrl-C."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bots.cli", "run", env=environment, stdout=output, stderr=output
        )
    try:
        await until(lambda: process.returncode is not None or b"Web chat" in log.read_bytes(), 180)
        assert process.returncode is None
        yield
    finally:
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()


async def ask(environment: dict[str, str], text: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bots.cli", "chat", "--as", "ana", "--json", "-m", text]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, check=True, timeout=120
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def weights(data: Path) -> list[tuple[str, float]]:
    """Each part's resident memory in MB, its children's included."""
    state = DataDirectory(data).state()
    assert state is not None
    found = []
    for running_part in state.processes:
        process = psutil.Process(running_part.pid)
        family = [process, *process.children(recursive=True)]
        found.append((running_part.name, sum(member.memory_info().rss for member in family) / 2**20))
    return found


async def test_start_and_weight(tmp_path: Path, model: ModelStandIn) -> None:
    environment = {
        **{key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ},
        "MNEME_DATA_DIR": str(tmp_path / "data"),
        "OPENAI_BASE_URL": model.base_url,
        "OPENAI_API_KEY": model.key,
        "OPENAI_MODEL": model.model,
        "HTTP_PORT": "0",
        "BURST_SECONDS": "0",
    }
    rows = []
    for start in ("first", "second"):
        began = time.monotonic()
        async with running(environment, tmp_path / f"{start}.log"):
            ready = time.monotonic() - began
            await ask(environment, "Hello, I'm Ana and I live in Porto")
            rows += [
                (f"{start} start: ready", ready, "s"),
                (f"{start} start: first reply", time.monotonic() - began, "s"),
            ]
            if start == "second":
                timings = [
                    (await ask(environment, f"Number {number} is mine"))["timings"]
                    for number in range(REPLIES)
                ]
                own = [timing["total"] - timing["model"] for timing in timings]
                rows.append(("a reply's time that is our own, median", median(own), "ms"))
                rows += [(f"memory: {name}", weight, "MB") for name, weight in weights(tmp_path / "data")]
    print()
    for name, value, unit in rows:
        print(f"{name:<45} {value:>8.1f} {unit}")
