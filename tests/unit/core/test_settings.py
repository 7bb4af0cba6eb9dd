"""The settings: each documented, each checked, and no secret ever shown."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.errors import ConfigurationError
from core.memory.claims import Kind
from core.settings import (
    LEAST_BUDGET_TOKENS,
    RETENTION_KINDS,
    TRANSCRIPT,
    Settings,
    example,
    load_settings,
)

ROOT = Path(__file__).parents[3]
SECRETS = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a `.env`, an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_example_file_is_the_settings_own() -> None:
    assert (ROOT / ".env.example").read_text() == example()


def test_every_setting_is_documented_and_every_line_of_the_example_is_one() -> None:
    named = re.findall(r"^# ([A-Z_]+)=", example(), re.MULTILINE)
    assert len(named) == len(set(named))
    for name, field in Settings.model_fields.items():
        assert field.description, name
        internal = isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("internal")
        assert (name.upper() in named) is not bool(internal), name


def test_the_example_copied_and_uncommented_changes_nothing() -> None:
    settings = [line.lstrip("# ") for line in example().splitlines() if re.match(r"# [A-Z_]+=", line)]
    Path(".env").write_text("\n".join(settings))
    assert load_settings() == Settings(_env_file=None)  # type: ignore[call-arg]


def test_empty_values_are_unset_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(name.upper(), "")
    assert load_settings() == Settings(_env_file=None)  # type: ignore[call-arg]


def test_access_may_go_by_its_former_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for written, meant in (("code", "invite"), ("open", "open"), ("", "invite")):
        monkeypatch.setenv("ACCESS", written)
        assert load_settings().access == meant


def test_the_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("HTTP_PORT=1111\nLOG_LEVEL=DEBUG\nNOT_OURS=1\n")
    monkeypatch.setenv("HTTP_PORT", "2222")
    settings = load_settings()
    assert (settings.http_port, settings.log_level) == (2222, "DEBUG")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PORT", "eighty-eighty"),
        ("HTTP_PORT", "65536"),
        ("TELEGRAM_MODE", "pulling"),
        ("ACCESS", "everybody"),
        ("LOG_LEVEL", "LOUD"),
        ("BURST_SECONDS", "-1"),
        ("LEASE_SECONDS", "nan"),
        ("SWEEP_SECONDS", "inf"),
        ("INDEX_COLLECTIONS", "0"),
        ("PROMPT_TOKENS", "499"),
        ("TOKENS_PER_DAY", "-1"),
        ("TOKENS_PER_USER_DAY", "499"),
        ("MODEL_SILENCE_SECONDS", "-1"),
        ("MNEME_DATA_DIR", "~no-such-person-here/mneme"),
    ],
)
def test_a_bad_value_is_named_but_not_told(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name) as caught:
        load_settings()
    assert value not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)


def test_a_budget_has_room_for_some_calls_or_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENS_PER_DAY", "0")
    monkeypatch.setenv("TOKENS_PER_USER_DAY", str(LEAST_BUDGET_TOKENS))
    assert load_settings().tokens_per_user_day == LEAST_BUDGET_TOKENS
    monkeypatch.setenv("PROMPT_TOKENS", str(LEAST_BUDGET_TOKENS))
    with pytest.raises(ConfigurationError, match="TOKENS_PER_USER_DAY"):
        load_settings()


def test_all_bad_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PORT", "x")
    monkeypatch.setenv("ACCESS", "x")
    with pytest.raises(ConfigurationError, match=r"HTTP_PORT.*ACCESS"):
        load_settings()


def test_a_file_that_cannot_be_read_is_named() -> None:
    Path(".env").write_bytes(b"HTTP_PORT=1\nOPENAI_API_KEY=\xff\xfe\n")
    with pytest.raises(ConfigurationError, match=r"\.env"):
        load_settings()


def test_a_process_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "~")  # what an account without a home folder amounts to
    with pytest.raises(ConfigurationError, match="MNEME_DATA_DIR"):
        load_settings()


def test_no_secret_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"telegram_bot_token", "slack_bot_token", "openai_api_key", "mneme_master_key"} <= set(SECRETS)
    assert {"database_url", "redis_url"} <= set(SECRETS)
    for name in SECRETS:
        monkeypatch.setenv(name.upper(), "hush-hush")
    settings = load_settings()
    assert "hush-hush" not in f"{settings!r} {settings} {settings.model_dump()}"
    secret = settings.openai_api_key
    assert isinstance(secret, SecretStr)
    assert secret.get_secret_value() == "hush-hush"


def test_addresses_are_joined_to_as_they_are_used() -> None:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        slack_api_base_url="http://slack.test/api",
        telegram_api_base_url="http://telegram.test//",
        chroma_url="http://chroma.test/",
    )
    assert settings.slack_api_base_url == "http://slack.test/api/"
    assert settings.telegram_api_base_url == "http://telegram.test"
    assert settings.chroma_url == "http://chroma.test"
    assert "~" not in str(Settings(_env_file=None, mneme_data_dir=Path("~/x")).mneme_data_dir)  # type: ignore[call-arg]


def test_how_long_things_are_kept_is_read_by_kind() -> None:
    assert set(RETENTION_KINDS) == {TRANSCRIPT, *Kind}
    settings = Settings(_env_file=None, retention=" transcript=365, event=90,")  # type: ignore[call-arg]
    assert settings.retention_days == {"transcript": 365, "event": 90}
    assert Settings(_env_file=None).retention_days == {}  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "text", ["365", "transcript", "messages=3", "event=0", "event=-1", "event=x", "event=1e9"]
)
def test_a_retention_that_can_not_be_read_names_the_cure(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("RETENTION", text)
    with pytest.raises(ConfigurationError, match=r"RETENTION: .*transcript=365"):
        load_settings()
