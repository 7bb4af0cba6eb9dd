"""Memories are tidied up while their person rests; nothing is lost by it, and all of it can be undone."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from core.errors import LeaseLost
from core.memory.claims import Derivation, Memory
from core.memory.consolidation import Deed, Step
from core.memory.jobs import JobKind, JobState
from core.settings import Settings
from core.storage.database import database_seconds
from core.storage.schema import consolidations, jobs, memories
from tests.integration.remembering import (
    ONE_DATABASE,
    Body,
    People,
    index_entries,
    is_reflection,
    people_of,
    reader,
)
from tests.standins.model import ModelStandIn

RUNNING, RUNNING_A_LOT = "I like running.", "I like running a lot."
MONDAY, FRIDAY = "On Monday I went swimming before work.", "I went swimming before lunch again."
CLAIMS = (
    (RUNNING, "Likes running."),
    (RUNNING_A_LOT, "Likes running a lot."),
    (MONDAY, "Went swimming before work on Monday."),
    (FRIDAY, "Went swimming before lunch again."),
    ("I live in Porto.", "Lives in Porto."),
)
HABIT = "Goes swimming before work."
SAME = ("Likes running.", "Likes running a lot.")
GROUNDS = ("Went swimming before work on Monday.", "Went swimming before lunch again.")


def reads_and_reflects(body: Body) -> str:
    """Reads CLAIMS out of messages; finds SAME among memories, and HABIT in its GROUNDS."""
    if not is_reflection(body):
        return reader(*CLAIMS)(body)
    page = body["messages"][-1]["content"]
    numbers = {text: int(number) for number, text in re.findall(r"^(\d+) (.*)$", page, re.MULTILINE)}
    same = [[numbers[text] for text in SAME if text in numbers]]
    conclusion = {
        "from": [numbers[text] for text in GROUNDS if text in numbers],
        "kind": "routine",
        "text": HABIT,
    }
    return json.dumps({"same": same, "conclusions": [conclusion]})


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    model.extract = reads_and_reflects
    async with people_of(open_settings, model) as made:
        yield made


async def tell(people: People, *texts: str, **given: Any) -> None:
    """Says them, and has them read."""
    await people.say_all(*texts, **given)
    await people.work()


async def consolidate(people: People, person: str = "ana") -> list[Step]:
    """Does it, and sees that no memory went without a retired row."""
    before = await rows(people, person)
    user_id = await people.id(person)
    steps = await people.app.consolidation.plan(user_id)
    assert await rows(people, person) == before
    async with people.app.database.write() as connection:
        done = await people.app.consolidation.carry_out(connection, user_id, steps)
    await people.app.indexer.flush(user_id)
    after = await rows(people, person)
    assert before.keys() <= after.keys()
    gone = {id for id, held in before.items() if held and not after[id]}
    assert gone == {memory.id for step in done for memory in step.retires}
    assert len(after.keys() - before.keys()) == len([step for step in done if step.draft])
    assert await indexed(people, person) == {memory.id for memory in await people.memories(person)}
    return done


async def indexed(people: People, person: str = "ana") -> set[str]:
    """Those of the person's memories, retired ones too, that stand in the index."""
    return {id for id in await rows(people, person) if f"c{id}" in index_entries(people.app)}


async def rows(people: People, person: str = "ana") -> dict[str, bool]:
    """Every memory's id, and whether it holds."""
    mine = select(memories).where(memories.c.user_id == await people.id(person))
    async with people.app.database.read() as connection:
        return {row.id: row.retired_at is None for row in await connection.execute(mine)}


async def named(people: People, text: str) -> Memory:
    return next(memory for memory in await people.memories() if memory.text == text)


async def undo(people: People) -> int | None:
    undone = await people.app.consolidation.undo(await people.id())
    await people.app.indexer.flush()
    return undone


