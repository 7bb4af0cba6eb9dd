"""Vectors at hand: they find what the index would, of what stands in the record now."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from core.llm.local_embedder import LocalEmbedder
from core.memory.at_hand import AtHand
from core.memory.lexicon import Lexicon
from core.memory.recall import Recalled
from core.settings import Settings
from core.storage.index import Entry, IndexStamp, MemoryIndex, Neighbour
from core.storage.schema import memories, messages
from tests.integration.conftest import a_house
from tests.integration.remembering import ONE_DATABASE, People, an_indexer, people_of, reader
from tests.processes import until
from tests.servers import chroma_server, empty_chroma
from tests.standins.model import ModelStandIn

DIMENSIONS = 12
HELD_BYTES = 2**20
TEA, PORTO = "I like green tea.", "I live in Porto."


@pytest.fixture(scope="module")
def own_chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_server(tmp_path_factory.mktemp("chroma")) as url:
        yield url


@pytest.fixture
async def index(own_chroma: str) -> MemoryIndex:
    async def stamp() -> IndexStamp:
        return IndexStamp("a-model", DIMENSIONS, 2)

    made = MemoryIndex(own_chroma, stamp)
    await empty_chroma(own_chroma)
    await made.check()
    return made


class Counting(AtHand):
    """Tells how often it had to fetch vectors; some entries wait to be put into the index."""

    waiting: tuple[str, ...] = ()
    fetched = 0

    async def ask(
        self,
        user: str,
        query: np.ndarray,
        lexicon: Lexicon,
        *,
        audience: str | None = None,
        limit: int = 5,
    ) -> list[Neighbour]:
        found = self.near(user, query, lexicon, audience=audience, limit=limit)
        if found is None:
            self.fetched += 1
            await self.fetch(user, lexicon, self.waiting, dimensions=len(query), alone=False)
            found = self.near(user, query, lexicon, audience=audience, limit=limit)
        assert found is not None
        return found


def vectors(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, DIMENSIONS)).astype(np.float32)


async def told(index: MemoryIndex, user: str, count: int) -> tuple[Lexicon, np.ndarray]:
    """A lexicon of so many entries, every third of a group, all of them in the index."""
    lexicon, made = Lexicon(), vectors(count)
    audiences = ["group" if n % 3 == 0 else "private" for n in range(count)]
    for n, audience in enumerate(audiences):
        lexicon.add(f"m{n}{user}", f"word{n}", audience)
    entries = [Entry(f"m{n}{user}", made[n], audience) for n, audience in enumerate(audiences)]
    await index.put(user, entries)
    return lexicon, made


@pytest.mark.parametrize("audience", [None, "private", "group", "nobody"])
async def test_it_finds_what_the_index_finds(index: MemoryIndex, audience: str | None) -> None:
    lexicon, _ = await told(index, "ana", 60)
    at_hand = Counting(index, kept_bytes=HELD_BYTES)
    for query in vectors(4, seed=2):
        wanted = await index.near("ana", query, limit=7, audience=audience)
        found = await at_hand.ask("ana", query, lexicon, audience=audience, limit=7)
        length = float(np.linalg.norm(query))
        assert [each.id for each in found] == [each.id for each in wanted]
        assert [each.similarity for each in found] == pytest.approx(
            [each.similarity * length for each in wanted], abs=3e-2
        )
    assert at_hand.fetched == 1


async def test_anothers_vectors_are_not_fetched_whatever_the_ids_are(index: MemoryIndex) -> None:
    lexicon, made = await told(index, "ana", 5)
    assert await Counting(index, kept_bytes=HELD_BYTES).ask("ben", made[0], lexicon) == []


async def test_what_waits_for_the_index_is_not_taken_from_it(index: MemoryIndex) -> None:
    """What stands there is of the text before."""
    lexicon, made = await told(index, "ana", 5)
    at_hand = Counting(index, kept_bytes=HELD_BYTES)
    at_hand.waiting = ("m2ana",)
    assert "m2ana" not in [each.id for each in await at_hand.ask("ana", made[2], lexicon)]
    at_hand.waiting = ()

    async def is_there() -> bool:
        return (await at_hand.ask("ana", made[2], lexicon))[0].id == "m2ana"

    await until(is_there)
    assert at_hand.fetched == 2


async def test_what_was_just_put_need_not_be_fetched_and_replaces_what_was_there(index: MemoryIndex) -> None:
    lexicon, made = await told(index, "ana", 5)
    at_hand = Counting(index, kept_bytes=HELD_BYTES)
    await at_hand.ask("ana", made[0], lexicon)
    lexicon.add("m5ana", "word5", "private")
    at_hand.put("ana", [Entry("m5ana", made[0], "private"), Entry("m0ana", -made[0], "private")])
    at_hand.put("ben", [Entry("m5ana", made[0], "private")])
    found = await at_hand.ask("ana", made[0], lexicon, limit=9)
    assert (found[0].id, found[-1].id) == ("m5ana", "m0ana")
    assert at_hand.fetched == 1


async def test_another_lexicon_begins_afresh(index: MemoryIndex) -> None:
    lexicon, made = await told(index, "ana", 5)
    at_hand = Counting(index, kept_bytes=HELD_BYTES)
    await at_hand.ask("ana", made[0], lexicon)
    at_hand.put("ana", [Entry("m1ana", made[0], "private")])
    left = Lexicon()
    left.add("m1ana", "word1", "private")
    (only,) = await at_hand.ask("ana", made[1], left)
    assert only.id == "m1ana"
    assert only.similarity == pytest.approx(float(np.linalg.norm(made[1])), abs=3e-2)


async def test_who_was_silent_for_long_is_let_go(index: MemoryIndex) -> None:
    people = {user: await told(index, user, 40) for user in ("ana", "ben", "eva")}
    at_hand = Counting(index, kept_bytes=2 * 50 * DIMENSIONS)
    for user in ("ana", "ben", "eva", "eva", "ben"):
        lexicon, made = people[user]
        assert (await at_hand.ask(user, made[3], lexicon))[0].id == f"m3{user}"
    assert at_hand.fetched == 3
    await at_hand.ask("ana", people["ana"][1][3], people["ana"][0])
    assert at_hand.fetched == 4


# --- In a recall --------------------------------------------------------------------------------------


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    model.extract = reader((PORTO, "Lives in Porto."))
    async with people_of(open_settings, model) as made:
        yield made


async def similarity(people: People, question: str, text: str) -> float | None:
    """What the index, or the vectors at hand, say of the text."""
    found = await people.recall(question)
    every: list[Recalled] = [*found.memories, *(left.recalled for left in found.left_out)]
    return next(each.signals["similarity"] for each in every if each.text == text)


@ONE_DATABASE
async def test_what_another_process_put_is_found(people: People, open_settings: Settings) -> None:
    await people.say(TEA)
    assert await people.recalled("What do I drink?") == [TEA]
    async with a_house(open_settings) as worker:
        await people.say(PORTO)
        for job_id in await worker.app.jobs.due():
            await worker.app.job_runner.run(job_id)
    assert (await similarity(people, "Lives in Porto.", "Lives in Porto.") or 0) > 0.6


@ONE_DATABASE
async def test_what_another_process_took_back_is_not_found(people: People, open_settings: Settings) -> None:
    """Not even before the index has heard of it."""
    await people.say(TEA)
    assert await people.recalled(TEA) == [TEA]
    user_id = await people.id()
    (tea,) = await people.app.recaller.ranked(user_id, TEA, "private", limit=1)
    async with a_house(open_settings) as other:
        await other.app.forgetting.message(user_id, tea.id)
    assert await people.recalled(TEA) == []


@ONE_DATABASE
async def test_while_chroma_is_away_who_just_talked_is_remembered(
    open_settings: Settings, model: ModelStandIn, tmp_path: Path
) -> None:
    with ExitStack() as chroma:
        settings = open_settings.model_copy(
            update={"chroma_url": chroma.enter_context(chroma_server(tmp_path))}
        )
        async with people_of(settings, model) as people:
            await people.say(TEA)
            assert await people.recalled("What do I drink?") == [TEA]
            async with a_house(settings) as just_started:
                await asyncio.to_thread(chroma.close)
                assert await people.recalled("What do I drink?") == [TEA]
                found = await just_started.app.recaller.find(
                    await people.id(), "What do I drink?", "private", known=()
                )
                assert found.resting


# --- Who has much -------------------------------------------------------------------------------------


@pytest.fixture
async def many(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    """Who has more than three entries is alone."""
    model.extract = reader((PORTO, "Lives in Porto."))
    async with people_of(open_settings.model_copy(update={"index_alone_over": 3}), model) as made:
        yield made


async def alone(people: People, person: str = "ana") -> set[str]:
    """What stands in the person's collection alone."""
    return set(await people.app.index.ids_alone(people.app.indexer.pseudonym(await people.id(person))))


