"""Jobs that failed: dead letters until they are retried, dropped, or a newer one did their work."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import update

from core.memory.dead_jobs import RETRIED
from core.memory.jobs import KEPT_DAYS, SUPERSEDED, JobState
from core.settings import Settings
from core.storage.database import database_seconds
from core.storage.schema import jobs
from tests.integration.dead_command import listed, refused, said
from tests.integration.remembering import ONE_DATABASE, People, people_of, reader
from tests.integration.web_service import running_service
from tests.processes import Mneme
from tests.standins.model import ModelStandIn

SECRET = "heron"


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    model.extract = reader(("I live in Porto", "Lives in Porto."))
    async with people_of(open_settings, model) as made:
        yield made


async def a_job_fails(people: People) -> str:
    people.model.fail_next("malformed_json", times=2)
    await people.work()
    row = (await people.house.rows(jobs))[-1]
    assert row.state == JobState.FAILED
    return f"j{row.id}"


async def test_a_job_that_failed_is_a_dead_letter_and_is_done_after_a_retry(
    people: People, mneme: Mneme
) -> None:
    await people.say(f"I live in Porto. I saw a {SECRET}.")
    letter = await a_job_fails(people)
    line = await said(mneme, "list")
    assert line.endswith("  paper     dead     1 attempt    extract: MalformedOutput\n")
    shown = await said(mneme, "show", letter, "--words")
    assert await people.conversation_id() in shown
    assert SECRET not in line + shown
    await said(mneme, "retry", letter)
    assert await listed(mneme) == []
    assert "it was retried" in (await refused(mneme, "retry", letter)).stderr
    await people.work()
    assert await people.texts() == ["Lives in Porto."]
    assert [row.reason for row in await people.house.rows(jobs)] == [RETRIED, None]


async def test_a_job_whose_work_a_newer_one_does_is_not_doubled(people: People, mneme: Mneme) -> None:
    await people.say("I live in Porto")
    first = await a_job_fails(people)
    await people.say("And I like it")
    async with people.app.database.write() as connection:
        waits = jobs.c.state == JobState.WAITING
        await connection.execute(update(jobs).where(waits).values(not_before=database_seconds() + 600))
    await said(mneme, "retry", first)
    assert await people.job_states() == [JobState.DONE, JobState.WAITING]
    assert len(await people.app.jobs.due()) == 1
    await people.work()
    assert await people.texts() == ["Lives in Porto."]


async def test_a_newer_jobs_success_ends_what_failed_before_it(people: People, mneme: Mneme) -> None:
    await people.say("I live in Porto")
    letter = await a_job_fails(people)
    assert [each["id"] for each in await listed(mneme)] == [letter]
    await people.say("And I like it")
    await people.work()
    assert await listed(mneme) == []
    assert [row.reason for row in await people.house.rows(jobs)] == [SUPERSEDED, None]


async def test_a_failed_job_is_kept_until_it_is_dropped(people: People, mneme: Mneme) -> None:
    await people.say("I live in Porto")
    letter = await a_job_fails(people)
    async with people.app.database.write() as connection:
        old = (await people.house.row(jobs)).finished_at
        assert KEPT_DAYS < 365
        await connection.execute(update(jobs).values(finished_at=old.replace(year=old.year - 1)))
    await people.say("Hello, Mneme", person="ben")
    await people.work()
    assert [each["id"] for each in await listed(mneme)] == [letter]
    for _ in range(2):
        assert await said(mneme, "drop", letter) == f"{letter} is dropped.\n"
    assert await listed(mneme) == []
    assert "it was dropped" in (await refused(mneme, "retry", letter)).stderr


@ONE_DATABASE
async def test_the_operators_tools_tell_of_them(people: People, mneme: Mneme, model: ModelStandIn) -> None:
    assert "LOOK" not in (await mneme.command("doctor")).stdout
    await people.say("I live in Porto")
    await a_job_fails(people)
    model.fail_next("too_long")
    await people.say("Hello")
    async with running_service(people.app) as service, service.stranger() as client:
        numbers = (await client.get("/metrics")).text
    assert 'mneme_dead{kind="message"} 1.0' in numbers
    assert 'mneme_dead{kind="job"} 1.0' in numbers
    assert (
        "LOOK    dead letters: messages 1, jobs 1; see `mneme dead list`"
        in (await mneme.command("doctor")).stdout
    )
