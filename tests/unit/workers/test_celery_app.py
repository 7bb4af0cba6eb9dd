"""What Celery is told, so that no task is lost, doubled or piled up."""

from pathlib import Path

import pytest

from core.errors import ConfigurationError
from tests.conftest import make_settings
from workers.celery_app import HARD_LIMIT_SECONDS, QUEUE, make_celery
from workers.tasks import RUN_JOB


def test_it_needs_a_redis() -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        make_celery(make_settings(redis_url=None))


def test_what_its_promises_rest_on() -> None:
    conf = make_celery(make_settings(redis_url="redis://127.0.0.1:9/0")).conf
    assert (conf.task_serializer, conf.accept_content) == ("json", ["json"])
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.task_ignore_result
    assert conf.worker_prefetch_multiplier == 1
    assert conf.broker_connection_max_retries is None
    assert conf.task_time_limit == HARD_LIMIT_SECONDS
    assert conf.broker_transport_options["visibility_timeout"] > HARD_LIMIT_SECONDS
    assert conf.task_default_queue == QUEUE


def test_sweeps_come_by_and_do_not_pile_up() -> None:
    celery = make_celery(make_settings(redis_url="redis://127.0.0.1:9/0", sweep_seconds=7))
    (sweep,) = celery.conf.beat_schedule.values()
    assert sweep["task"] in celery.tasks
    assert (sweep["schedule"], sweep["options"]["expires"]) == (7, 7)


def test_two_of_them_in_one_process_keep_apart(tmp_path: Path) -> None:
    one, other = (
        make_celery(make_settings(redis_url=f"redis://127.0.0.1:{port}/0", mneme_ready_file=tmp_path / "x"))
        for port in (9, 10)
    )
    assert one.tasks[RUN_JOB].run is not other.tasks[RUN_JOB].run
    assert not (tmp_path / "x").exists()
