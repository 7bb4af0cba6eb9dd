"""`mneme memory`, run as an operator runs it."""

import json
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from core.settings import Settings
from tests.integration.remembering import ONE_DATABASE, Body, People, is_reflection, people_of, reader
from tests.processes import Mneme
from tests.standins.model import ModelStandIn

pytestmark = ONE_DATABASE


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    """Ana and Ben, who told things, which were read for memories."""
    model.extract = reader(
        ("I live in Porto.", "Lives in Porto."),
        ("I live in Porto, in the old town", "Lives in Porto, in the old town."),
        ("I'm allergic to peanuts", "Is allergic to peanuts."),
    )
    async with people_of(open_settings, model) as made:
        await made.say_all("I live in Porto.", "The weather is fine.")
        await made.say("I'm allergic to peanuts.", person="ben")
        await made.work()
        yield made


def reflecting(read: Callable[[Body], str]) -> Callable[[Body], str]:
    """Reads as before; finds that the first two memories say the same."""

    def answer(body: Body) -> str:
        return json.dumps({"same": [[1, 2]], "conclusions": []}) if is_reflection(body) else read(body)

    return answer


async def said(mneme: Mneme, *arguments: str) -> str:
    done = await mneme.command("memory", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_it_shows_one_persons_memory_and_nobody_elses(people: People, mneme: Mneme) -> None:
    shown = await said(mneme, "show", "ana")
    assert "Holds now:" in shown
    assert "Lives in Porto.  (fact; 0.90 from 1; private)" in shown
    assert "1 statements that no memory cites" in shown
    assert "peanuts" not in shown
    assert await said(mneme, "show", await people.id()) == shown
    found = json.loads(await said(mneme, "show", "ana", "--json"))
    (memory,) = found["memories"]
    assert memory["sources"][0]["quote"] == "I live in Porto."
    assert [each["text"] for each in found["statements"]] == ["The weather is fine."]


async def test_it_searches_and_explains_a_recall(people: People, mneme: Mneme) -> None:
    assert "Lives in Porto." in await said(mneme, "search", "ana", "home", "town")
    explained = await said(mneme, "explain", "ana", "Where do I live?")
    assert explained.startswith("Recalled:")
    assert "meaning " in explained
    assert "[said already]" in explained
    rows = json.loads(await said(mneme, "explain", "ana", "Where do I live?", "--json"))
    assert {row["reason"] for row in rows} >= {None, "said already"}
    assert all("peanuts" not in row["text"] for row in rows)


async def test_it_exports_a_file_for_its_owner_alone(people: People, mneme: Mneme, tmp_path: Path) -> None:
    out = tmp_path / "ana.json"
    assert await said(mneme, "export", "ana", "--out", str(out)) == f"Written to {out}.\n"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["format"] == "mneme-memory/1"
    assert [memory["text"] for memory in found["memories"]] == ["Lives in Porto."]
    out.chmod(0o644)
    await said(mneme, "export", "ana", "--out", str(out))
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    folder = tmp_path / "exports"
    (folder / "taken").mkdir(parents=True)
    for place in (folder / "taken", folder / "missing" / "ana.json"):
        failed = await mneme.command("memory", "export", "ana", "--out", str(place))
        assert failed.returncode != 0
        assert f"{place} can't be written" in failed.stderr
        assert "Traceback" not in failed.stderr
    assert [each.name for each in folder.iterdir()] == ["taken"], "no draft is left"


async def test_it_consolidates_and_takes_it_back(people: People, mneme: Mneme) -> None:
    people.model.extract = reflecting(people.model.extract)
    await people.say("I live in Porto, in the old town.")
    await people.work()
    merge = (
        "merge:\n- Lives in Porto.\n- Lives in Porto, in the old town.\n+ Lives in Porto, in the old town.\n"
    )
    assert await said(mneme, "consolidate", "ana", "--dry-run") == merge
    assert len(await people.texts()) == 2
    assert await said(mneme, "consolidate", "ana") == merge
    assert await people.texts() == ["Lives in Porto, in the old town."]
    assert "fact, merged; 0.99 from 2" in await said(mneme, "show", "ana")
    assert await said(mneme, "undo", "ana") == "3 changes undone.\n"
    assert len(await people.texts()) == 2
    assert await said(mneme, "undo", "ana") == "There is no consolidation to undo.\n"
    assert json.loads(await said(mneme, "consolidate", "ana", "--json")) == []
    assert await said(mneme, "consolidate", "ben") == "Nothing to do.\n"


async def test_a_name_that_nobody_has_is_one_clear_line(people: People, mneme: Mneme) -> None:
    refused = await mneme.command("memory", "show", "nobody")
    assert refused.returncode == 1
    assert refused.stderr.strip().endswith("an id such as U123 in Slack.")
    assert "Traceback" not in refused.stderr
