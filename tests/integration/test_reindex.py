"""`mneme reindex`: the index made anew from the record, with another embedder or from nothing."""

import asyncio
import shutil
from pathlib import Path

import psutil
import pytest

from core.settings import Settings
from tests.integration.remembering import ONE_DATABASE, index_entries, people_of, reader
from tests.processes import Mneme
from tests.servers import chroma_server
from tests.standins.model import ModelStandIn

PEANUTS = "I'm allergic to peanuts"
QUESTION = "What must I not eat, given that I'm allergic?"
pytestmark = ONE_DATABASE


@pytest.fixture
def private_chroma(tmp_path: Path) -> Path:
    """The folder of a Chroma of the test's own."""
    folder = tmp_path / "private"
    folder.mkdir()
    return folder


async def remember(settings: Settings, model: ModelStandIn) -> list[tuple[str, float]]:
    """Ana says three things, of which one becomes a claim; what is recalled of them for the question."""
    model.extract = reader((PEANUTS, "Is allergic to peanuts."))
    async with people_of(settings, model) as people:
        await people.say_all(f"{PEANUTS}.", "I live in Porto.", "My sister is called Rita.")
        await people.work()
        await people.app.indexer.flush()
    return await recalled(settings, model)


async def recalled(settings: Settings, model: ModelStandIn) -> list[tuple[str, float]]:
    async with people_of(settings, model) as people:
        found = await people.recall(QUESTION)
        assert not found.resting
        return [(memory.id, round(memory.score, 3)) for memory in found.memories]


async def test_a_deleted_index_recalls_the_same_again(
    open_settings: Settings, mneme: Mneme, model: ModelStandIn, private_chroma: Path
) -> None:
    with chroma_server(private_chroma) as url:
        port = int(url.rsplit(":", 1)[1])
        settings = mneme.settings = open_settings.model_copy(update={"chroma_url": url})
        before = await remember(settings, model)
        assert before
    await asyncio.to_thread(shutil.rmtree, private_chroma / "chroma")
    with chroma_server(private_chroma, port):
        made = await mneme.command("reindex")
        assert (made.returncode, made.stdout) == (0, "4 entries indexed.\n"), made.stderr
        assert await recalled(settings, model) == before
        again = await mneme.command("reindex")
        assert again.stdout == "4 entries indexed.\n"
        assert await recalled(settings, model) == before


async def test_another_embedder_is_refused_until_the_index_is_made_anew(
    open_settings: Settings, mneme: Mneme, model: ModelStandIn, private_chroma: Path
) -> None:
    with chroma_server(private_chroma) as url:
        settings = open_settings.model_copy(update={"chroma_url": url})
        await remember(settings, model)
        other = mneme.settings = settings.model_copy(update={"embedding_model": model.embedding_model})
        refused = await mneme.command("serve")
        assert refused.returncode == 78, mneme.log()
        assert "mneme reindex" in refused.stderr
        made = await mneme.command("reindex")
        assert (made.returncode, made.stdout) == (0, "4 entries indexed.\n"), made.stderr
        await mneme.serve()
        assert await recalled(other, model)
        async with people_of(other, model) as people:
            assert len(index_entries(people.app)) == 4


async def test_beside_a_service_at_work(mneme: Mneme, model: ModelStandIn) -> None:
    await mneme.serve()
    await mneme.ask("ana", f"{PEANUTS}.")
    made = await mneme.command("reindex")
    assert made.returncode == 0, made.stderr
    answer = await mneme.ask("ana", "Am I allergic to peanuts?", "--new")
    assert [memory["text"] for memory in answer["memories"]] == [f"{PEANUTS}."]


async def test_on_a_machine_where_nothing_runs_it_starts_what_it_needs(
    open_settings: Settings, mneme: Mneme, model: ModelStandIn, private_chroma: Path
) -> None:
    """As after `EMBEDDING_MODEL` was changed in `.env`: the stores are started, and ended again."""
    with chroma_server(private_chroma) as url:
        await remember(open_settings.model_copy(update={"chroma_url": url}), model)
    mneme.settings = open_settings.model_copy(update={"chroma_url": None, "redis_url": None})
    made = await mneme.command("reindex")
    assert (made.returncode, made.stdout) == (0, "4 entries indexed.\n"), made.stderr
    folder = str(open_settings.mneme_data_dir)
    left = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in left if folder in " ".join(command or ())]


async def test_an_index_out_of_reach_is_said_with_its_cure(
    open_settings: Settings, mneme: Mneme, private_chroma: Path
) -> None:
    with chroma_server(private_chroma) as url:
        mneme.settings = open_settings.model_copy(update={"chroma_url": url})
    failed = await mneme.command("reindex")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("mneme: ")
    assert "Traceback" not in failed.stderr
