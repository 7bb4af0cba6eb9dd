"""From what people say to what is remembered of them: read, checked, folded, done once."""

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, update

from core.errors import LeaseLost
from core.llm.tokens import count_tokens
from core.memory.extraction import MAX_CLAIMS
from core.memory.jobs import KEPT_DAYS, MAX_ATTEMPTS, SUPERSEDED, Job, JobKind, JobState
from core.memory.page import PAGE_TOKENS
from core.messages import Enclosure, EnclosureKind
from core.settings import Settings
from core.storage.database import database_seconds
from core.storage.schema import conversations, jobs, memories, messages, sources
from tests.integration.conftest import a_house
from tests.integration.remembering import (
    ONE_DATABASE,
    Body,
    People,
    index_entries,
    is_fold,
    people_of,
    reader,
)
from tests.processes import until
from tests.standins.model import ModelStandIn, read_claim

PEANUTS = ("I'm allergic to peanuts", "Is allergic to peanuts.")
PORTO = ("I live in Porto", "Lives in Porto.")
YACHTS = ("I own three yachts", "Owns three yachts.")


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    model.extract = reader(PEANUTS, PORTO, YACHTS)
    async with people_of(open_settings, model) as made:
        yield made


@ONE_DATABASE
async def test_a_claim_rests_on_the_words_that_say_it(people: People) -> None:
    await people.say("Hi! I live in Porto, and I'm allergic to peanuts.")
    await people.work()
    remembered = await people.memories()
    assert {memory.text for memory in remembered} == {"Is allergic to peanuts.", "Lives in Porto."}
    for memory in remembered:
        (source,) = memory.sources
        (line,) = [row for row in await people.house.rows(messages) if row.id == source.message_id]
        assert line.role == "user"
    assert {memory.sources[0].quote for memory in remembered} == {
        "I live in Porto",
        "I'm allergic to peanuts.",
    }
    assert await people.job_states() == [JobState.DONE]


async def test_run_twice_and_by_two_at_once_it_is_done_once(people: People, open_settings: Settings) -> None:
    await people.say("I live in Porto, and I'm allergic to peanuts.")
    (job_id,) = await people.app.jobs.due()
    async with a_house(open_settings) as other:
        await asyncio.gather(*(app.job_runner.run(job_id) for app in (people.app, other.app) * 3))
    await people.app.job_runner.run(job_id)
    assert len(await people.house.rows(memories)) == len(await people.house.rows(sources)) == 2
    assert len(people.pages()) == 1


@ONE_DATABASE
async def test_what_is_said_again_is_one_memory_with_two_sources(people: People) -> None:
    await people.say("I'm allergic to peanuts.")
    await people.work()
    await people.say("As I said, I'm allergic to peanuts!")
    await people.work()
    (memory,) = await people.memories()
    assert [source.quote for source in memory.sources] == [
        "I'm allergic to peanuts.",
        "I'm allergic to peanuts!",
    ]
    assert len(people.pages()) == 2
    assert "As I said" not in people.pages()[0]


async def test_two_jobs_that_find_the_same_at_once_end_with_one_memory(
    people: People, open_settings: Settings
) -> None:
    for place in ("here", "there", "elsewhere"):
        await people.say("I'm allergic to peanuts.", conversation=place)
    async with a_house(open_settings) as other:
        await asyncio.gather(
            *(
                app.job_runner.run(job_id)
                for job_id in await people.app.jobs.due()
                for app in (people.app, other.app)
            )
        )
    assert await people.job_states() == [JobState.DONE] * 3
    (memory,) = await people.memories()
    assert len(memory.sources) == 3


@ONE_DATABASE
async def test_what_others_wrote_and_the_assistant_said_is_never_read(people: People) -> None:
    people.model.answer = lambda _: "Noted: I own three yachts."
    material = tuple(Enclosure(kind, "I own three yachts") for kind in EnclosureKind)
    await people.send("Look at this, I live in Porto.", material)
    await people.send("", material)
    await people.work()
    assert await people.texts() == ["Lives in Porto."]
    assert all("> I own three yachts" not in page for page in people.pages())
    assert all("] I own three yachts" not in page for page in people.pages())
    entries = index_entries(people.app)
    own = [row for row in await people.house.rows(messages) if row.remembered]
    assert len(own) == 1
    assert f"m{own[0].id}" in entries
    assert "yachts" not in str(await people.recalled("three yachts"))


