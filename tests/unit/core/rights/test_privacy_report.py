"""The privacy report: true of the settings, complete, and without a secret."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from core.rights import privacy_report
from core.rights.data_map import TABLES
from core.rights.impact_assessment import RISKS
from core.settings import Settings
from core.storage.schema import metadata

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
COMMANDS = frozenset({"/memory", "/forget", "mneme user erase"})


def settings(**given: Any) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[call-arg]


def text(**given: Any) -> str:
    return privacy_report.write(settings(**given), COMMANDS, NOW).markdown()


def part(report: str, title: str) -> str:
    """A part of the report, from its heading to the next of its level or above."""
    found = re.search(
        rf"^(#+) {re.escape(title)}.*?$(.*?)(?=^#{{1,3}} |\Z)", report, re.MULTILINE | re.DOTALL
    )
    assert found, title
    return found[2]


def test_on_one_machine_nothing_leaves_and_nobody_gets_it() -> None:
    report = text(privacy_mode="local")
    assert "nothing leaves this machine" in part(report, "In short")
    assert "none beyond whoever runs this machine" in part(report, "Remembering what they told")
    assert "no other company reads along" in report


def test_who_gets_what_follows_from_the_settings() -> None:
    report = text(
        openai_api_key="k", telegram_bot_token="1:a", database_url="postgresql://u:hush@db.example/m"
    )
    assert "`api.openai.com`" in part(report, "Where it goes")
    talk, remember = part(report, "Answering people"), part(report, "Remembering what they told")
    assert all(host in talk for host in ("`api.telegram.org`", "`api.openai.com`", "`db.example`"))
    assert "api.openai.com" in remember
    assert "api.telegram.org" not in remember
    assert "api.openai.com" not in part(report, "Keeping the service running")
    assert "[To be filled in: the country of each of these hosts" in remember
    assert "whose operator is a processor" in report


def test_every_table_with_every_column_is_in_it() -> None:
    told = part(text(), "The record, table by table")
    for table in metadata.sorted_tables:
        row = next(line for line in told.splitlines() if line.startswith(f"| `{table.name}` |"))
        for column in table.columns:
            assert re.search(rf"\b{column.name}\b", row), f"{table.name}.{column.name}"


def test_a_right_names_only_commands_that_there_are() -> None:
    rights = part(text(), "Rights of people")
    assert "| `/memory` | none |" in rights
    assert "| `/forget` | `mneme user erase` |" in rights
    assert "export" not in rights
    assert "[To be filled in: how you serve this" in rights


def test_how_people_are_told_follows_from_the_settings() -> None:
    assert "At first contact everybody is told" in part(text(), "Rights of people")
    assert "[To be filled in: how people are told" in part(text(privacy_notice=False), "Rights of people")


def test_articles_of_the_record_and_the_assessment_are_all_there() -> None:
    report = text()
    for item in ("(1b)", "(1c)", "(1d)", "(1e)", "(1f)", "Art. 32", "Art. 35(7)(a)", "Art. 35(7)(b)"):
        assert item in report
    assert report.count("[To be filled in: likelihood and severity") == len(RISKS)


@pytest.mark.parametrize("secret", ["hush", "1:token", "xoxb-token", "sk-key", "key-of-keys"])
def test_no_secret_is_in_it(secret: str) -> None:
    given = settings(
        telegram_bot_token="1:token",
        slack_bot_token="xoxb-token",
        openai_api_key="sk-key",
        mneme_master_key="key-of-keys",
        database_url="postgresql://u:hush@db.example/m",
        redis_url="redis://:hush@cache.example/0",
        chroma_url="http://u:hush@index.example:8000",
        openai_base_url="https://u:hush@model.example/v1",
    )
    made = privacy_report.write(given, COMMANDS, NOW)
    told = json.dumps(privacy_report.as_json(given, COMMANDS, NOW))
    assert secret not in made.markdown() + made.html() + told


def test_for_programs_the_same_is_told_as_an_object() -> None:
    told = json.loads(json.dumps(privacy_report.as_json(settings(openai_api_key="k"), COMMANDS, NOW)))
    assert told["format"] == privacy_report.FORMAT
    away = [each["host"] for each in told["destinations"] if not each["is_here"]]
    assert away == ["api.openai.com"]
    assert set(told["tables"]) == set(TABLES)
    assert told["tables"]["messages"]["sealed"] == ["text_sealed"]