async def shared(people: People, person: str = "ana") -> set[str]:
    """What of the person's stands in the collection that others share."""
    user_id = await people.id(person)
    found = await people.app.index.near(
        people.app.indexer.pseudonym(user_id), await direction(people), limit=99
    )
    return {each.id for each in found}


async def direction(people: People) -> np.ndarray:
    stamp = await people.app.index.stamp()
    return np.ones(stamp.dimensions, np.float32)


async def entries(people: People) -> set[str]:
    """What ought to stand in the index of Ana."""
    user_id = await people.id()
    said = [row for row in await people.house.rows(messages) if row.remembered and row.user_id == user_id]
    claimed = [row for row in await people.house.rows(memories) if row.user_id == user_id]
    return {f"m{row.id}" for row in said} | {f"c{row.id}" for row in claimed}


async def test_who_has_much_is_moved_to_a_collection_alone_and_found_there(many: People) -> None:
    await many.say_all(TEA, PORTO, "My cat is called Miso.")
    await many.app.indexer.flush()
    assert await alone(many) == set()
    await many.say("I play the cello.")
    await many.say("I'm Ben.", person="ben")
    await many.app.indexer.queue_all()
    await many.app.indexer.flush()
    assert await alone(many) == await entries(many)
    assert await shared(many) == set()
    assert len(await shared(many, "ben")) == 1
    assert (await many.recalled("Which instrument do I play?"))[0] == "I play the cello."
    await many.say("My sister is called Lea.")
    await many.work()
    await many.app.indexer.flush()
    assert await alone(many) == await entries(many)
    assert "My sister is called Lea." in await many.recalled("What is my sister's name?")
    assert "My sister is called Lea." not in str(await many.recall("What is my sister's name?", "ben"))
    await many.say("/forget 1")
    await many.say("/forget 1")
    assert len(await entries(many)) <= 3
    assert "I play the cello." in await many.recalled("Which instrument do I play?"), "few, and still alone"
    await many.say("/forget everything yes")
    assert await alone(many) == await shared(many) == set()


async def test_what_is_forgotten_while_it_is_moved_is_in_neither_place(many: People) -> None:
    """Another process takes something back between the copy and the change of place."""
    await many.say_all(TEA, PORTO, "My cat is called Miso.", "I play the cello.")
    user_id = await many.id()
    tea = (await many.app.recaller.ranked(user_id, TEA, "private", limit=1))[0].id
    app = many.app

    class Interrupted(MemoryIndex):
        was = False

        async def put(self, user: str, entries: Sequence[Entry], *, alone: bool = False) -> None:
            await super().put(user, entries, alone=alone)
            if alone and not self.was:
                self.was = True
                await app.forgetting.message(user_id, tea)

    index = Interrupted(app.settings.chroma_url or "", app.index.stamp)
    embedder = LocalEmbedder()
    moving = an_indexer(app, alone_over=3, index=index, embedder=embedder)
    await app.indexer.queue_all()
    await moving.flush()
    await embedder.aclose()
    assert index.was
    await app.indexer.flush()
    assert f"m{tea}" not in await alone(many) | await shared(many)
    assert f"m{tea}" not in await entries(many)