async def test_what_says_the_same_becomes_one_memory_with_both_sources(people: People) -> None:
    await tell(people, RUNNING, "I live in Porto.", RUNNING_A_LOT)
    (step,) = await consolidate(people)
    assert (step.deed, {memory.text for memory in step.retires}) == (Deed.MERGE, set(SAME))
    assert sorted(await people.texts()) == ["Likes running a lot.", "Lives in Porto."]
    merged = await named(people, "Likes running a lot.")
    assert merged.derivation is Derivation.MERGED
    assert [source.quote for source in merged.sources] == [RUNNING, RUNNING_A_LOT]
    recalled = await people.recall("Do I like running?")
    assert [each.until for each in recalled.memories] == [None] * len(recalled.memories)
    why = await people.say("/memory why 2")
    assert RUNNING in why
    assert RUNNING_A_LOT in why
    assert "Before that" not in why
    assert await people.say("/memory timeline") == "Nothing that you told me has changed so far."
    assert await consolidate(people) == []


async def test_what_memories_show_together_is_concluded_and_said_to_be(people: People) -> None:
    await tell(people, MONDAY, FRIDAY)
    (step,) = await consolidate(people)
    assert (step.deed, step.retires, step.draft and step.draft.text) == (Deed.CONCLUDE, (), HABIT)
    habit = await named(people, HABIT)
    assert habit.derivation is Derivation.CONCLUDED
    assert habit.is_believed
    listed = await people.say("/memory")
    assert f"{HABIT} _(my own conclusion)_" in listed
    number = next(line.split(".")[0] for line in listed.splitlines() if HABIT in line)
    why = await people.say(f"/memory why {number}")
    assert "You didn't say so; I concluded it from this:" in why
    assert MONDAY in why
    await people.say("Do I go swimming before work?", conversation="another")
    assert re.search(
        rf"{re.escape(HABIT)} \([\d-]+; your own conclusion\)", people.prompts()[-1][-1]["content"]
    )


@ONE_DATABASE
async def test_a_conclusion_is_forgotten_without_the_words_and_for_good(people: People) -> None:
    await tell(people, MONDAY, FRIDAY)
    await consolidate(people)
    listed = await people.say("/memory")
    number = next(line.split(".")[0] for line in listed.splitlines() if HABIT in line)
    assert "won't conclude it again" in await people.say(f"/forget {number}")
    assert sorted(await people.texts()) == sorted(GROUNDS)
    assert MONDAY in await people.say("/memory")
    await tell(people, RUNNING)
    assert await consolidate(people) == []
    assert await people.app.consolidation.undo(await people.id()) is None


async def test_a_consolidation_is_undone_and_not_done_again(people: People) -> None:
    await tell(people, RUNNING, RUNNING_A_LOT, MONDAY, FRIDAY)
    before = sorted(await people.texts())
    assert len(await consolidate(people)) == 2
    assert sorted(await people.texts()) == sorted([SAME[1], *GROUNDS, HABIT])
    assert await undo(people) == 4
    assert sorted(await people.texts()) == before
    assert await indexed(people) == {memory.id for memory in await people.memories()}
    assert await undo(people) is None
    await tell(people, "I live in Porto.")
    assert await consolidate(people) == []


@ONE_DATABASE
async def test_only_the_newest_is_undone_and_what_the_person_said_since_stays(people: People) -> None:
    await tell(people, RUNNING, RUNNING_A_LOT)
    await consolidate(people)
    await tell(people, MONDAY, FRIDAY)
    await consolidate(people)
    await tell(people, "I live in Porto.")
    assert await undo(people) == 1
    assert sorted(await people.texts()) == sorted([SAME[1], *GROUNDS, "Lives in Porto."])
    assert await undo(people) == 3
    assert sorted(await people.texts()) == sorted([*SAME, *GROUNDS, "Lives in Porto."])


@ONE_DATABASE
async def test_what_the_person_then_says_is_theirs_and_no_undo_takes_it(people: People) -> None:
    await tell(people, MONDAY, FRIDAY)
    await consolidate(people)
    said = "I go swimming before work."
    people.model.extract = reader((said, HABIT))
    await tell(people, said)
    habit = await named(people, HABIT)
    assert habit.derivation is None
    assert said in [source.quote for source in habit.sources]
    assert await undo(people) is None
    assert HABIT in await people.texts()


