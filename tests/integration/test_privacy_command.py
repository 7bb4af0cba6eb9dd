"""`mneme privacy report`, run as an operator runs it: with no store there, and none needed."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import make_settings
from tests.processes import Mneme, a_mneme


@pytest.fixture
async def mneme(tmp_path: Path) -> AsyncIterator[Mneme]:
    """One that never ran."""
    settings = make_settings(mneme_data_dir=tmp_path / "data", openai_api_key="sk-hush")
    async with a_mneme(settings, tmp_path) as made:
        yield made


async def test_it_is_written_and_what_was_filled_in_isn_t_overwritten(mneme: Mneme, tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    done = await mneme.command("privacy", "report", "--out", str(folder))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.md"]
    assert "api.openai.com" in (folder / "report.html").read_text()

    (folder / "report.md").write_text("Controller: Ana")
    refused = await mneme.command("privacy", "report", "--out", str(folder))
    assert refused.returncode == os.EX_CONFIG
    assert "choose another --out, or add --replace" in refused.stderr
    assert (folder / "report.md").read_text() == "Controller: Ana"
    assert (await mneme.command("privacy", "report", "--out", str(folder), "--replace")).returncode == 0
    assert "Controller: Ana" not in (folder / "report.md").read_text()
    assert not (tmp_path / "data").exists()


async def test_it_is_printed_for_people_and_for_programs(mneme: Mneme) -> None:
    printed = await mneme.command("privacy", "report")
    assert printed.stdout.startswith("# Privacy report of this Mneme\n")
    told = json.loads((await mneme.command("privacy", "report", "--json")).stdout)
    assert told["format"] == "mneme-privacy/1"
    served = {command for right in told["rights"] for command in right["commands"]}
    assert {"/memory edit", "/erase", "mneme user export"} <= served