@ONE_DATABASE
async def test_a_model_that_cites_the_assistant_or_nobody_is_not_believed(people: People) -> None:
    people.model.answer = lambda _: "So you own three yachts."

    def invents(body: object) -> str:
        claims = [
            read_claim(number, quote, "Owns three yachts.")
            for number in (0, 1, 2, 99)
            for quote in ("you own three yachts", "I own three yachts", "I live in Porto")
        ]
        return json.dumps({"memories": claims[:12]})

    people.model.extract = invents
    await people.say("I live in Porto.")
    await people.work()
    assert await people.texts() == []
    assert await people.job_states() == [JobState.DONE]


@ONE_DATABASE
@pytest.mark.parametrize("each", [1, MAX_CLAIMS], ids=["a claim a message", "a message full of claims"])
async def test_after_a_full_answer_it_reads_on_where_it_stopped(people: People, each: int) -> None:
    """As after a flood: no list is long enough for all that was said in one go."""
    said = [f"My locker number {n} holds a violin." for n in range(MAX_CLAIMS + 3)]

    def read(body: Body) -> str:
        page = body["messages"][-1]["content"]
        found = [
            read_claim(int(number), text, text)
            for number, text in re.findall(r"^\[(\d+)\] \([\d-]+\) (My .*)$", page, re.MULTILINE)
            for _ in range(each)
        ]
        return json.dumps({"memories": found[:MAX_CLAIMS]})

    people.model.extract = read
    for text in said:
        await people.house.accept(text)
    await people.house.settled()
    await people.work()
    assert sorted(await people.texts()) == sorted(said)
    assert await people.job_states() == [JobState.DONE]


@ONE_DATABASE
async def test_everyone_in_a_group_is_read_alone(people: People) -> None:
    await people.say_in_group("I live in Porto", person="ana")
    await people.say_in_group("I'm allergic to peanuts", person="ben")
    await people.work()
    assert (await people.texts("ana"), await people.texts("ben")) == (
        ["Lives in Porto."],
        ["Is allergic to peanuts."],
    )
    of_ana, of_ben = sorted(people.pages(), key=lambda page: "peanuts" in page)
    assert "peanuts" not in of_ana.replace("You said: ", "") or "Assistant: " in of_ana
    assert "] (" in of_ana
    assert not [line for line in of_ana.splitlines() if line.startswith("[") and "peanuts" in line]
    assert not [line for line in of_ben.splitlines() if line.startswith("[") and "Porto" in line]
    group = (await people.house.row(conversations)).id
    assert {memory.audience for memory in await people.memories("ben")} == {group}


@ONE_DATABASE
async def test_a_malformed_answer_is_asked_for_once_more(people: People) -> None:
    await people.say("I live in Porto")
    people.model.fail_next("malformed_json")
    await people.work()
    assert await people.texts() == ["Lives in Porto."]
    assert len(people.pages()) == 2


@ONE_DATABASE
async def test_twice_malformed_is_failed_with_nothing_written(people: People) -> None:
    await people.say("I live in Porto")
    people.model.fail_next("malformed_json", times=2)
    await people.work()
    row = await people.house.row(jobs)
    assert (row.state, row.reason) == (JobState.FAILED, "MalformedOutput")
    assert row.finished_at is not None
    assert await people.house.rows(memories) == []
    assert (await people.house.row(conversations)).extracted_through == 0
    await people.say("I'm allergic to peanuts")
    await people.work()
    assert len(await people.texts()) == 2


async def make_due(people: People) -> None:
    async with people.app.database.write() as connection:
        await connection.execute(
            update(jobs).where(jobs.c.state == JobState.WAITING).values(not_before=database_seconds() - 1)
        )


