import json
import os
from pathlib import Path

import pytest

from core.errors import AlreadyRunning, ConfigurationError
from deploy.data_directory import DataDirectory, Running, RunState

STATE = RunState(4711, url="http://127.0.0.1:8080", processes=(Running("redis", 4712, 12.5),))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_directory_is_made_for_its_user_alone(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "new" / "data")
    with data.held():
        assert mode(data.path) == 0o700
        assert mode(data.path / "run.json") == 0o600


def test_only_one_holds_it_and_the_other_learns_who(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    with data.held():
        data.write_state(STATE)
        with (
            pytest.raises(AlreadyRunning, match=r"pid 4711, http://127\.0\.0\.1:8080"),
            DataDirectory(tmp_path).held(),
        ):
            pass
    with DataDirectory(tmp_path).held():
        pass


def test_the_state_is_told_only_while_the_directory_is_held(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    assert data.state() is None
    with data.held():
        data.write_state(STATE)
        assert DataDirectory(data.path).state() == STATE
    assert data.state() is None
    assert not (data.path / "run.json").exists()


def test_what_a_killed_one_left_is_handed_on(tmp_path: Path) -> None:
    DataDirectory(tmp_path).write_state(STATE)
    with DataDirectory(tmp_path).held() as leftover:
        assert leftover == STATE


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "{}", '{"pid": 1, "processes": [{"no": 1}]}'])
def test_a_spoilt_state_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with DataDirectory(tmp_path).held() as leftover:
        assert leftover is None


def test_a_directory_that_cant_be_made_is_refused_with_its_cure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigurationError, match="set MNEME_DATA_DIR"),
        DataDirectory(tmp_path / "file" / "data").held(),
    ):
        pass


def test_the_state_hides_its_secrets_when_printed() -> None:
    assert "hunter2" not in repr(RunState(1, redis_url="redis://:hunter2@h", openai_api_key="hunter2"))


def test_a_password_stays_the_same_and_is_private(tmp_path: Path) -> None:
    first = DataDirectory(tmp_path).password("redis.password")
    assert DataDirectory(tmp_path).password("redis.password") == first
    assert len(first) == 48
    assert mode(tmp_path / "redis.password") == 0o600


def test_the_log_of_the_start_before_is_kept(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    data.folder("logs")
    data.turn_log("redis").write_text("first")
    data.turn_log("redis").write_text("second")
    assert data.log("redis").read_text() == "second"
    assert (tmp_path / "logs" / "redis.log.old").read_text() == "first"


def test_the_state_can_be_read_by_others_as_json(tmp_path: Path) -> None:
    DataDirectory(tmp_path).write_state(RunState(os.getpid()))
    assert json.loads((tmp_path / "run.json").read_text())["pid"] == os.getpid()