async def test_what_held_until_a_day_expires_after_it(people: People) -> None:
    await tell(people, "I live in Porto.", RUNNING)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    porto = await named(people, "Lives in Porto.")
    async with people.app.database.write() as connection:
        until = update(memories).where(memories.c.id == porto.id)
        await connection.execute(until.values(valid_until=yesterday, kind="identity"))
    (step,) = await consolidate(people)
    assert (step.deed, [memory.id for memory in step.retires]) == (Deed.EXPIRE, [porto.id])
    recalled = await people.recall("Where do I live?")
    assert {each.text: each.until for each in recalled.memories}["I live in Porto."] == yesterday
    assert await undo(people) == 1
    assert (await named(people, "Lives in Porto.")).valid_until == yesterday
    await tell(people, RUNNING_A_LOT)
    assert [each.deed for each in await consolidate(people)] == [Deed.MERGE]


@ONE_DATABASE
async def test_what_happened_once_does_not_expire(people: People) -> None:
    await tell(people, "I live in Porto.")
    async with people.app.database.write() as connection:
        past = datetime.now(UTC) - timedelta(days=1)
        await connection.execute(update(memories).values(valid_until=past, kind="event"))
    assert await consolidate(people) == []


@ONE_DATABASE
async def test_a_conclusion_goes_when_its_grounds_do(people: People) -> None:
    await tell(people, MONDAY, FRIDAY)
    await consolidate(people)
    async with people.app.database.write() as connection:
        over = update(memories).where(memories.c.id == (await named(people, GROUNDS[0])).id)
        await connection.execute(over.values(valid_until=datetime.now(UTC) - timedelta(days=1)))
    assert [step.deed for step in await consolidate(people)] == [Deed.EXPIRE]
    assert [step.deed for step in await consolidate(people)] == [Deed.UNGROUND]
    assert HABIT not in await people.texts()


@pytest.mark.parametrize("which", [0, 1])
async def test_with_a_forgotten_message_goes_what_was_made_of_it(people: People, which: int) -> None:
    await tell(people, RUNNING, RUNNING_A_LOT, MONDAY, FRIDAY)
    await consolidate(people)
    user_id = await people.id()
    merged, habit = await named(people, SAME[1]), await named(people, HABIT)
    for memory in (merged, habit):
        await people.app.forgetting.message(user_id, memory.sources[which].message_id)
    assert sorted(await people.texts()) == sorted([SAME[1 - which], GROUNDS[1 - which]])


@ONE_DATABASE
async def test_a_merged_memory_is_forgotten_with_all_its_words(people: People) -> None:
    await tell(people, RUNNING, RUNNING_A_LOT)
    await consolidate(people)
    await people.say("/forget 1")
    assert await rows(people) == {}
    assert "running" not in await people.say("/memory")


async def test_what_changes_while_it_is_planned_is_left_alone(people: People) -> None:
    """Forgetting wins."""
    await tell(people, RUNNING, RUNNING_A_LOT, MONDAY, FRIDAY)
    user_id = await people.id()
    steps = await people.app.consolidation.plan(user_id)
    assert len(steps) == 2
    await people.app.forgetting.memory(user_id, (await named(people, SAME[0])).id)
    async with people.app.database.write() as connection:
        done = await people.app.consolidation.carry_out(connection, user_id, steps)
    assert [step.deed for step in done] == [Deed.CONCLUDE]
    assert SAME[0] not in str(await people.memories())


@ONE_DATABASE
async def test_what_was_said_in_a_group_is_not_looked_at_with_what_was_said_in_private(
    people: People,
) -> None:
    await people.say(MONDAY)
    await people.say_in_group(FRIDAY)
    await tell(people, RUNNING)
    await people.say_in_group(RUNNING_A_LOT)
    await people.work()
    assert await consolidate(people) == []
    pages = [call["messages"][-1]["content"] for call in people.model.calls if is_reflection(call)]
    assert len(pages) == 2
    assert not [page for page in pages if ("Monday" in page) == ("lunch" in page)]


@ONE_DATABASE
async def test_the_model_is_asked_only_about_what_is_new(people: People) -> None:
    await tell(people, RUNNING, RUNNING_A_LOT, "I live in Porto.")
    await consolidate(people)
    asked = len([call for call in people.model.calls if is_reflection(call)])
    await consolidate(people)
    assert len([call for call in people.model.calls if is_reflection(call)]) == asked
    assert len(await people.house.rows(consolidations)) == 2


