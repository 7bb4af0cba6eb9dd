"""The one directory that holds all that Mneme keeps, and what stands in it about a running Mneme."""

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from core.errors import AlreadyRunning, ConfigurationError
from core.settings import Settings

LOCK_SECONDS = 1.0
"""Somebody who only asks whether Mneme runs holds the lock for an instant."""
PASSWORD_BYTES = 24


@dataclass(frozen=True, slots=True)
class Running:
    """One child of a supervisor: `created_at` (seconds since 1970) tells it from a later one with its id."""

    name: str
    pid: int
    created_at: float


@dataclass(frozen=True, slots=True)
class RunState:
    """A running Mneme: its supervisor's id and where its parts are reached. What isn't there yet is None."""

    pid: int
    url: str | None = None
    redis_url: str | None = field(default=None, repr=False)
    chroma_url: str | None = None
    openai_base_url: str | None = None
    openai_api_key: str | None = field(default=None, repr=False)
    processes: tuple[Running, ...] = ()


class DataDirectory:
    """`MNEME_DATA_DIR`, by the names of what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()

    @classmethod
    def of(cls, settings: Settings) -> "DataDirectory":
        return cls(settings.mneme_data_dir)

    @contextlib.contextmanager
    def held(self) -> Iterator[RunState | None]:
        """Makes the directory and keeps every other Mneme off it. Gives what a killed one left.

        Raises:
            AlreadyRunning: another one holds it.
            ConfigurationError: it can't be made or written; the text is the cure.
        """
        descriptor = -1
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
            self._lock_within(descriptor, LOCK_SECONDS)
            self.folder("logs")
            leftover = self.last_state()
            self.write_state(
                leftover or RunState(os.getpid())
            )  # a full or read-only disk shows now, not in the middle of a start
        except BlockingIOError:
            os.close(descriptor)
            raise self._already_running() from None
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            raise ConfigurationError(
                f"The data directory {self.path} can't be used ({error.strerror}):"
                " set MNEME_DATA_DIR to one that you can write to"
            ) from error
        try:
            yield leftover
        finally:
            self._state_file.unlink(missing_ok=True)
            os.close(descriptor)

    def folder(self, name: str) -> Path:
        """A folder in the directory; it is made when it is missing, for its user alone."""
        folder = self.path / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    def turn_log(self, name: str) -> Path:
        """The log of a new start; the start before it is kept as `.log.old`."""
        log = self.log(name)
        if log.exists():
            log.replace(log.with_suffix(".log.old"))
        log.touch(mode=0o600)
        return log

    def password(self, name: str) -> str:
        """A password that stays the same from start to start, kept in a file that only its user reads."""
        path = self.path / name
        if not path.exists():
            self._write(name, secrets.token_hex(PASSWORD_BYTES))
        return path.read_text("ascii").strip()

    def write_private(self, path: Path, text: str) -> None:
        """Puts `text` into a file that appears whole and is readable by its user alone."""
        draft = path.with_name(f"{path.name}.new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)

    def write_state(self, state: RunState) -> None:
        self._write("run.json", json.dumps(asdict(state)))

    def last_state(self) -> RunState | None:
        """What the last supervisor wrote; it may be gone by now."""
        try:
            told = json.loads(self._state_file.read_text("utf-8"))
            return RunState(**told | {"processes": tuple(Running(**child) for child in told["processes"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def state(self) -> RunState | None:
        """The running Mneme's, or None when none runs."""
        try:
            descriptor = os.open(self._lock, os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            return self.last_state()
        finally:
            os.close(descriptor)

    @property
    def _lock(self) -> Path:
        return self.path / "lock"

    @property
    def _state_file(self) -> Path:
        return self.path / "run.json"

    def _write(self, name: str, text: str) -> None:
        self.write_private(self.path / name, text)

    def _lock_within(self, descriptor: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def _already_running(self) -> AlreadyRunning:
        state = self.last_state()
        who = f" (pid {state.pid}{', ' + state.url if state.url else ''})" if state else ""
        return AlreadyRunning(f"Mneme is already running on {self.path}{who}")
