"""`mneme reindex`: the index made anew from the record, with another embedder or from nothing."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import chromadb
import numpy as np
import psutil
import pytest

from core.app import App, open_app
from core.errors import IndexMismatch
from core.settings import Settings
from core.storage.index import Entry, State
from core.storage.schema import messages
from tests.integration.remembering import ONE_DATABASE, People, index_entries, people_of, reader
from tests.processes import Mneme, until
from tests.servers import chroma_server
from tests.standins.model import ModelStandIn

PEANUTS = "I'm allergic to peanuts"
QUESTION = "What must I not eat, given that I'm allergic?"
ANEW = "Start Mneme anew, worker and all, to use this index."
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
        assert (made.returncode, made.stdout) == (0, "4 entries indexed, 4 of them just now.\n"), made.stderr
        assert await recalled(settings, model) == before
        again = await mneme.command("reindex")
        assert again.stdout == "4 entries indexed, 0 of them just now.\n"
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
        assert made.returncode == 0, made.stderr
        assert made.stdout.splitlines() == ["4 entries indexed, 4 of them just now.", ANEW]
        await mneme.serve()
        assert await recalled(other, model)
        mneme.work()
        await until(lambda: makes(url) == {f"openai/{model.embedding_model}"})


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
    assert (made.returncode, made.stdout) == (0, "4 entries indexed, 4 of them just now.\n"), made.stderr
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


@asynccontextmanager
async def beside(people: People, model: ModelStandIn, **given: object) -> AsyncIterator[App]:
    """The same record, opened with another embedding model."""
    async with open_app(
        people.app.settings.model_copy(update={"embedding_model": model.embedding_model, **given})
    ) as app:
        yield app


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn, private_chroma: Path) -> AsyncIterator[People]:
    """Ana and Ben, whose index is the embedder's in the box; she is in a collection alone."""
    with chroma_server(private_chroma) as url:
        settings = open_settings.model_copy(update={"chroma_url": url, "index_alone_over": 2})
        async with people_of(settings, model) as made:
            await made.say_all(f"{PEANUTS}.", "I live in Porto.", "My sister is called Rita.")
            await made.say("I play the cello.", person="ben")
            await made.app.indexer.queue_all()
            await made.app.indexer.flush()
            yield made


async def test_the_old_index_serves_and_hears_of_changes_until_the_new_one_is_taken_up(
    people: People, model: ModelStandIn
) -> None:
    async with beside(people, model) as app:
        seen: list[tuple[int, int]] = []
        done = await app.reindexing.run(lambda *each: seen.append(each))
        assert (done.entries, done.made, done.serves) == (4, 4, False)
        assert seen[-1] == (4, 4)
        await people.say("I moved to Braga.")
        await people.say("I like tea.", person="ben")
        await people.say("/forget 1", person="ben")
        await people.say("/forget everything yes")
        await people.say("I drink coffee.")
        await people.app.indexer.flush()
        assert "I drink coffee." in await people.recalled("What do I drink?")
        assert await app.indexer.check() is State.FILLED
        await app.reindexing.take_up()
        await app.indexer.flush()
        assert await app.indexer.check() is State.SERVING
        assert makes(app.settings.chroma_url) == {f"openai/{model.embedding_model}"}
        assert index_entries(app).keys() == await record(people)
        found = await app.recaller.find(await people.id(), "What do I drink? Coffee?", "private", known=())
        assert [each.text for each in found.memories] == ["I drink coffee."]
    with pytest.raises(IndexMismatch, match="mneme reindex"):
        await people.app.indexer.check()


async def test_what_is_forgotten_stays_in_no_index(people: People, model: ModelStandIn) -> None:
    """Whoever fills another one may never come back to it."""
    async with beside(people, model) as app:
        await app.reindexing.run(lambda seen, total: None)
    await people.say("/forget everything yes")
    await people.app.indexer.flush()
    assert index_entries(people.app).keys() == await record(people)
    assert len(await record(people)) == 1, "Ben's"


async def test_where_it_was_broken_off_it_goes_on(people: People, model: ModelStandIn) -> None:
    async with beside(people, model) as app:

        def give_up(seen: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await app.reindexing.run(give_up)
        with pytest.raises(IndexMismatch, match="goes on where it was"):
            await app.indexer.check()
        begun = {text for texts in model.embedded for text in texts}
        done = await app.reindexing.run(lambda seen, total: None)
        assert await app.indexer.check() is State.FILLED
    assert (done.entries, done.made) == (4, 1)
    assert f"{PEANUTS}." in begun
    assert "I play the cello." not in begun


async def test_what_the_index_has_wrongly_is_mended_in_place(people: People) -> None:
    index, indexer = people.app.index, people.app.indexer
    user, ben = await people.id(), await people.id("ben")
    first, second, third = sorted(await index.digests(indexer.pseudonym(user), alone=True))
    (his,) = await index.digests(indexer.pseudonym(ben))
    vector = np.ones((await index.stamp()).dimensions, np.float32)
    await index.put(indexer.pseudonym(user), [Entry(first, vector, "private", "of another text")], alone=True)
    await index.remove(indexer.pseudonym(user), [second], alone=True)
    await index.put(indexer.pseudonym(user), [Entry("stray", vector, "private")], alone=True)
    await index.put(indexer.pseudonym(user), [Entry(third, vector, "private")])  # a move was broken off
    done = await people.app.reindexing.run(lambda seen, total: None)
    assert (done.entries, done.made, done.serves) == (4, 3, True)
    assert index_entries(people.app).keys() == {first, second, third, his}
    assert await index.digests(indexer.pseudonym(user)) == {}
    assert await people.recalled("Where do I live?")


def makes(url: str | None) -> set[str]:
    """The embedding models whose indexes stand there."""
    host, port = (url or "").removeprefix("http://").split(":")
    marks = (each.metadata or {} for each in chromadb.HttpClient(host, int(port)).list_collections())
    return {mark["embedding_model"] for mark in marks if "embedding_model" in mark}


async def record(people: People) -> set[str]:
    """The entries that an index ought to hold."""
    return {f"m{row.id}" for row in await people.house.rows(messages) if row.remembered}
