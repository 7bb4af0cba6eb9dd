"""The tasks: they carry a row's id to the core, and look for rows that nobody was told of."""

import structlog
from celery import Celery

from core.app import App
from core.errors import MnemeError
from core.storage.index import State
from workers.runtime import Runtime

RUN_JOB = "mneme.run_job"
SWEEP = "mneme.sweep"
LIVES_SWEEPS = 3
"""A worker that swept lately is alive; after so many missed sweeps it isn't."""

log = structlog.get_logger()


def register(celery: Celery, runtime: Runtime, *, sweep_seconds: float) -> None:
    """Gives the Celery application its tasks."""

    # Not shared: Celery would give one application's tasks to every other in the process.
    @celery.task(name=RUN_JOB, shared=False)
    def run_job(job_id: int) -> None:
        runtime.run(lambda app: app.job_runner.run(job_id))

    @celery.task(name=SWEEP, shared=False)
    def sweep() -> None:
        try:
            for job_id in runtime.run(lambda app: _sweep(app, LIVES_SWEEPS * sweep_seconds + 60)):
                run_job.delay(job_id)
        except MnemeError as error:
            # The next sweep comes by anyway; what waits, waits in the record.
            log.warning("sweep_failed", reason=type(error).__name__)


async def _sweep(app: App, life_seconds: float) -> list[int]:
    """Shows that the worker lives, does what isn't worth a job; returns the jobs that are due."""
    await app.bell.show_life("worker", life_seconds)
    await app.switches.destroy_rested()
    await app.retention.enforce_if_due()
    due = list(await app.jobs.due())
    try:
        if await app.indexer.check() is State.FILLED:
            await app.reindexing.take_up()
        await app.erasure.tidy()
        await app.indexer.flush()
    except MnemeError as error:
        log.warning("index_behind", reason=type(error).__name__)
    return due
