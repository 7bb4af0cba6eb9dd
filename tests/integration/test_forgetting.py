"""Forgetting: gone from the record, the index, the prompts, the lists and every copy."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from core.delivery.inbox import InboxState
from core.delivery.screen import SHOWN
from core.llm.embedder import Vectors
from core.llm.local_embedder import LocalEmbedder
from core.memory.forgetting import FORGOTTEN
from core.memory.jobs import JobState
from core.privacy.vault import Vault
from core.settings import Settings
from core.storage.schema import conversations, deliveries, inbox, memories, messages, sources, turns
from tests.integration.conftest import House, a_house
from tests.integration.remembering import ONE_DATABASE, People, an_indexer, index_entries, people_of, reader
from tests.standins.model import ModelStandIn

SECRET = "peanuts"
PEANUTS = ("I'm allergic to peanuts", "Is allergic to peanuts.")
ANA = ("I'm Ana and I'm allergic to peanuts", "Ana is allergic to peanuts.")
PORTO = ("I live in Porto", "Lives in Porto.")


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    model.extract = reader(PEANUTS, PORTO, ANA)
    async with people_of(open_settings, model) as made:
        yield made


async def opened(house: House) -> str:
    """Every sealed value of the record that opens with a key that is there."""
    vault = Vault(house.app.master)
    found = []
    owners = {
        messages.c.text_sealed: ("user_id", "messages.text"),
        memories.c.text_sealed: ("user_id", "memories.text"),
        turns.c.reply_sealed: ("user_id", "turns.reply"),
        turns.c.account_sealed: ("user_id", "turns.account"),
        inbox.c.payload_sealed: ("user_id", "inbox.payload"),
        conversations.c.summary_sealed: ("owner", "conversations.summary"),
    }
    async with house.app.database.read() as connection:
        for column, (owner, context) in owners.items():
            for row in await house.rows(column.table):
                sealed = getattr(row, column.name)
                if sealed is not None:
                    box = await vault.box(connection, getattr(row, owner))
                    found.append(box.open(sealed, context))
        for row in await house.rows(deliveries):
            (turn,) = await house.rows(turns, turns.c.id == row.turn_id)
            if row.shown_sealed is not None:
                found.append((await vault.box(connection, turn.user_id)).open(row.shown_sealed, SHOWN))
    return "\n".join(found)


async def entry_ids(people: People, person: str = "ana") -> set[str]:
    """The ids of the person's rows, as the index would call them, that stand in Chroma."""
    user_id = await people.id(person)
    rows = await people.house.rows(messages, messages.c.user_id == user_id)
    held = await people.house.rows(memories, memories.c.user_id == user_id)
    return {*(f"m{row.id}" for row in rows), *(f"c{row.id}" for row in held)}


async def test_a_forgotten_memory_is_gone_from_everywhere(people: People) -> None:
    await people.say("I live in Porto. I'm allergic to peanuts.")
    await people.work()
    await people.say("What must I not eat?", conversation="elsewhere")
    assert "peanuts" in people.prompts()[-1][-1]["content"]
    before = await entry_ids(people)
    (memory,) = [m for m in await people.memories() if SECRET in m.text]
    assert SECRET in await opened(people.house)

    assert await people.app.forgetting.memory(await people.id(), memory.id)
    await people.app.indexer.flush()

    assert await people.texts() == ["Lives in Porto."]
    assert SECRET not in await opened(people.house)
    entries = index_entries(people.app)
    assert f"c{memory.id}" in before
    assert f"c{memory.id}" not in entries

    assert SECRET not in str(await people.recalled("allergic to peanuts"))
    for conversation in ("ana", "elsewhere"):
        await people.say("And what do you know now?", conversation=conversation)
        assert SECRET not in str(people.prompts()[-1])
    assert SECRET not in await people.say("/memory")
    assert not await people.app.forgetting.memory(await people.id(), memory.id)


