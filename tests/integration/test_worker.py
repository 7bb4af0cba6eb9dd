"""The worker as a process: killed, doubled, cut off from its broker, told to stop."""

import asyncio
import base64
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from pydantic import SecretStr

from bots.front_desk import FrontDesk
from core.app import App, open_app
from core.memory.jobs import JobState
from core.settings import Settings
from core.storage.bell import LIFE
from core.storage.schema import conversations, jobs, memories
from tests.conftest import lanes_running
from tests.integration.conftest import House
from tests.integration.remembering import ONE_DATABASE, is_page, reader
from tests.processes import Mneme, a_mneme, until
from tests.servers import redis_server
from tests.standins.model import ModelStandIn
from tests.standins.paper import Paper
from workers.celery_app import QUEUE, make_celery
from workers.tasks import RUN_JOB, SWEEP

PORTO = "I live in Porto"
STOP_SECONDS = 90


@pytest.fixture
async def house(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[House]:
    """A house whose lanes run, and whose jobs are left to the workers."""
    model.extract = reader((PORTO, "Lives in Porto."))
    async with open_app(open_settings) as app:
        paper = Paper()
        app.outlets[paper.name] = paper
        made = House(app, paper, FrontDesk(app.database, app.inbox, app.conversations, app.lanes))
        async with lanes_running(app):
            yield made


@pytest.fixture
async def mneme(open_settings: Settings, tmp_path: Path) -> AsyncIterator[Mneme]:
    (tmp_path / "logs").mkdir()
    broker(open_settings).delete(f"{LIFE}worker")  # another test's worker may have left it in this Redis
    async with a_mneme(open_settings, tmp_path / "logs") as made:
        yield made
        # Each has a session of its own; a worker that ends in order takes its processes along.
        ended = {process.pid for process in made.processes if process.poll() == 0}
        await until(lambda: not [one for one in psutil.process_iter() if _session(one) in ended])


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


def broker(settings: Settings) -> "redis.Redis":
    assert settings.redis_url is not None
    return redis.Redis.from_url(settings.redis_url.get_secret_value())


async def say(house: House, text: str, **given: Any) -> None:
    await house.accept(text, **given)
    await house.settled()


async def job_done(house: House, count: int = 1) -> bool:
    return [row.state for row in await house.rows(jobs)] == [JobState.DONE] * count


async def index_knows_all(house: House) -> bool:
    return await house.app.indexer.behind() == 0


def alive(app: App) -> bool:
    return bool(broker(app.settings).exists(f"{LIFE}worker"))


async def test_it_finds_what_is_due_and_shows_that_it_lives(house: House, mneme: Mneme) -> None:
    await say(house, PORTO)
    worker = mneme.work()
    await until(lambda: job_done(house))
    assert alive(house.app)
    assert len(await house.rows(memories)) == 1
    await until(lambda: index_knows_all(house))
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, STOP_SECONDS) == 0, mneme.log()
    assert "Traceback" not in mneme.log()


@ONE_DATABASE
async def test_tasks_carry_row_ids_alone(house: House, mneme: Mneme, tmp_path: Path) -> None:
    """A beat and no worker to take what it sends: it stands in Redis to be looked at."""
    with redis_server(tmp_path) as url:
        mneme.settings = house.app.settings.model_copy(update={"redis_url": SecretStr(url)})
        await say(house, PORTO)
        job_id = (await house.row(jobs)).id
        make_celery(mneme.settings).tasks[RUN_JOB].delay(job_id)
        mneme.beat()
        queue = redis.Redis.from_url(url)
        await until(lambda: queue.llen(QUEUE) > 1)
        sent = [json.loads(raw) for raw in queue.lrange(QUEUE, 0, -1)]
        bodies = {s["headers"]["task"]: json.loads(base64.b64decode(s["body"])) for s in sent}
        assert bodies[RUN_JOB][:2] == [[job_id], {}]
        assert bodies[SWEEP][:2] == [[], {}]


