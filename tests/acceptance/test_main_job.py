"""The main job, as a person and an operator see it: real processes, the command line, strict stand-ins."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from core.app import App, open_app
from core.settings import Settings
from core.storage.schema import jobs, memories
from tests.processes import Mneme, a_mneme, until
from tests.servers import redis_server
from tests.standins.model import ModelStandIn, read_claim


def reads_allergies(body: dict[str, Any]) -> str:
    """Reads one claim out of a conversation, as a model would, and one that nobody said."""
    page = body["messages"][-1]["content"]
    found = [
        read_claim(1, "I'm allergic to peanuts", "Is allergic to peanuts."),
        read_claim(1, "I own three yachts", "Owns three yachts."),
    ]
    return json.dumps({"memories": found if "peanuts" in page else []})


@pytest.fixture
async def mneme(settings: Settings, tmp_path: Path) -> AsyncIterator[Mneme]:
    async with a_mneme(settings, tmp_path) as made:
        yield made


async def rows(app: App, table: Any, *where: Any) -> int:
    async with app.database.read() as connection:
        return int(await connection.scalar(select(func.count()).select_from(table).where(*where)) or 0)


async def test_it_remembers_across_conversations_and_restarts(
    mneme: Mneme, model: ModelStandIn, settings: Settings
) -> None:
    model.extract = reads_allergies
    serving, worker = await mneme.serve(), mneme.work()
    first = await mneme.ask("ana", "I'm Ana, I live in Porto and I'm allergic to peanuts")
    second = await mneme.ask("ana", "Hello there", "--new")
    assert first["conversation"] != second["conversation"]
    async with open_app(settings) as app:
        await until(lambda: rows(app, memories))
        await until(lambda: rows(app, jobs, jobs.c.state == "done"))
    for process in (worker, serving):
        process.terminate()
        # In a thread: a job may be under way whose model answers from this very loop.
        assert await asyncio.to_thread(process.wait, 60) == 0, mneme.log()
    await mneme.serve()
    answer = await mneme.ask("ana", "What am I allergic to?", "--new")
    assert any("peanuts" in memory["text"] for memory in answer["memories"])
    assert all(memory["source"]["quote"] for memory in answer["memories"])
    assert "peanuts" in model.calls[-1]["messages"][-1]["content"]
    assert {"recall", "model", "deliver", "total"} <= answer["timings"].keys()
    assert not any("yachts" in memory["text"] for memory in answer["memories"])
    other = await mneme.ask("ben", "What is Ana allergic to?")
    assert other["memories"] == []
    assert "peanuts" not in str(model.calls[-1]["messages"])


async def test_a_script_gets_the_reply_alone(mneme: Mneme, model: ModelStandIn) -> None:
    model.answer = lambda messages: "Good **morning**."
    await mneme.serve()
    said = await mneme.command("chat", "--as", "ana", "-m", "Good morning")
    assert (said.returncode, said.stdout) == (0, "Good **morning**.\n")
    blank = await mneme.command("chat", "--as", "ana", "-m", "   ")
    assert (blank.returncode, blank.stdout) == (1, "")
    assert "empty message" in blank.stderr
    endless = await mneme.command("chat", "--as", "ana", "-m", "a" * 100_000)
    assert endless.returncode == 1
    assert "100,000 characters" in endless.stderr


async def test_nobody_answers_is_one_clear_line(mneme: Mneme) -> None:
    done = await mneme.command("chat", "--as", "ana", "-m", "Hello")
    assert done.returncode == 1
    assert done.stderr.startswith("mneme: no Mneme answers at ")
    assert len(done.stderr.splitlines()) == 1


async def test_what_comes_while_redis_is_away_is_answered(
    mneme: Mneme, settings: Settings, tmp_path: Path
) -> None:
    with redis_server(tmp_path) as url:
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        mneme.settings = settings.model_copy(update={"redis_url": type(settings.redis_url)(url)})  # type: ignore[misc]
        await mneme.serve()
        await mneme.ask("ana", "Hello")
    away = await mneme.ask("ana", "Are you there?")
    assert away["reply"].endswith("Are you there?")
    with redis_server(tmp_path, port):
        back = await mneme.ask("ana", "And now?")
    assert back["reply"].endswith("And now?")


async def test_a_job_whose_worker_is_killed_is_done_once(
    mneme: Mneme, model: ModelStandIn, settings: Settings
) -> None:
    model.extract = reads_allergies
    model.fail_next()
    await mneme.serve()
    await mneme.ask("ana", "I'm Ana and I'm allergic to peanuts")
    async with open_app(settings) as app:
        job_id = (await app.jobs.due())[0]
        # A worker that died amid the job: it had leased it, and will never end it.
        assert await app.jobs.start(job_id) is not None
        mneme.work()
        async with app.database.write() as connection:
            await connection.execute(jobs.update().where(jobs.c.id == job_id).values(lease_until=0.0))
        await until(lambda: rows(app, jobs, jobs.c.id == job_id, jobs.c.state == "done"))
        assert await rows(app, memories) == 1
        await app.job_runner.run(job_id)
        assert await rows(app, memories) == 1
