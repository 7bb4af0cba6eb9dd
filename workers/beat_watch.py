"""Keeps the schedule that runs beside a worker: where its process was killed, Celery doesn't notice."""

from typing import Any

import structlog
from celery import bootsteps
from celery.beat import EmbeddedService

LOOK_SECONDS = 2.0

log = structlog.get_logger()


class BeatWatch(bootsteps.StartStopStep):
    """A step of the worker's own start. Without a schedule nobody would ever look for jobs."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Beat")

    def start(self, worker: Any) -> None:
        self._is_watching = worker.beat is not None
        if self._is_watching:
            worker.timer.call_repeatedly(LOOK_SECONDS, self._look, (worker,))

    def stop(self, worker: Any) -> None:
        self._is_watching = False  # or a schedule that is ended with its worker would be started again
        if worker.beat is not None:
            worker.beat.stop()

    def _look(self, worker: Any) -> None:
        if self._is_watching and not worker.beat.is_alive():
            log.warning("beat_lost")
            worker.beat = EmbeddedService(
                worker.app, schedule_filename=worker.schedule_filename, scheduler_cls=worker.scheduler
            )
            worker.beat.start()