async def test_memories_of_the_same_words_go_together_and_others_stay(people: People) -> None:
    await people.say("I'm Ana and I'm allergic to peanuts. I live in Porto.")
    await people.work()
    assert len(await people.memories()) == 3
    (memory,) = [m for m in await people.memories() if m.text == "Is allergic to peanuts."]
    await people.app.forgetting.memory(await people.id(), memory.id)
    (left,) = await people.memories()
    assert left.text == "Lives in Porto."
    (said,) = await people.house.rows(messages)
    async with people.app.database.read() as connection:
        lines = await people.app.transcript.of_user(connection, said.user_id, [said.id])
    assert lines[said.id].text == f"I'm Ana and {FORGOTTEN} I live in Porto."
    source = left.sources[0]
    assert lines[said.id].text[source.start :].startswith("I live in Porto")


@ONE_DATABASE
async def test_words_that_stand_twice_are_struck_out_whole(people: People) -> None:
    await people.say("I'm allergic to peanuts, yes, I'm allergic to peanuts. Peanuts are bad.")
    await people.work()
    (memory,) = await people.memories()
    await people.app.forgetting.memory(await people.id(), memory.id)
    assert "allergic" not in await opened(people.house)


@ONE_DATABASE
async def test_a_memory_said_in_two_messages_is_struck_out_of_both(people: People) -> None:
    await people.say("I'm allergic to peanuts.")
    await people.say("Again: I'm allergic to peanuts!", conversation="elsewhere")
    await people.work()
    (memory,) = await people.memories()
    assert len(memory.sources) == 2
    await people.app.forgetting.memory(await people.id(), memory.id)
    assert SECRET not in await opened(people.house)
    assert await people.house.rows(sources) == []


async def test_a_forgotten_message_takes_along_what_rests_on_it_alone(people: People) -> None:
    await people.say("I live in Porto. I'm allergic to peanuts.")
    await people.say("You know, I live in Porto.")
    await people.work()
    first = next(row for row in await people.house.rows(messages) if row.role == "user")
    assert await people.app.forgetting.message(await people.id(), first.id)
    await people.app.indexer.flush()
    (left,) = await people.memories()
    assert (left.text, len(left.sources)) == ("Lives in Porto.", 1)
    assert SECRET not in await opened(people.house)
    assert f"m{first.id}" not in index_entries(people.app)


async def test_everything_is_everything_of_one_person_alone(people: People) -> None:
    await people.say("I'm allergic to peanuts.", person="ben")
    await people.say("I'm allergic to peanuts.")
    await people.say_in_group("I live in Porto.")
    await people.work()
    ids = await entry_ids(people)
    assert ids & index_entries(people.app).keys()
    reply = await people.say("/forget everything")
    assert "/forget everything yes" in reply
    assert len(await people.memories()) == 2
    assert "2 memories" in await people.say("/forget everything yes")
    assert await people.memories() == []
    user_id = await people.id()
    assert await people.house.rows(messages, messages.c.user_id == user_id) == []
    assert not ids & index_entries(people.app).keys()
    assert await people.texts("ben") == ["Is allergic to peanuts."]
    assert await people.recalled("peanuts", "ben")
    await people.say("What do you know?")
    assert SECRET not in str(people.prompts()[-1])
    await people.say("I live in Porto.")
    await people.work()
    assert await people.texts() == ["Lives in Porto."]


async def test_everything_includes_what_could_not_be_answered(people: People) -> None:
    await people.say("I live in Porto.")
    people.model.fail_next("too_long")
    await people.say("I'm allergic to peanuts.")
    assert [row.state for row in await people.house.rows(inbox)] == [InboxState.DONE, InboxState.DEAD]
    assert SECRET in await opened(people.house)
    await people.app.forgetting.everything(await people.id())
    assert SECRET not in await opened(people.house)


async def test_in_a_group_no_answer_to_others_repeats_it_either(people: People) -> None:
    await people.say_in_group("I'm allergic to peanuts.")
    await people.say_in_group("What did ana say? Something with peanuts?", person="ben")
    (said,) = [row for row in await people.house.rows(messages) if row.remembered]
    await people.app.forgetting.message(await people.id(), said.id)
    await people.say_in_group("And now?", person="ben")
    assert SECRET not in str(people.prompts()[-1])