@ONE_DATABASE
async def test_salience_follows_what_is_recalled(people: People) -> None:
    await tell(people, RUNNING)
    await people.say_in_group("I live in Porto.")
    await people.work()
    await people.say_in_group("Where do I live?", group="group-2")
    await people.say_in_group("/reset")
    await people.say_in_group("Where do I live?")
    porto, running = await named(people, "Lives in Porto."), await named(people, SAME[0])
    assert (porto.uses, running.uses) == (1, 0)
    assert porto.salience == running.salience
    await consolidate(people)
    assert (await named(people, "Lives in Porto.")).salience > (await named(people, SAME[0])).salience


# --- As a job ---------------------------------------------------------------------------------------


@pytest.fixture
async def resting(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    """Whoever rests for an hour has their memories tidied up."""
    model.extract = reads_and_reflects
    async with people_of(open_settings.model_copy(update={"consolidate_seconds": 3600.0}), model) as made:
        yield made


async def an_hour_passes(people: People) -> None:
    async with people.app.database.write() as connection:
        waits = jobs.c.state == JobState.WAITING
        await connection.execute(update(jobs).where(waits).values(not_before=database_seconds() - 1))


async def of_kind(people: People, kind: JobKind) -> list[Any]:
    return [row for row in await people.house.rows(jobs) if row.kind == kind]


async def test_it_is_done_once_when_nothing_new_was_learned_for_a_while(resting: People) -> None:
    await tell(resting, RUNNING)
    await tell(resting, RUNNING_A_LOT)
    (job,) = await of_kind(resting, JobKind.CONSOLIDATE)
    assert (job.user_id, job.conversation_id, job.state) == (await resting.id(), None, JobState.WAITING)
    assert len(await resting.texts()) == 2
    await an_hour_passes(resting)
    await resting.work()
    assert await resting.texts() == [SAME[1]]
    assert {row.state for row in await resting.house.rows(jobs)} == {JobState.DONE}


async def test_a_job_that_was_overtaken_writes_nothing(resting: People) -> None:
    await tell(resting, RUNNING, RUNNING_A_LOT)
    await an_hour_passes(resting)
    (job,) = await of_kind(resting, JobKind.CONSOLIDATE)

    late = await resting.app.jobs.start(job.id)
    assert late is not None
    async with resting.app.database.write() as connection:
        await connection.execute(update(jobs).where(jobs.c.id == job.id).values(lease_until=0.0))
    user_id = await resting.id()
    steps = await resting.app.consolidation.plan(user_id)
    await resting.work()
    assert await resting.texts() == [SAME[1]]
    before = await rows(resting)

    async def come_too_late() -> None:
        async with resting.app.database.write() as connection:
            await resting.app.consolidation.carry_out(connection, user_id, steps)
            await resting.app.jobs.finish(connection, late)

    with pytest.raises(LeaseLost):
        await come_too_late()
    assert await rows(resting) == before


@ONE_DATABASE
async def test_what_the_model_cannot_say_is_a_dead_letter_and_changes_nothing(resting: People) -> None:
    await tell(resting, RUNNING, RUNNING_A_LOT)
    resting.model.extract = lambda body: "no JSON"
    await an_hour_passes(resting)
    await resting.work()
    (letter,) = await resting.app.dead_jobs.all()
    assert (letter.reason, letter.channel, letter.conversation_id) == (
        "consolidate: MalformedOutput",
        None,
        None,
    )
    assert letter.user_id == await resting.id()
    assert sorted(await resting.texts()) == sorted(SAME)
    resting.model.extract = reads_and_reflects
    await resting.app.dead_jobs.retry(int(letter.id[1:]))
    await resting.work()
    assert await resting.texts() == [SAME[1]]
    assert await resting.app.dead_jobs.all() == []


@ONE_DATABASE
async def test_who_forgets_everything_leaves_nothing_to_consolidate(resting: People) -> None:
    await tell(resting, RUNNING, RUNNING_A_LOT)
    await resting.say("/forget everything yes")
    await an_hour_passes(resting)
    await resting.work()
    assert await rows(resting) == {}
    assert {row.state for row in await of_kind(resting, JobKind.CONSOLIDATE)} == {JobState.DONE}


@ONE_DATABASE
async def test_it_can_be_switched_off(people: People) -> None:
    await tell(people, RUNNING, RUNNING_A_LOT)
    assert await of_kind(people, JobKind.CONSOLIDATE) == []