@ONE_DATABASE
@pytest.mark.parametrize("reason", ["ModelUnavailable", "StreamCut"])
async def test_a_model_that_fails_is_asked_later_and_given_up_in_the_end(people: People, reason: str) -> None:
    await people.say("I live in Porto")
    (job_id,) = await people.app.jobs.due()
    if reason == "ModelUnavailable":
        await people.model.stop()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        if reason == "StreamCut":
            people.model.fail_next("cut")
        await people.app.job_runner.run(job_id)
        row = await people.house.row(jobs)
        assert (row.attempts, row.reason) == (attempt, reason)
        assert row.state == (JobState.WAITING if attempt < MAX_ATTEMPTS else JobState.FAILED)
        assert await people.app.jobs.due() == []
        await make_due(people)
    assert await people.house.rows(memories) == []


@ONE_DATABASE
async def test_what_was_put_back_is_done_when_the_model_is_there_again(people: People) -> None:
    await people.say("I live in Porto")
    (job_id,) = await people.app.jobs.due()
    port = int(people.model.base_url.rsplit(":", 1)[1].split("/")[0])
    await people.model.stop()
    await people.app.job_runner.run(job_id)
    await people.model.start(port)
    await make_due(people)
    await people.work()
    assert await people.texts() == ["Lives in Porto."]


async def test_a_dead_workers_job_is_done_once_by_the_next(people: People) -> None:
    await people.say("I live in Porto")
    (job_id,) = await people.app.jobs.due()
    dead = await people.app.jobs.start(job_id)
    assert dead is not None
    assert await people.app.jobs.due() == []
    assert await people.app.jobs.start(job_id) is None
    await expire(people)
    await people.work()
    assert await people.texts() == ["Lives in Porto."]
    with pytest.raises(LeaseLost):
        await people.app.jobs.renew(dead)
    with pytest.raises(LeaseLost):
        await people.app.jobs.put_back(dead, "Late")
    assert await people.job_states() == [JobState.DONE]


async def expire(people: People) -> None:
    async with people.app.database.write() as connection:
        await connection.execute(update(jobs).values(lease_until=0.0))


@ONE_DATABASE
async def test_a_job_that_kills_its_workers_is_given_up(people: People) -> None:
    await people.say("I live in Porto")
    (job_id,) = await people.app.jobs.due()
    for _ in range(MAX_ATTEMPTS):
        assert await people.app.jobs.start(job_id) is not None
        await expire(people)
    await people.work()
    row = await people.house.row(jobs)
    assert (row.state, row.reason) == (JobState.FAILED, "Killed")
    assert people.pages() == []


async def test_who_lost_its_lease_writes_nothing(people: People, open_settings: Settings) -> None:
    """A worker stood still for too long, another did the job: the first one's result must not be added."""
    await people.say("I live in Porto")
    (job_id,) = await people.app.jobs.due()
    people.model.piece_seconds = 0.5
    async with a_house(open_settings) as other:
        slow = asyncio.create_task(people.app.job_runner.run(job_id))
        await until(lambda: people.pages())
        await expire(people)
        people.model.extract = reader()
        people.model.piece_seconds = 0.0
        await other.app.job_runner.run(job_id)
        await slow
    row = await people.house.row(jobs)
    assert (row.state, row.attempts) == (JobState.DONE, 2)
    assert await people.house.rows(memories) == []


@ONE_DATABASE
async def test_a_long_conversation_is_read_page_by_page_and_whole(people: People) -> None:
    told = [f"Fact number {n}: " + "words and more words " * 80 + f"and item{n:03}" for n in range(12)]
    people.model.extract = reader(*((f"and item{n:03}", f"Has item{n:03}.") for n in range(12)))
    people.model.answer = lambda _: "I see."
    for text in told:
        await people.house.accept(text)
        await people.house.settled()
    await people.work()
    assert sorted(await people.texts()) == [f"Has item{n:03}." for n in range(12)]
    assert len(people.pages()) > 1
    assert all(count_tokens(page) <= PAGE_TOKENS for page in people.pages())
    assert set(await people.job_states()) == {JobState.DONE}


@ONE_DATABASE
async def test_a_burst_longer_than_a_page_is_one_turn_and_loses_nothing(people: People) -> None:
    people.model.extract = reader(*((f"item{n:03}", f"Has item{n:03}.") for n in range(20)))
    for n in range(12):
        await people.house.accept(f"Here is item{n:03}")
    await people.house.settled()
    await people.say("And item019, that is all.")
    await people.work()
    assert len(await people.texts()) == 13


