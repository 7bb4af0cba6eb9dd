"""`python -m tests.chaos --seconds 60 --seed N`: tries to make Mneme lose or double something."""

import argparse
import asyncio
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.machine import run


def _say(line: str) -> None:
    print(line, flush=True)


async def _until_told_to_stop(arguments: argparse.Namespace, folder: Path) -> bool:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    outcome = await run(arguments.seconds, arguments.seed, arguments.database, folder, _say)
    if not outcome.is_well:
        _say(f"the logs are in {folder}")
    _say(outcome.line)
    return outcome.is_well


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", default="", help="the enemy, the faults and the people follow from it")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    arguments = parser.parse_args()
    arguments.seed = arguments.seed or str(secrets.randbelow(10**6))
    folder = Path(tempfile.mkdtemp(prefix="mneme-chaos-"))
    is_well = False
    try:
        is_well = asyncio.run(_until_told_to_stop(arguments, folder))
        if is_well:
            shutil.rmtree(folder)
    except (KeyboardInterrupt, asyncio.CancelledError):
        _say(f"stopped; seed {arguments.seed}, the logs are in {folder}")
    sys.exit(0 if is_well else 1)


if __name__ == "__main__":
    main()
