"""The Celery application: what its clients and workers agree on, and its two tasks."""

from functools import partial
from pathlib import Path

from celery import Celery
from celery.signals import worker_ready

from core.errors import ConfigurationError
from core.settings import Settings
from workers.beat_watch import BeatWatch
from workers.runtime import Runtime
from workers.tasks import SWEEP, register

HARD_LIMIT_SECONDS = 600
QUEUE = "mneme"


def make_celery(settings: Settings) -> Celery:
    """The application, with its tasks and its schedule; connects to nothing yet.

    Raises:
        ConfigurationError: `REDIS_URL` isn't set.
    """
    if settings.redis_url is None:
        raise ConfigurationError("REDIS_URL must be set here; `mneme run` starts a Redis and sets it.")
    celery = Celery("mneme", broker=settings.redis_url.get_secret_value(), set_as_current=False)
    celery.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=HARD_LIMIT_SECONDS,
        task_default_queue=QUEUE,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Longer than any task may run, or a task at work would be handed out again.
        broker_transport_options={"visibility_timeout": 2 * HARD_LIMIT_SECONDS},
        beat_schedule={
            "sweep": {
                "task": SWEEP,
                "schedule": settings.sweep_seconds,
                # While no worker runs, sweeps must not pile up.
                "options": {"expires": settings.sweep_seconds},
            }
        },
    )
    celery.steps["worker"].add(BeatWatch)
    if settings.mneme_ready_file is not None:
        worker_ready.connect(partial(_say_ready, settings.mneme_ready_file), weak=False)
    register(celery, Runtime(settings), sweep_seconds=settings.sweep_seconds)
    return celery


def _say_ready(file: Path, **_: object) -> None:
    file.touch()