async def test_another_persons_rows_cannot_be_forgotten(people: People) -> None:
    await people.say("I'm allergic to peanuts.")
    await people.say("Hello there.", person="ben")
    await people.work()
    (memory,) = await people.memories()
    ben = await people.id("ben")
    assert not await people.app.forgetting.memory(ben, memory.id)
    assert not await people.app.forgetting.message(ben, memory.sources[0].message_id)
    assert await people.app.forgetting.everything(ben) == 0
    assert await people.texts() == ["Is allergic to peanuts."]


async def test_an_edit_takes_away_what_it_no_longer_says(people: People) -> None:
    await people.say("I live in Porto. I'm allergic to peanuts.", event="first")
    await people.work()
    shown = len(people.house.paper.sheets)
    await people.say("Well: I LIVE in Porto!", event="second", replaces="first")
    await people.work()
    (left,) = await people.memories()
    assert (left.text, left.sources[0].quote) == ("Lives in Porto.", "I LIVE in Porto!")
    await people.app.indexer.flush()
    assert SECRET not in str(await people.recalled("allergic to peanuts"))
    assert len(people.house.paper.sheets) == shown


async def test_an_edit_to_nothing_said_leaves_nothing(people: People) -> None:
    await people.say("I'm allergic to peanuts.", event="first")
    await people.work()
    (said,) = [row for row in await people.house.rows(messages) if row.remembered]
    await people.say("Never mind?", event="second", replaces="first")
    assert await people.memories() == []
    assert f"m{said.id}" not in index_entries(people.app)


class Held(LocalEmbedder):
    """The embedder in the box, which takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = asyncio.Event()
        self.go_on = asyncio.Event()

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        self.embedding.set()
        await self.go_on.wait()
        return await super().embed_passages(texts)


async def test_what_is_forgotten_while_it_is_embedded_stays_out_of_the_index(people: People) -> None:
    """One process embeds it; meanwhile another one forgets it, and tells the index so first."""
    app, held = people.app, Held()
    slow = an_indexer(app, alone_over=app.settings.index_alone_over, embedder=held)
    await people.say("I'm allergic to peanuts.")
    (said,) = [row for row in await people.house.rows(messages) if row.remembered]
    await app.indexer.queue_all()
    telling = asyncio.create_task(slow.flush(said.user_id))
    await held.embedding.wait()
    await app.forgetting.message(said.user_id, said.id)
    await app.indexer.flush(said.user_id)
    assert f"m{said.id}" not in index_entries(app)
    held.go_on.set()
    await telling
    await held.aclose()
    assert await app.indexer.behind() == 0
    assert f"m{said.id}" not in index_entries(app)


async def test_forgetting_while_a_reply_is_made_and_jobs_run_ends_with_nothing(
    people: People, open_settings: Settings
) -> None:
    """On PostgreSQL they run side by side: neither may wait for the other for ever, nor bring it back."""
    await people.say("I'm allergic to peanuts.")
    user_id = await people.id()

    async def talk(number: int) -> None:
        await people.house.accept("I'm allergic to peanuts.", conversation=f"talk-{number % 3}")
        for job_id in await people.app.jobs.due():
            await people.app.job_runner.run(job_id)

    async with a_house(open_settings) as other:
        for number in range(6):
            await asyncio.gather(talk(number), talk(number + 1), other.app.forgetting.everything(user_id))
        await people.house.settled()
        await people.work()
        await other.app.forgetting.everything(user_id)
    await people.app.indexer.flush()
    assert await people.memories() == []
    assert SECRET not in await opened(people.house)
    assert JobState.RUNNING not in await people.job_states()
    assert {row.state for row in await people.house.rows(inbox)} == {InboxState.DONE}


async def test_words_whose_key_is_destroyed_leave_the_index_and_hold_up_nobody(people: People) -> None:
    await people.say_in_group("I'm allergic to peanuts.")
    await people.say_in_group("I live in Porto.", person="ben")
    said = [row for row in await people.house.rows(messages) if row.remembered]
    async with people.app.database.write() as connection:
        await Vault(people.app.master).destroy(connection, said[0].user_id)
    await people.app.indexer.queue_all()
    await people.app.indexer.flush()
    assert await people.app.indexer.behind() == 0
    entries = index_entries(people.app)
    assert [f"m{row.id}" in entries for row in said] == [False, True]