@ONE_DATABASE
async def test_a_busy_conversation_is_read_soon_and_a_resting_one_later(
    open_settings: Settings, model: ModelStandIn
) -> None:
    patient = open_settings.model_copy(update={"idle_seconds": 3600.0, "extract_messages": 3})
    async with people_of(patient, model) as people:
        await people.say_all("I live in Porto", "I like tea")
        assert await people.job_states() == [JobState.WAITING]
        assert await people.app.jobs.due() == []
        await people.say("I like cake")
        assert len(await people.app.jobs.due()) == 1
        await people.say("What do I like?")
        assert await people.job_states() == [JobState.WAITING]


@ONE_DATABASE
async def test_questions_and_commands_alone_make_no_work(people: People) -> None:
    await people.say_all("What do I like?", "/memory", "/help", "🎂")
    assert await people.job_states() == []
    assert (
        index_entries(people.app).keys().isdisjoint(f"m{row.id}" for row in await people.house.rows(messages))
    )


async def test_what_was_forgotten_while_the_model_read_does_not_come_back(people: People) -> None:
    await people.say_all("I live in Porto", "I'm allergic to peanuts")
    await forgets_while_reading(people)
    assert await people.texts() == ["Lives in Porto."]
    assert await people.waiting() == 0
    assert "peanuts" not in people.pages()[-1].split("Assistant")[0].split("forgotten")[-1]


async def forgets_while_reading(people: People) -> None:
    (job_id,) = await people.app.jobs.due()
    people.model.piece_seconds = 0.5
    reading = asyncio.create_task(people.app.job_runner.run(job_id))
    await until(lambda: people.pages())
    (said,) = [row for row in await people.house.rows(messages) if row.turn_id == 2 and row.role == "user"]
    assert await people.app.forgetting.message(said.user_id, said.id)
    people.model.piece_seconds = 0.0
    await reading
    await people.work()


async def test_what_was_edited_while_the_model_read_is_read_again(people: People) -> None:
    await people.say("I live in Porto", event="first")
    (job_id,) = await people.app.jobs.due()
    people.model.piece_seconds = 0.5
    reading = asyncio.create_task(people.app.job_runner.run(job_id))
    await until(lambda: people.pages())
    await people.say("I'm allergic to peanuts", event="second", replaces="first")
    people.model.piece_seconds = 0.0
    await reading
    await people.work()
    assert await people.texts() == ["Is allergic to peanuts."]
    assert "Porto" not in people.pages()[-1].split("Assistant")[0]


@ONE_DATABASE
async def test_jobs_that_ended_long_ago_are_deleted(people: People) -> None:
    await people.say("I live in Porto")
    await people.work()
    old = await people.house.row(jobs)
    async with people.app.database.write() as connection:
        await connection.execute(
            update(jobs).values(finished_at=old.finished_at.replace(year=old.finished_at.year - 1))
        )
    assert KEPT_DAYS < 365
    await people.say("I'm allergic to peanuts")
    await people.work()
    assert [row.id > old.id for row in await people.house.rows(jobs)] == [True]


async def test_a_newer_job_takes_the_place_of_one_put_back(people: People) -> None:
    await people.say("I live in Porto")
    job = await people.app.jobs.start((await people.app.jobs.due())[0])
    assert job is not None
    await people.say("I'm allergic to peanuts")
    assert await people.job_states() == [JobState.RUNNING, JobState.WAITING]
    await people.app.jobs.put_back(job, "ModelUnavailable")
    old, _ = await people.house.rows(jobs)
    assert (old.state, old.reason) == (JobState.DONE, SUPERSEDED)
    await people.work()
    assert len(await people.texts()) == 2


async def test_scheduling_at_once_neither_fails_nor_doubles(people: People, open_settings: Settings) -> None:
    await people.say("Hello?")
    conversation_id = await people.conversation_id()

    async def schedule(app: object) -> None:
        async with app.database.write() as connection:  # type: ignore[attr-defined]
            await people.app.jobs.schedule_fold(connection, conversation_id)
            await asyncio.sleep(0.01)

    async with a_house(open_settings) as other:
        await asyncio.gather(*(schedule(app) for app in (people.app, other.app) * 4))
    assert await people.job_states() == [JobState.WAITING]


