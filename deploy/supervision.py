"""Keeping one part alive: start, wait until it serves, watch, start again with back-off, stop."""

import asyncio
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigurationError, Unavailable
from deploy.parts import Part
from deploy.ports import require_free
from deploy.processes import Process, how_it_ended
from deploy.screen import Patience, Screen

PROBE_SECONDS = 0.1
LOG_TAIL_BYTES = 4096
LINE_CHARS = 200

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How a part that falls is started again."""

    first_delay_seconds: float = 0.5
    longest_delay_seconds: float = 30.0
    healthy_seconds: float = 60.0
    """A part that served this long may fall again without its earlier falls being held against it."""
    most_falls: int = 8
    """So many in a row, and it is given up."""

    def delay_seconds(self, falls: int) -> float:
        """The wait after so many falls in a row: it doubles each time."""
        return min(self.first_delay_seconds * 2.0 ** (falls - 1), self.longest_delay_seconds)


class Supervised:
    """One part and the process that is it at the moment.

    `changed` is called after each start. `hurry` cuts all waiting for an end short.
    """

    def __init__(
        self,
        part: Part,
        log: Path,
        screen: Screen,
        hurry: asyncio.Event,
        changed: Callable[[], None],
        backoff: Backoff = Backoff(),
    ) -> None:
        self.part = part
        self.process: Process | None = None
        self._log = log
        self._screen = screen
        self._hurry = hurry
        self._changed = changed
        self._backoff = backoff
        self._falls = 0
        self._served_since: float | None = None

    async def start(self) -> None:
        """Starts it until it serves.

        Raises:
            Unavailable: it fell too often in a row.
            ConfigurationError: trying again can't help; the text is the cure.
        """
        self._screen.say(self.part.name, "starting")
        while (fall := await self._try()) is not None:
            await self._after(fall)

    async def keep(self) -> None:
        """Watches over the served part, and starts it again whenever it ends. It never returns.

        Raises:
            Unavailable, ConfigurationError: as `start`.
        """
        while self.process is not None:
            code = await self.process.wait()
            if time.monotonic() - (self._served_since or 0) > self._backoff.healthy_seconds:
                self._falls = 0
            await self._after(how_it_ended(code))
            await self.start()

    async def stop(self) -> None:
        """Ends the process; it may take the part's grace."""
        if self.process is not None:
            await self.process.stop(self.part.stop_seconds, self._hurry)

    async def _try(self) -> str | None:
        """One start: None when it serves, else how it fell."""
        try:
            command = self.part.prepare()
            with self._log.open("ab") as output:
                self.process = await Process.start(
                    command, self.part.environment(), output, connects=self.part.connects
                )
        except OSError as error:
            return f"can't be started ({error.strerror})"
        self._changed()
        patience = Patience(self._screen, self.part.name)
        while True:
            missing = await self.part.waits_for()
            if self.process.code is not None:
                return how_it_ended(self.process.code)
            if missing is None:
                break
            if self.part.ready_seconds is not None and patience.seconds > self.part.ready_seconds:
                await self.stop()
                return f"not ready after {patience.seconds:.0f} s ({missing})"
            patience.wait_for(missing)
            await asyncio.sleep(PROBE_SECONDS)
        self._served_since = time.monotonic()
        where = f" on {self.part.port.reached_at}" if self.part.port else ""
        self._screen.done(self.part.name, f"ready{where} after {patience.seconds:.1f} s")
        return None

    async def _after(self, fall: str) -> None:
        """Says that it fell, and waits as long as is right before the next start."""
        await self.stop()  # what it started mustn't live on beside the next one
        self._falls += 1
        last = last_line(self._log)
        if self.process is not None and self.process.code == os.EX_CONFIG:
            raise ConfigurationError(
                last or f"{self.part.name} says that its settings are wrong: see {self._log}"
            )
        if self._falls >= self._backoff.most_falls:
            often = f"{self.part.name} fell {self._falls} times in a row"
            raise Unavailable(f"{often} ({fall}): {last or self._log}. {self.part.cure}")
        self._look_after_port()
        delay = self._backoff.delay_seconds(self._falls)
        said = f"; it last said: {last}" if last else ""
        self._screen.say(
            self.part.name, f"{fall}; starting it again in {delay:g} s; log: {self._log.name}{said}"
        )
        await asyncio.sleep(delay)

    def _look_after_port(self) -> None:
        """A part that nobody knows yet moves to another port when somebody was quicker to take its own."""
        port = self.part.port
        if port is None or self._served_since is not None or port.is_free:
            return
        if port.fixed:
            require_free(port)
        port.renew()


def last_line(log: Path) -> str:
    """The last line of a log that says something, without colours, cut to LINE_CHARS."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in _ESCAPES.sub("", text).splitlines()]
    return next((line[:LINE_CHARS] for line in reversed(lines) if line), "")
