"""Child processes: each in a session of its own, tied to this process's life, ended as a whole."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

_LAUNCHER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("child.py")))
_PRIVATE_UMASK = 0o077
END_CHECK_SECONDS = 0.02


class Process:
    """A running child. Its session keeps the terminal's Ctrl-C away from it: only its supervisor ends it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid
        try:
            self.created_at = psutil.Process(process.pid).create_time()
        except psutil.NoSuchProcess:
            self.created_at = 0.0

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: int | IO[bytes],
        *,
        connects: bool = True,
    ) -> "Process":
        """Starts `command`; both its streams go to `output` (an open file, or `asyncio.subprocess.PIPE`).

        `environment` is added to this process's own. Files that the child makes are its user's alone. Unless
        it `connects`, the kernel keeps it from opening connections, where it can.
        """
        process = await asyncio.create_subprocess_exec(
            *_LAUNCHER,
            str(os.getpid()),
            *([] if connects else ["--answering"]),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
            umask=_PRIVATE_UMASK,
        )
        return cls(process)

    @property
    def lines(self) -> asyncio.StreamReader:
        """What it prints, when its output is a pipe."""
        assert self._process.stdout is not None  # noqa: S101  # a mistake in this package, not in its input
        return self._process.stdout

    @property
    def code(self) -> int | None:
        """How it ended: its exit status, minus the signal's number, or None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        return await self._process.wait()

    async def stop(self, grace_seconds: float, hurry: asyncio.Event) -> None:
        """Asks the child to end, and after the grace, or at once in a `hurry`, kills it and all it started.

        Only the child itself is asked: a Celery worker lets its own children finish what they do.
        """
        if self.code is None:
            self._process.terminate()
            deadline = time.monotonic() + grace_seconds
            # asyncio's wait() would also wait for the child's children, which may hold the pipe for long.
            while self.code is None and time.monotonic() < deadline and not hurry.is_set():
                await asyncio.sleep(END_CHECK_SECONDS)
        kill_group(self.pid)
        await self.wait()


def kill_group(leader: int) -> None:
    """Kills what is left of the session that the process `leader` began."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for zombies
        os.killpg(leader, signal.SIGKILL)


async def errand(
    command: Sequence[str],
    environment: Mapping[str, str],
    hurry: asyncio.Event,
    tell: Callable[[str], None],
    *,
    connects: bool = True,
) -> int:
    """Runs `command` to its end, hands on each line that it prints, and returns its exit status."""
    process = await Process.start(command, environment, asyncio.subprocess.PIPE, connects=connects)
    try:
        async for line in process.lines:
            tell(line.decode(errors="replace").rstrip())
        return await process.wait()
    finally:
        await process.stop(grace_seconds=2, hurry=hurry)


def how_it_ended(code: int) -> str:
    """An exit status in words."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return "ended" if code == 0 else f"ended with exit status {code}"


async def end_leftover(pid: int, created_at: float, grace_seconds: float) -> bool:
    """Ends a child that outlived its supervisor; false when it is gone, or its id another's now."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - created_at) > 1:
            return False
        process.terminate()
        await asyncio.to_thread(psutil.wait_procs, [process], grace_seconds)
    except psutil.NoSuchProcess:
        return False
    kill_group(pid)
    return True
