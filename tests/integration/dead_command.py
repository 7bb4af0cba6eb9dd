"""`mneme dead`, run as an operator runs it."""

import json
import subprocess
from typing import Any

from tests.processes import Mneme


async def said(mneme: Mneme, *arguments: str) -> str:
    """What a `mneme dead` command prints that succeeds."""
    done = await mneme.command("dead", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def refused(mneme: Mneme, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = await mneme.command("dead", *arguments)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done


async def listed(mneme: Mneme) -> list[dict[str, Any]]:
    letters: list[dict[str, Any]] = json.loads(await said(mneme, "list", "--json"))
    return letters
