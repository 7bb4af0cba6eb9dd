"""What people and jobs meet when a day's budget runs low: a note, a clear line, a cheaper model, a rest."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from core.llm.budget import DailyBudget, Level
from core.llm.model import Usage
from core.memory.jobs import POSTPONED, JobState
from core.reply.answer import BUDGET_NEWS
from core.settings import Settings
from core.storage.database import database_seconds
from core.storage.schema import day_totals, jobs, messages, spendings
from tests.conftest import lanes_running
from tests.integration.conftest import a_house
from tests.integration.remembering import ONE_DATABASE, People, is_fold, is_page, people_of, reader
from tests.servers import chroma_server
from tests.standins.clock import MovedClock
from tests.standins.model import ModelStandIn

BUDGET = 100_000
CHEAPER = "stand-in-2"
NEARLY, WHOLLY = BUDGET_NEWS[Level.NEARLY], BUDGET_NEWS[Level.WHOLLY]


@pytest.fixture
def clock() -> MovedClock:
    """The afternoon of this day, UTC: midnight is eight hours away."""
    clock = MovedClock()
    clock.set(datetime.now(UTC).replace(hour=16, minute=0, second=0))
    return clock


@pytest.fixture
def limited(open_settings: Settings) -> Settings:
    return open_settings.model_copy(update={"tokens_per_user_day": BUDGET})


@pytest.fixture
async def people(limited: Settings, model: ModelStandIn, clock: MovedClock) -> AsyncIterator[People]:
    async with people_of(limited, model, clock) as made:
        yield made


async def spend(people: People, clock: MovedClock, tokens: int, person: str = "ana") -> None:
    """Has the person spend so much, on other calls."""
    budget = DailyBudget(people.app.database, clock, per_user=10**9, total=0)
    async with budget.spending(await people.id(person), tokens) as tally:
        tally.add(Usage(tokens))


async def spent(people: People, person: str | None = "ana") -> int:
    """What the record says of today: one person's, or everybody's."""
    table = spendings if person else day_totals
    where = [table.c.user_id == await people.id(person)] if person else []
    return sum(row.tokens for row in await people.house.rows(table, *where))


def next_day(clock: MovedClock) -> None:
    clock.set((clock.now() + timedelta(days=1)).replace(hour=0, minute=0, second=1))


async def test_a_reply_is_charged_as_the_server_counts(people: People, model: ModelStandIn) -> None:
    await people.say("I like tea")
    prompt = sum(len(message["content"].split()) for message in model.calls[0]["messages"])
    assert await spent(people) == await spent(people, None) == prompt + len("You said: I like tea".split())


async def test_near_the_end_there_is_a_note_once_a_day(people: People, clock: MovedClock) -> None:
    assert NEARLY not in await people.say("I like tea")
    await spend(people, clock, BUDGET * 85 // 100)
    reply = await people.say("I like coffee")
    assert reply == f"You said: I like coffee\n\n{NEARLY}"
    assert NEARLY not in await people.say("I like cocoa")
    assert NEARLY not in await people.say("I like milk", person="ben")
    next_day(clock)
    await spend(people, clock, BUDGET * 85 // 100)
    assert NEARLY in await people.say("I like water")


async def test_at_the_end_a_line_says_when_it_goes_on(
    people: People, clock: MovedClock, model: ModelStandIn
) -> None:
    await people.say("I like tea")
    await spend(people, clock, BUDGET)
    model.calls.clear()
    reply = await people.say("I live in Porto")
    assert "midnight UTC, in about 8 hours" in reply
    assert model.calls == []
    assert await people.say("I like milk", person="ben") == "You said: I like milk"
    said = [
        row
        for row in await people.house.rows(messages)
        if row.user_id == await people.id() and row.remembered
    ]
    assert len(said) == 2
    assert "I live in Porto" in await people.say("/memory")
    assert "/forget" in await people.say("/help")
    next_day(clock)
    assert await people.say("Where do I live?") == "You said: Where do I live?"
    assert "I live in Porto" in str(model.calls[-1]["messages"])


async def test_what_all_spend_together_ends_too(
    open_settings: Settings, model: ModelStandIn, clock: MovedClock
) -> None:
    settings = open_settings.model_copy(update={"tokens_per_day": BUDGET})
    async with people_of(settings, model, clock) as people:
        await people.say("I like tea")
        await spend(people, clock, BUDGET)
        assert "midnight UTC" in await people.say("I like milk", person="ben")


async def test_the_cheaper_model_goes_on_and_says_so_once(
    limited: Settings, model: ModelStandIn, clock: MovedClock
) -> None:
    settings = limited.model_copy(update={"openai_budget_model": CHEAPER})
    async with people_of(settings, model, clock) as people:
        await people.say("I like tea")
        await spend(people, clock, BUDGET)
        before = await spent(people)
        assert await people.say("I like milk") == f"You said: I like milk\n\n{WHOLLY}"
        assert await people.say("I like cocoa") == "You said: I like cocoa"
        assert [call["model"] for call in model.calls] == [model.model, CHEAPER, CHEAPER]
        assert await spent(people) > before
        next_day(clock)
        await people.say("I like water")
        assert model.calls[-1]["model"] == model.model


async def test_a_stream_that_is_cut_and_made_again_is_charged_each_time(
    people: People, model: ModelStandIn
) -> None:
    await people.say("I like tea")
    once = await spent(people)
    model.fail_next("cut")
    await people.say("I like tea")
    assert len(model.calls) == 3
    # The second prompt holds the first turn as well, so even its half alone costs more.
    assert await spent(people) > 3 * once
    assert await spent(people) < BUDGET / 10


async def test_a_job_waits_for_the_next_day_without_an_attempt(
    people: People, clock: MovedClock, model: ModelStandIn
) -> None:
    model.extract = reader(("I live in Porto", "Lives in Porto."))
    await people.say("I live in Porto")
    await spend(people, clock, BUDGET)
    model.calls.clear()
    for _ in range(5):
        async with people.app.database.write() as connection:
            await connection.execute(update(jobs).values(not_before=0))
        await people.work()
    (row,) = await people.house.rows(jobs)
    assert (row.state, row.attempts, row.reason) == (JobState.WAITING, 0, POSTPONED)
    async with people.app.database.read() as connection:
        now = await connection.scalar(select(database_seconds()))
    assert row.not_before - (now or 0) == pytest.approx(8 * 60 * 60, abs=120)
    await people.say("Anything new?")
    assert await people.app.jobs.due() == [], "it isn't asked for before its time"
    assert model.calls == []
    next_day(clock)
    async with people.app.database.write() as connection:
        await connection.execute(update(jobs).values(not_before=0))
    await people.work()
    assert await people.texts() == ["Lives in Porto."]
    assert {row.state for row in await people.house.rows(jobs)} == {JobState.DONE}


async def test_a_job_of_a_group_is_charged_to_who_wrote(people: People, model: ModelStandIn) -> None:
    await people.say_in_group("I live in Porto")
    await people.say_in_group("I live in Graz", person="ben")
    before = {name: await spent(people, name) for name in ("ana", "ben")}
    await people.work()
    pages = [call for call in model.calls if is_page(call)]
    costs = [sum(len(message["content"].split()) for message in page["messages"]) for page in pages]
    grown = {name: await spent(people, name) - before[name] for name in ("ana", "ben")}
    answer = len(model.extract(pages[0]).split())
    assert sorted(grown.values()) == sorted(cost + answer for cost in costs)


@pytest.mark.parametrize("is_group", [False, True])
async def test_folding_is_charged_to_the_one_person_or_to_all(
    limited: Settings, model: ModelStandIn, clock: MovedClock, is_group: bool
) -> None:
    model.extract = reader()
    settings = limited.model_copy(update={"fold_messages": 4, "idle_seconds": 3600})
    async with people_of(settings, model, clock) as people:
        say = people.say_in_group if is_group else people.say
        for number in range(8):
            await say(f"I like tea number {number}")
        before = await spent(people), await spent(people, None)
        await people.work()
        assert [call for call in model.calls if is_fold(call)]
        mine, of_all = await spent(people) - before[0], await spent(people, None) - before[1]
    assert of_all > 0
    assert mine == (0 if is_group else of_all)


@ONE_DATABASE
async def test_a_paid_embedder_is_charged_to_all_and_never_refused(
    open_settings: Settings, model: ModelStandIn, clock: MovedClock, tmp_path: Path
) -> None:
    with chroma_server(tmp_path) as url:
        settings = open_settings.model_copy(
            update={"tokens_per_day": BUDGET, "embedding_model": model.embedding_model, "chroma_url": url}
        )
        async with a_house(settings, clock) as house, lanes_running(house.app):
            people = People(house, model)
            await people.say("I like tea")
            embedded = sum(len(text.split()) for texts in model.embedded for text in texts)
            mine, of_all = await spent(people), await spent(people, None)
            assert of_all - mine == embedded > 0
            await spend(people, clock, BUDGET)
            await people.say("I live in Porto")
            assert await house.app.indexer.behind() == 0
            assert await people.recalled("Where do I live?")
