"""Where a configuration has data sent, and what counts as this machine."""

import socket
from typing import Any

import pytest

from core.destinations import UNREADABLE, Destination, destinations, is_this_machine, leaving
from core.settings import Settings


def settings(**given: Any) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[call-arg]


def away(**given: Any) -> dict[str, str]:
    """What isn't on this machine, by the setting that chose it."""
    return {each.setting: each.host for each in destinations(settings(**given)) if not each.is_here}


@pytest.fixture(autouse=True)
def no_postgresql_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


def test_with_nothing_set_nothing_leaves() -> None:
    assert away() == {}
    assert leaving(settings()) == "nothing leaves this machine"


def test_each_server_is_named_with_the_setting_that_chose_it() -> None:
    assert away(openai_api_key="k") == {"OPENAI_API_KEY": "api.openai.com"}
    assert away(openai_api_key="k", openai_base_url="http://10.0.0.7:11434/v1") == {
        "OPENAI_BASE_URL": "10.0.0.7"
    }
    assert away(redis_url="redis://:hush@cache:6379/0", chroma_url="http://Index.Internal:8000") == {
        "REDIS_URL": "cache",
        "CHROMA_URL": "index.internal",
    }
    assert away(redis_url="unix:///run/redis.sock", openai_base_url="http://localhost:11434/v1") == {}
    assert away(chroma_url="http://[fe80::no/") == {"CHROMA_URL": UNREADABLE}


def test_a_platform_is_listed_once_it_is_set_up() -> None:
    def platforms(**given: Any) -> list[str]:
        return [each.host for each in destinations(settings(**given)) if each.is_platform]

    assert platforms() == []
    assert platforms(telegram_bot_token="1:a") == ["api.telegram.org"]
    assert platforms(slack_bot_token="x") == ["slack.com", "wss-*.slack.com"]
    assert platforms(slack_bot_token="x", slack_mode="http") == ["slack.com"]
    assert platforms(slack_bot_token="x", slack_api_base_url="https://www.slack-gov.com/api/") == [
        "www.slack-gov.com",
        "wss-*.slack-gov.com",
    ]


def test_what_leaves_is_said_by_host() -> None:
    told = leaving(settings(telegram_bot_token="1:a", openai_api_key="k", embedding_model="e"))
    assert told.startswith("data leaves for api.telegram.org (Telegram); ")
    assert told.endswith("api.openai.com (the language model, the embedding model)")


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("sqlite:////folder/mneme.db", [""]),
        ("postgresql:///mneme", [""]),
        ("postgresql:///mneme?host=/var/run/postgresql", [""]),
        ("postgresql://u:hush@db.example:5432/mneme", ["db.example"]),
        ("postgresql:///mneme?host=h1:5432&host=h2:5432", ["h1", "h2"]),
        ("postgresql://u@127.0.0.1/mneme?hostaddr=10.0.0.7", ["10.0.0.7", "127.0.0.1"]),
        ("postgresql:///mneme?service=elsewhere", [UNREADABLE]),
    ],
)
def test_every_host_that_libpq_may_try_is_known(url: str, hosts: list[str]) -> None:
    found = destinations(settings(database_url=url))
    assert [each.host for each in found if each.setting == "DATABASE_URL"] == hosts


def test_libpq_s_own_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOSTADDR", "10.0.0.7")
    assert away(database_url="postgresql://u@localhost/mneme") == {"DATABASE_URL": "10.0.0.7"}
    monkeypatch.setenv("PGSERVICE", "elsewhere")
    assert away(database_url="postgresql://u@localhost/mneme") == {"DATABASE_URL": UNREADABLE}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "localhost"]
)
def test_this_machine_is_known(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize(
    "host",
    (
        "198.51.100.1 ::ffff:198.51.100.1 10.255.255.254 2001:db8::1 224.0.0.251 255.255.255.255 "
        "localhost.evil.example example.org 2130706433 127.1 <broadcast>"
    ).split(),
)
def test_another_machine_is_another(host: str) -> None:
    assert not is_this_machine(host)


def test_an_address_of_ones_own_interface_is_this_machine() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # by UDP: chooses a way out, and sends nothing
        except OSError:
            pytest.skip("this machine has no network")
        assert is_this_machine(probe.getsockname()[0])


def test_a_file_is_no_other_machine() -> None:
    assert Destination("the database", "", "DATABASE_URL", "").is_here
