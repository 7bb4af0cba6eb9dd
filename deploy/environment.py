"""Makes the checkout's virtual environment: `python deploy/environment.py runtime` (or `dev`).

Runs before anything is installed, so it needs nothing but Python. All packages are those of
requirements.lock, checked by their hashes.
"""

import fcntl
import importlib.util
import os
import re
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
Command = list[str | Path]

LOCK = ROOT / "requirements.lock"
EXTRAS = {"runtime": ["build"], "dev": ["build", "dev"]}
SIZES = {"runtime": "about 0.3 GB", "dev": "about 0.4 GB"}
"""What a first set-up downloads."""

NO_VENV = (
    "This Python can't make virtual environments. On Debian and Ubuntu: apt install python3-venv"
    " (or python3.11-venv), then run make again."
)
NO_PACKAGES = (
    "The packages can't be installed; the reason stands above. Without a way to a package index, set"
    " PIP_INDEX_URL to one that can be reached, then run make again: it goes on where it was."
)


def main(kind: str) -> None:
    began = time.monotonic()
    checkout = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(checkout, fcntl.LOCK_EX)  # `make run` and `make test` may both be the first
    make_venv()
    fetch_uv()
    install(kind)
    for done in ("runtime", kind):
        (VENV / f".{done}").touch()
    os.close(checkout)
    say(f"the environment is ready after {time.monotonic() - began:.0f} s")


def say(text: str) -> None:
    print(f"    setup  {text}", flush=True)


def make_venv() -> None:
    if PYTHON.exists() and subprocess.run([PYTHON, "-c", ""], check=False).returncode == 0:
        return
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        sys.exit(NO_VENV)
    say(f"making .venv with Python {sys.version.split()[0]} [1 of 3]")
    if subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=False).returncode != 0:
        sys.exit(NO_VENV)


def fetch_uv() -> None:
    """The installer, bootstrapped with pip from the lock's own hashes."""
    entry = re.search(r"^uv==(\S+) \\\n(?: +--hash=.*\n)+", LOCK.read_text(), re.MULTILINE)
    if entry is None:
        sys.exit("requirements.lock has no uv: run git checkout requirements.lock")
    wanted = f"uv {entry[1]}"
    if UV.exists() and output([UV, "--version"]).startswith(wanted):
        return
    say(f"fetching the installer, {wanted} [2 of 3]")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(entry[0])
        requirements.flush()
        pip: Command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, "--no-deps", "--require-hashes", "-r", requirements.name])


def install(kind: str) -> None:
    extras: Command = [word for extra in EXTRAS[kind] for word in ("--extra", extra)]
    locked: Command = ["--require-hashes", "-c", LOCK, "-r", ROOT / "pyproject.toml", *extras]
    say("looking for what is missing [3 of 3]")
    # Only what would be done says how much there is to do; it also fetches what the next step needs to know.
    plan = subprocess.run(
        [*uv_install(), "--dry-run", *locked], capture_output=True, text=True, env=environment(), check=False
    )
    if count := re.search(r"Would install (\d+)", plan.stderr):
        say(f"installing {count[1]} packages ({SIZES[kind]} when none is cached)")
    run(uv_install() + locked)
    # The checkout itself has no hash; its build tools came with the others.
    run([*uv_install(), "--quiet", "--no-deps", "--no-build-isolation", "-e", ROOT])


def uv_install() -> Command:
    return [UV, "pip", "install", "-p", PYTHON]


def output(command: Command) -> str:
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(), check=False
    )
    return result.stdout


def run(command: Command) -> None:
    if subprocess.run(command, env=environment(), check=False).returncode != 0:
        sys.exit(NO_PACKAGES)


def environment() -> dict[str, str]:
    """Lets uv go where pip goes: to the index that a person chose, trusting whom this machine trusts."""
    as_pip = {}
    if index := os.environ.get("PIP_INDEX_URL"):
        as_pip["UV_DEFAULT_INDEX"] = index
    authorities = ssl.get_default_verify_paths()
    if authorities.cafile or (authorities.capath and os.listdir(authorities.capath)):
        as_pip["UV_SYSTEM_CERTS"] = "true"
    return as_pip | dict(os.environ)


if __name__ == "__main__":
    main(sys.argv[1])
