"""`mneme user`, run as an operator runs it."""

import json

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
    listed = await mneme.command("user", "list")
    assert ids["ana"] in listed.stdout
    assert "1 messages" in listed.stdout
    assert "Porto" not in listed.stdout
    shown = json.loads((await mneme.command("user", "show", "ana", "--json")).stdout)
    assert (shown["messages"], shown["memories"]) == (1, 1)
    assert [each["name"] for each in shown["accounts"]] == ["Ana"]

    erased = json.loads((await mneme.command("user", "erase", "ana", "--yes", "--json")).stdout)
    assert erased["counts"]["memories"] == 1
    proof = await mneme.command("user", "receipt", erased["id"], "--json")
    assert proof.returncode == 0
    assert json.loads(proof.stdout)["remains"] == {"rows": {}, "vectors": 0}
    told = await mneme.command("user", "receipt", erased["id"].lower())
    assert "Left of them now: rows none; vectors none." in told.stdout

    again = await mneme.command("user", "erase", "ana", "--yes")
    assert again.returncode == 1
    assert "Nobody goes by that name" in again.stderr
    unknown = await mneme.command("user", "receipt", "MN-0000")
    assert unknown.returncode == 1
    assert "No erasure here has that number" in unknown.stderr
    assert [each["id"] for each in json.loads((await mneme.command("user", "list", "--json")).stdout)] == [
        ids["ben"]
    ]
