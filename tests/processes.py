"""A whole Mneme as an operator runs it: `mneme serve` and `mneme worker` as processes of their own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.settings import Settings
from tests.servers import STOP_SECONDS, answers_http, free_port

START_SECONDS = 90.0


@dataclass
class Mneme:
    """The processes of one Mneme, started by `serve` and `work`, ended by `stop`."""

    settings: Settings
    folder: Path
    port: int = field(default_factory=free_port)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self) -> subprocess.Popen[bytes]:
        """Starts a bot process and waits until it serves."""
        process = self._start("serve")
        await self._until_up(process, lambda: answers_http(f"{self.url}/readyz"))
        return process

    def work(self) -> subprocess.Popen[bytes]:
        """Starts a worker with its schedule."""
        return self._start("worker", "--beat")

    def beat(self) -> subprocess.Popen[bytes]:
        """Starts a schedule alone."""
        return self._start("beat")

    async def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs another `mneme` command to its end."""
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "bots.cli", *arguments],
            env=environment(self.settings, self.port),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    async def ask(self, name: str, text: str, *options: str) -> dict[str, Any]:
        """What `mneme chat --json` prints."""
        done = await self.command("chat", "--as", name, "-m", text, "--json", *options)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def stop(self) -> None:
        """Ends what still runs, as an operator would."""
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(2 * STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # whatever it left

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in self.folder.glob("*.log"))

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        log = self.folder / f"{arguments[0]}-{len(self.processes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "bots.cli", *arguments],
                env=environment(self.settings, self.port),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    async def _until_up(self, process: subprocess.Popen[bytes], is_up: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not await asyncio.to_thread(is_up):
            assert process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            await asyncio.sleep(0.2)


def environment(settings: Settings, http_port: int) -> dict[str, str]:
    """The settings as an operator would set them; what runs the tests doesn't show through."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
    chosen = settings.model_dump(exclude_unset=True) | {"http_port": http_port}
    values = {name.upper(): _plain(value) for name, value in chosen.items() if value is not None}
    return kept | values


def _plain(value: Any) -> str:
    return str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)


@asynccontextmanager
async def a_mneme(settings: Settings, folder: Path) -> AsyncIterator[Mneme]:
    """A Mneme on these settings, nothing started yet; whatever was is ended at the end of the block."""
    mneme = Mneme(settings, folder)
    try:
        yield mneme
    finally:
        await asyncio.to_thread(mneme.stop)


async def until(condition: Callable[[], Any], within_seconds: float = 60.0) -> Any:
    """The first true value of the condition, which may be a coroutine function.

    Raises:
        AssertionError: it didn't come in time.
    """
    deadline = time.monotonic() + within_seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, "it didn't happen in time"
        await asyncio.sleep(0.1)
