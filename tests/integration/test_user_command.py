"""`mneme user`, run as an operator runs it."""

import json
import stat
from pathlib import Path

import pytest

from core.settings import Settings
from tests.integration.remembering import ONE_DATABASE, people_of, reader
from tests.processes import Mneme
from tests.standins.model import ModelStandIn

pytestmark = ONE_DATABASE


@pytest.fixture
async def ids(open_settings: Settings, model: ModelStandIn) -> dict[str, str]:
    """Ana and Ben, who told things; by name."""
    model.extract = reader(("I live in Porto.", "Lives in Porto."))
    async with people_of(open_settings, model) as people:
        await people.say("I live in Porto.")
        await people.say("I like tea.", person="ben")
        await people.work()
        return {name: await people.id(name) for name in ("ana", "ben")}


async def test_an_operator_lists_shows_erases_and_proves(ids: dict[str, str], mneme: Mneme) -> None:
    listed = (await mneme.command("user", "list")).stdout
    assert ids["ana"] in listed
    assert "1 messages" in listed
    assert "Porto" not in listed
    shown = json.loads((await mneme.command("user", "show", "ana", "--json")).stdout)
    assert (shown["messages"], shown["memories"]) == (1, 1)
    assert [each["name"] for each in shown["accounts"]] == ["Ana"]
    erased = json.loads((await mneme.command("user", "erase", "ana", "--yes", "--json")).stdout)
    assert erased["counts"]["memories"] == 1
    told = await mneme.command("user", "receipt", erased["id"].lower())
    assert told.returncode == 0
    assert "Left of them now: rows none; vectors none." in told.stdout
    again = await mneme.command("user", "erase", "ana", "--yes")
    assert again.returncode == 1
    assert "Nobody goes by that name" in again.stderr


async def test_an_operator_exports_and_imports(ids: dict[str, str], mneme: Mneme, tmp_path: Path) -> None:
    archive = tmp_path / "ana.zip"
    assert (await mneme.command("user", "export", "ana", "--out", str(archive))).returncode == 0
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    came = json.loads((await mneme.command("user", "import", "ben", str(archive), "--json")).stdout)
    assert came == {"messages": 2, "memories": 1}
    assert "Lives in Porto." in (await mneme.command("memory", "show", "ben")).stdout
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    refused = await mneme.command("user", "import", "ben", str(tmp_path / "photo.png"))
    assert refused.returncode == 1
    assert "no archive that I can read" in refused.stderr
