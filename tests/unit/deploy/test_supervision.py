import asyncio
import io
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from core.errors import ConfigurationError, Unavailable
from deploy.ports import Port
from deploy.probes import ask_http
from deploy.screen import Screen
from deploy.supervision import Backoff, Supervised, last_line

QUICK = Backoff(first_delay_seconds=0.05, longest_delay_seconds=0.1, most_falls=3)
SERVER = """
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), SimpleHTTPRequestHandler).serve_forever()
"""


class SmallPart:
    """A part whose process is a few lines of Python; it is ready when its port answers."""

    name = "small"
    cure = "Take another one."
    connects: bool = True
    ready_seconds: float | None = 30.0
    stop_seconds = 5.0

    def __init__(self, script: str, port: Port | None = None) -> None:
        self.port: Port | None = port or Port.any()
        self._script = script

    def prepare(self) -> Sequence[str]:
        assert self.port is not None
        return [sys.executable, "-c", self._script, str(self.port.number)]

    def environment(self) -> Mapping[str, str]:
        return {}

    async def waits_for(self) -> str | None:
        assert self.port is not None
        return await ask_http(f"http://{self.port.reached_at}/")


Supervise = Callable[..., tuple[Supervised, io.StringIO]]


@pytest.fixture
async def supervise(tmp_path: Path) -> AsyncIterator[Supervise]:
    async with AsyncExitStack() as stopping:

        def make(part: SmallPart, backoff: Backoff = QUICK) -> tuple[Supervised, io.StringIO]:
            told = io.StringIO()
            log = tmp_path / "small.log"
            supervised = Supervised(part, log, Screen(told), asyncio.Event(), lambda: None, backoff)
            stopping.push_async_callback(supervised.stop)
            return supervised, told

        yield make


async def test_a_part_is_started_until_it_serves(supervise: Supervise) -> None:
    part = SmallPart(SERVER)
    supervised, told = supervise(part)
    await supervised.start()
    assert await part.waits_for() is None
    assert "small  ready on 127.0.0.1" in told.getvalue()
    await supervised.stop()
    assert await part.waits_for() is not None


async def test_a_part_that_keeps_falling_is_given_up_with_its_cure(supervise: Supervise) -> None:
    supervised, told = supervise(SmallPart("import sys; sys.exit('no disk')"))
    with pytest.raises(Unavailable, match=r"small fell 3 times in a row .*no disk\. Take another one\."):
        await supervised.start()
    assert told.getvalue().count("it last said: no disk") == 2
    assert "starting it again in 0.05 s; log: small.log" in told.getvalue()


async def test_a_misconfigured_part_is_not_started_again(supervise: Supervise) -> None:
    script = f"import sys; print('COLOUR must be blue'); sys.exit({os.EX_CONFIG})"
    supervised, told = supervise(SmallPart(script))
    with pytest.raises(ConfigurationError, match="COLOUR must be blue"):
        await supervised.start()
    assert "again" not in told.getvalue()


async def test_a_part_that_isnt_ready_in_time_is_started_anew(supervise: Supervise) -> None:
    part = SmallPart("import time; time.sleep(600)")
    part.ready_seconds = 0.1
    supervised, _ = supervise(part)
    with pytest.raises(Unavailable, match=r"not ready after \d+ s \(no answer\)"):
        await supervised.start()


async def test_a_served_part_that_is_killed_comes_back_on_its_port(supervise: Supervise) -> None:
    part = SmallPart(SERVER)
    supervised, told = supervise(part)
    await supervised.start()
    assert supervised.process is not None
    assert part.port is not None
    first, number = supervised.process, part.port.number
    keeping = asyncio.ensure_future(supervised.keep())
    os.kill(first.pid, 9)
    async with asyncio.timeout(30):
        while told.getvalue().count("ready on") < 2:
            await asyncio.sleep(0.02)
    keeping.cancel()
    assert supervised.process is not first
    assert part.port.number == number
    assert "ended by SIGKILL; starting it again" in told.getvalue()


async def test_falls_long_ago_are_forgiven(supervise: Supervise) -> None:
    forgiving = Backoff(first_delay_seconds=0.01, healthy_seconds=0.0, most_falls=2)
    supervised, told = supervise(SmallPart(SERVER), forgiving)
    await supervised.start()
    keeping = asyncio.ensure_future(supervised.keep())
    async with asyncio.timeout(60):
        for times in (2, 3, 4):
            assert supervised.process is not None
            os.kill(supervised.process.pid, 9)
            while told.getvalue().count("ready on") < times:
                await asyncio.sleep(0.02)
    assert not keeping.done()
    keeping.cancel()


async def test_a_part_that_lost_its_port_takes_another(supervise: Supervise) -> None:
    with socket.create_server(("127.0.0.1", 0)) as thief:
        number = thief.getsockname()[1]
        part = SmallPart(SERVER, Port("127.0.0.1", number))
        supervised, _ = supervise(part)
        await supervised.start()
        assert part.port is not None
        assert part.port.number != number


async def test_a_part_whose_port_was_asked_for_says_that_it_is_taken(supervise: Supervise) -> None:
    with socket.create_server(("127.0.0.1", 0)) as thief:
        supervised, _ = supervise(SmallPart(SERVER, Port("127.0.0.1", thief.getsockname()[1], fixed=True)))
        with pytest.raises(ConfigurationError, match="is taken"):
            await supervised.start()


def test_the_delay_doubles_up_to_its_limit() -> None:
    delays = [Backoff().delay_seconds(falls) for falls in range(1, 9)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", ""), ("\n \n", ""), ("one\n\x1b[31mtwo\x1b[0m\n\n", "two"), ("x" * 9000, "x" * 200)],
)
def test_the_last_line_of_a_log(tmp_path: Path, text: str, said: str) -> None:
    log = tmp_path / "log"
    log.write_text(text)
    assert last_line(log) == said


def test_a_log_that_isnt_there_says_nothing(tmp_path: Path) -> None:
    assert last_line(tmp_path / "none") == ""
