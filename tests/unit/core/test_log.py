"""Logs: readable or JSON, on standard error, without the libraries' tokens."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging, structlog
from core.log import set_up_logging
from core.settings import Settings
set_up_logging(Settings(_env_file=None, log_format={format!r}, log_level={level!r}))
structlog.get_logger().info("turn_ended", turn=7)
structlog.get_logger().debug("quiet")
logging.getLogger("somebody.else").warning("theirs")
logging.getLogger("httpx").info("GET https://api.telegram.org/bot123:SECRET/getMe")
logging.getLogger("telegram.ext").debug("SECRET")
logging.getLogger("aiosqlite").debug("executing INSERT with SECRET")
"""


def logged(format: str, level: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(format=format, level=level)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr


def test_json_is_a_line_an_event() -> None:
    events = [json.loads(line) for line in logged("json", "INFO").splitlines()]
    assert [event["event"] for event in events] == ["turn_ended", "theirs"]
    assert events[0]["turn"] == 7
    assert {event["level"] for event in events} == {"info", "warning"}
    assert all(event["timestamp"].endswith("Z") for event in events)


@pytest.mark.parametrize("format", ["console", "json"])
def test_no_level_lets_a_token_through(format: str) -> None:
    text = logged(format, "DEBUG")
    assert "SECRET" not in text
    assert "quiet" in text
    assert "turn_ended" in text


def test_an_errors_only_log_says_nothing_else() -> None:
    assert logged("console", "ERROR") == ""