@ONE_DATABASE
async def test_two_workers_with_their_beats_do_each_job_once(
    house: House, mneme: Mneme, model: ModelStandIn
) -> None:
    for _ in range(2):
        mneme.work()
    await until(lambda: alive(house.app))
    for number in range(6):
        await say(house, f"{PORTO}, said {number}", conversation=f"c{number}")
    await until(lambda: job_done(house, 6))
    assert len(await house.rows(memories)) == 1
    assert len([call for call in model.calls if is_page(call)]) == 6
    assert all(process.poll() is None for process in mneme.processes), mneme.log()
    assert PORTO not in mneme.log()


@ONE_DATABASE
async def test_killed_amid_a_job_another_does_it_once(
    house: House, mneme: Mneme, model: ModelStandIn
) -> None:
    mneme.settings = mneme.settings.model_copy(update={"lease_seconds": 5.0})
    await say(house, PORTO)
    model.fail_next("hang")
    calls = len(model.calls)
    worker = mneme.work()
    await until(lambda: len(model.calls) > calls)
    assert (await house.row(jobs)).state == JobState.RUNNING
    os.killpg(worker.pid, signal.SIGKILL)
    await asyncio.to_thread(worker.wait, STOP_SECONDS)
    mneme.work()
    await until(lambda: job_done(house))
    assert (await house.row(jobs)).attempts == 2
    assert len(await house.rows(memories)) == 1
    assert (await house.row(conversations)).extracted_through > 0


@ONE_DATABASE
async def test_whichever_of_its_processes_is_killed_it_goes_on_looking_for_jobs(
    house: House, mneme: Mneme
) -> None:
    worker = mneme.work()
    await until(lambda: alive(house.app))
    children = psutil.Process(worker.pid).children()
    assert len(children) == 2, "a pool of one, and the schedule"
    for child in children:
        child.kill()
        child.wait(STOP_SECONDS)
        # A sweep may have been under way: the second sign of life is a new one's.
        for _ in range(2):
            broker(house.app.settings).delete(f"{LIFE}worker")
            await until(lambda: alive(house.app))
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, STOP_SECONDS) == 0, mneme.log()


@ONE_DATABASE
async def test_its_broker_restarted_under_it_it_goes_on(house: House, mneme: Mneme, tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        mneme.settings = mneme.settings.model_copy(update={"redis_url": SecretStr(url)})
        worker = mneme.work()
        here = redis.Redis.from_url(url)
        await until(lambda: here.exists(f"{LIFE}worker"))
    await say(house, PORTO)
    await asyncio.sleep(1)
    assert worker.poll() is None
    with redis_server(tmp_path, port):
        await until(lambda: job_done(house))
        assert len(await house.rows(memories)) == 1
        worker.terminate()
        assert await asyncio.to_thread(worker.wait, STOP_SECONDS) == 0, mneme.log()


@ONE_DATABASE
async def test_told_to_stop_amid_a_job_it_ends_it_first(
    house: House, mneme: Mneme, model: ModelStandIn
) -> None:
    await say(house, PORTO)
    model.piece_seconds = 0.3
    calls = len(model.calls)
    worker = mneme.work()
    await until(lambda: len(model.calls) > calls)
    worker.terminate()
    assert await asyncio.to_thread(worker.wait, STOP_SECONDS) == 0, mneme.log()
    row = await house.row(jobs)
    assert (row.state, row.attempts) == (JobState.DONE, 1)


@ONE_DATABASE
async def test_an_index_of_another_make_it_leaves_alone(house: House, mneme: Mneme) -> None:
    """It says so, and does its jobs all the same: what the index is to hear waits in the record."""
    other = {"embedding_model": "stand-in-embeddings"}
    await say(house, PORTO)
    mneme.settings = mneme.settings.model_copy(update=other)
    mneme.work()
    await until(lambda: job_done(house))
    await until(lambda: "index_behind" in mneme.log())
    assert "IndexMismatch" in mneme.log()
    assert await house.app.indexer.behind() > 0
