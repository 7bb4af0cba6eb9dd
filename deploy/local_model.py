"""The local model's file: which one, whether it is there, and how to get it."""

import errno
import hashlib
import json
import os
import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from core.errors import ConfigurationError
from deploy.model_sources import HttpFile, PackageParts, Source, SourceFailed

MANIFEST = Path(__file__).with_name("models.toml")
MEDIUM_NEEDS_BYTES = 5 * 2**30
"""Memory below which `auto` takes the small model: the medium one needs 2 GB beside everything else."""
MEDIUM_NEEDS_CORES = 2
SPARE_DISK_BYTES = 256 * 2**20
"""What must be left on the disk beside the model, so that the record can still be written."""

CURE = "Set LOCAL_MODEL=/path/to/model.gguf for a file of your own, or OPENAI_API_KEY, or OPENAI_BASE_URL."
NOT_FETCHED = (
    "PRIVACY_MODE=local fetches nothing, and {title} isn't there yet. Fetch it once with"
    " `PRIVACY_MODE=open mneme fetch-model`, which sends nothing of anybody's, or put the file at {path}"
    " (sha256 {sha256}), or set LOCAL_MODEL=/path/to/model.gguf for one of your own."
)


@dataclass(frozen=True, slots=True)
class LocalModel:
    """One entry of the manifest."""

    title: str
    licence: str
    file: str
    bytes: int
    sha256: str
    sources: tuple[Source, ...]


def read_manifest(path: Path = MANIFEST) -> dict[str, LocalModel]:
    """The manifest's models by the name that `LOCAL_MODEL` takes."""
    kinds: dict[str, Callable[..., Source]] = {"packages": PackageParts, "https": HttpFile}
    told: Mapping[str, dict[str, Any]] = tomllib.loads(path.read_text())
    return {
        name: LocalModel(
            **entry | {"sources": tuple(kinds[source["kind"]](**source) for source in entry["sources"])}
        )
        for name, entry in told.items()
    }


def ensure(choice: str, data_dir: Path, say: Callable[[str], None], *, may_fetch: bool = True) -> Path:
    """The model file for `LOCAL_MODEL=choice`, fetched into `data_dir`/models when it isn't there yet.

    It blocks, for minutes at a first start; `say` is told how far it is.

    Raises:
        ConfigurationError: there is no such model, or no source gives it; the text is the cure.
    """
    models = read_manifest()
    name = automatic() if choice == "auto" else choice
    if name in models:
        return fetched(models[name], data_dir / "models", say, may_fetch=may_fetch)
    if name.endswith(".gguf") or os.sep in name:
        return _own_file(Path(name).expanduser())
    raise ConfigurationError(f"LOCAL_MODEL must be auto, {', '.join(models)} or the path of a .gguf file")


def automatic() -> str:
    """The manifest's model that suits this machine. It goes by what is built in, so every start agrees."""
    roomy = min(psutil.virtual_memory().total, _cgroup_limit_bytes()) >= MEDIUM_NEEDS_BYTES
    return "medium" if roomy and (os.cpu_count() or 1) >= MEDIUM_NEEDS_CORES else "small"


def _cgroup_limit_bytes() -> float:
    try:
        return float(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):
        return float("inf")


def _own_file(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ConfigurationError(f"LOCAL_MODEL: {path} can't be read ({error.strerror})") from None
    if magic != b"GGUF":
        raise ConfigurationError(f"LOCAL_MODEL: {path} is no GGUF file")
    return path.resolve()


def fetched(model: LocalModel, folder: Path, say: Callable[[str], None], *, may_fetch: bool = True) -> Path:
    """The model's file in `folder`, from its first source that gives it.

    Raises:
        ConfigurationError: no source does, or none may be asked, or the disk doesn't take it.
    """
    path = folder / model.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if _is_whole(path, model, say):
            return path
        if not may_fetch:
            raise ConfigurationError(NOT_FETCHED.format(title=model.title, path=path, sha256=model.sha256))
        say(f"The local model comes once: {model.title}, {model.licence}, {model.bytes / 1e9:.1f} GB")
        _fetch_from_any(model, path, say)
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise ConfigurationError(f"The model can't be kept in {folder}: {reason}") from error
    return path


def _fetch_from_any(model: LocalModel, path: Path, say: Callable[[str], None]) -> None:
    failures: list[str] = []
    for source in model.sources:
        partial = path.with_name(f"{path.name}.{source.kind}.partial")
        _check_room(model, partial)
        try:
            source.fetch(partial, model.bytes, lambda step: say(f"Fetching the model: {step}"))
        except SourceFailed as failure:
            say(f"The model can't be had as {source.kind}: {failure}")
            failures.append(f"{source.kind}: {failure}")
            continue
        say("Checking the model's hash")
        if _sha256(partial) == model.sha256:
            _keep(partial, path, model)
            return
        partial.unlink()
        say(f"What came as {source.kind} isn't the model: its hash differs. It is deleted.")
        failures.append(f"{source.kind}: the hash differs")
    raise ConfigurationError(f"The local model can't be fetched ({'; '.join(failures)}). {CURE}")


def _check_room(model: LocalModel, partial: Path) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    need = model.bytes - have + SPARE_DISK_BYTES
    free = shutil.disk_usage(partial.parent).free
    if free < need:
        raise ConfigurationError(
            f"The model needs {need / 1e9:.1f} GB in {partial.parent}, and {free / 1e9:.1f} GB are free."
            f" Make room, set LOCAL_MODEL=small, or MNEME_DATA_DIR. {CURE}"
        )


def _keep(partial: Path, path: Path, model: LocalModel) -> None:
    """Gives the checked file its name, and drops what other sources left."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    _stamp(path, model)
    for remnant in path.parent.glob(f"{path.name}.*.partial"):
        remnant.unlink()
        remnant.with_suffix(".json").unlink(missing_ok=True)


def _is_whole(path: Path, model: LocalModel, say: Callable[[str], None]) -> bool:
    """Whether the file is the model: by its stamp, else by its hash, which takes seconds."""
    if not path.exists() or path.stat().st_size != model.bytes:
        return False
    try:
        if json.loads(_stamp_path(path).read_text()) == _facts(path, model):
            return True
    except (OSError, ValueError):
        pass
    say("Checking the model's hash")
    if _sha256(path) != model.sha256:
        say("The model's file is damaged; it is fetched anew")
        return False
    _stamp(path, model)
    return True


def _facts(path: Path, model: LocalModel) -> dict[str, Any]:
    return {"sha256": model.sha256, "bytes": model.bytes, "mtime_ns": path.stat().st_mtime_ns}


def _stamp(path: Path, model: LocalModel) -> None:
    """Notes that the file was checked, so that the next start needn't read it all."""
    _stamp_path(path).write_text(json.dumps(_facts(path, model)))


def _stamp_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.stamp")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
