"""One process in the machine's charge: started, killed, stopped, continued, and started again."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

WAIT_SECONDS = 10.0
RESTART_SECONDS = 0.5
"""What ends by itself is started again after so long, as a supervisor would."""


@dataclass
class Charge:
    """A command that should run; a session of its own holds it and whatever it starts."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    down_until: float | None = None
    stopped_until: float | None = None
    started_at: float = 0.0
    kills: int = 0
    stops: int = 0
    falls: list[int] = field(default_factory=list)
    """The exit statuses with which it ended by itself."""

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name.replace(' ', '-')}.log"

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.down_until = self.stopped_until = None
        self.started_at = time.monotonic()

    def kill(self, down_seconds: float = 0.0) -> bool:
        """Kills -9, all of it; whether there was something to kill. `keep` starts it again."""
        if not self.runs:
            return False
        # Before the end: `keep` runs in another thread, and must not take it for a fall.
        self.down_until = time.monotonic() + down_seconds
        self.end()
        self.kills += 1
        return True

    def kill_child(self) -> bool:
        """Kills -9 one process that it has started, such as a worker's pool."""
        if self.process is None or not self.runs:
            return False
        with suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children():
                child.kill()
                self.kills += 1
                return True
        return False

    def stop(self, seconds: float) -> bool:
        """Holds it still (SIGSTOP); `keep` lets it go on."""
        if self.process is None or not self.runs or self.stopped_until is not None:
            return False
        self._signal(signal.SIGSTOP)
        self.stops += 1
        self.stopped_until = time.monotonic() + seconds
        return True

    def keep(self) -> None:
        """Does what is due: starts it again, lets it go on."""
        if self.process is None:
            return
        if not self.runs:
            if self.down_until is None:
                self.falls.append(self.process.returncode)
                self.down_until = time.monotonic() + RESTART_SECONDS
            if time.monotonic() >= self.down_until:
                self.end()
                self.start()
        elif self.stopped_until is not None and time.monotonic() >= self.stopped_until:
            self.stopped_until = None
            self._signal(signal.SIGCONT)

    def heal(self) -> None:
        """Nothing holds it back any longer."""
        if self.down_until is not None:
            self.down_until = 0.0
        if self.stopped_until is not None:
            self.stopped_until = 0.0
        self.keep()

    def end(self) -> None:
        """Kills whatever of it is left."""
        if self.process is not None:
            self._signal(signal.SIGKILL)
            self.process.wait(WAIT_SECONDS)

    def holds_port(self, port: int) -> bool:
        """Whether one of its connections has this local port."""
        if self.process is None or not self.runs:
            return False
        with suppress(psutil.Error):
            whole = psutil.Process(self.process.pid)
            for each in (whole, *whole.children(recursive=True)):
                if any(c.laddr and c.laddr.port == port for c in each.net_connections("tcp")):
                    return True
        return False

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