@ONE_DATABASE
async def test_an_index_that_is_away_costs_the_job_nothing(
    open_settings: Settings, model: ModelStandIn
) -> None:
    model.extract = reader(PORTO)
    nowhere = open_settings.model_copy(update={"chroma_url": "http://127.0.0.1:9"})
    async with people_of(nowhere, model) as people:
        await people.say("I live in Porto")
        await people.work()
        assert await people.job_states() == [JobState.DONE]
        assert await people.texts() == ["Lives in Porto."]
        assert await people.app.indexer.behind() == 2


@pytest.fixture
async def short(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    """Windows are folded early."""
    model.extract = reader(PORTO)
    async with people_of(open_settings.model_copy(update={"fold_messages": 14}), model) as made:
        yield made


@ONE_DATABASE
async def test_a_long_window_is_folded_and_the_prompt_holds_the_summary(short: People) -> None:
    await short.say_all(*(f"Number {n} is it?" for n in range(8)))
    row = await short.house.row(jobs)
    assert row.kind == JobKind.FOLD
    await short.work()
    await short.say("And now?")
    prompt = short.prompts()[-1]
    assert prompt[0]["content"].endswith("They talked about tea.")
    window = [message["content"] for message in prompt[1:-1]]
    assert len(window) == 10
    assert window[0] == "Number 3 is it?"
    assert b"tea" not in (await short.house.row(conversations)).summary_sealed


@ONE_DATABASE
async def test_what_was_folded_before_goes_into_the_next_fold(short: People) -> None:
    await short.say_all(*(f"Number {n} is it?" for n in range(8)))
    await short.work()
    await short.say_all(*(f"Letter {n} is it?" for n in range(6)))
    await short.work()
    folds = [c["messages"][-1]["content"] for c in short.model.calls if "Summary" in str(c["messages"][-1])]
    assert folds[-1].startswith("Summary so far: They talked about tea.\nUser: Number 3")
    assert "Number 2" not in folds[-1]


async def test_a_conversation_begun_afresh_amid_the_fold_stays_fresh(short: People) -> None:
    await short.say_all(*(f"Number {n} is it?" for n in range(8)))
    short.model.piece_seconds = 0.5
    (job_id,) = await short.app.jobs.due()
    folding = asyncio.create_task(short.app.job_runner.run(job_id))
    await until(lambda: [call for call in short.model.calls if "response_format" in call])
    await short.say("/reset")
    short.model.piece_seconds = 0.0
    await folding
    assert (await short.house.row(conversations)).summary_sealed is None
    await short.say("And now?")
    assert [message["role"] for message in short.prompts()[-1]] == ["system", "user"]
    assert "tea" not in str(short.prompts()[-1])


@ONE_DATABASE
async def test_an_endless_conversation_is_folded_in_pieces_that_fit(short: People) -> None:
    short.model.answer = lambda _: "and many more words " * 100
    for n in range(12):
        await short.say(f"Item {n}? " + "and many more words " * 100 + "is it?")
    await short.work()
    (fold,) = [call["messages"][-1]["content"] for call in short.model.calls if is_fold(call)]
    assert count_tokens(fold) <= PAGE_TOKENS
    row = await short.house.row(conversations)
    async with short.app.database.read() as connection:
        newest = await connection.scalar(
            select(messages.c.turn_id).order_by(messages.c.turn_id.desc()).limit(1)
        )
    assert newest is not None
    assert 0 < row.summary_through <= newest - 5


@ONE_DATABASE
async def test_a_jobs_attempt_is_its_fence(people: People) -> None:
    await people.say("I live in Porto")
    (job_id,) = await people.app.jobs.due()
    first = await people.app.jobs.start(job_id)
    assert first is not None
    stale = Job(first.id, first.kind, first.about, first.attempts - 1)
    async with people.app.database.write() as connection:
        with pytest.raises(LeaseLost):
            await people.app.jobs.finish(connection, stale)
