"""Init data: what Telegram signed for this bot just now is taken, and nothing else."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from bots.telegram.init_data import AHEAD, FRESH, Unproven, read
from tests.standins.telegram_app import init_data

TOKEN = "123456789:AAStandInTokenStandInTokenStandInTk"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANA = 1_700_001


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"start_param": "a=b&c%20d"},
        {"signature": None, "query_id": None},
        {"chat_type": "sender", "chat_instance": "-1"},
    ],
)
def test_what_telegram_signs_is_taken(fields: dict[str, str | None]) -> None:
    data = read(init_data(TOKEN, ANA, NOW, **fields), TOKEN, NOW)
    assert (data.account, data.language, data.signed_at) == (str(ANA), "pt", NOW)


@pytest.mark.parametrize("age", [timedelta(), FRESH, -AHEAD])
def test_it_is_good_for_five_minutes(age: timedelta) -> None:
    assert read(init_data(TOKEN, ANA, NOW - age), TOKEN, NOW).account == str(ANA)


@pytest.mark.parametrize(
    "age", [FRESH + timedelta(seconds=1), timedelta(days=400), -AHEAD - timedelta(seconds=1)]
)
def test_neither_stale_nor_from_the_future(age: timedelta) -> None:
    with pytest.raises(Unproven, match="not of now"):
        read(init_data(TOKEN, ANA, NOW - age), TOKEN, NOW)


def test_another_bots_is_not_ours() -> None:
    with pytest.raises(Unproven, match="not signed for this bot"):
        read(init_data("987654321:AAAnother", ANA, NOW), TOKEN, NOW)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (str(ANA), str(ANA + 1)),
        ("auth_date=17", "auth_date=18"),
        ("query_id=AAH", "query_id=AAX"),
        ("&hash=", "&hash=0"),
        ("&hash=", "&extra=1&hash="),
        ("&hash=", "&hash=&x="),
        ("signature=", "signature=x"),
    ],
)
def test_what_was_tampered_with_is_not_taken(old: str, new: str) -> None:
    good = init_data(TOKEN, ANA, NOW)
    assert old in good
    with pytest.raises(Unproven):
        read(good.replace(old, new, 1), TOKEN, NOW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hash=",
        "hash",
        "&&",
        "%ff=%ff",
        "hash=é",
        "a=1&a=1&hash=0",
        "x=" + "1" * 9_000,
        "auth_date=1&hash=" + "0" * 64,
    ],
)
def test_nonsense_is_not_taken(text: str) -> None:
    with pytest.raises(Unproven):
        read(text, TOKEN, NOW)


@pytest.mark.parametrize("date", ["", "soon", "1e9", "9" * 40, "-1"])
def test_a_date_that_is_none_is_not_of_now(date: str) -> None:
    with pytest.raises(Unproven, match="not of now"):
        read(init_data(TOKEN, ANA, NOW, auth_date=date), TOKEN, NOW)


@pytest.mark.parametrize(
    "user", [None, "", "{}", "[1]", '{"id": "1"}', '{"id": 1, "is_bot": true}', "{" * 900]
)
def test_without_a_person_it_is_nobodys(user: str | None) -> None:
    with pytest.raises(Unproven, match="of no person"):
        read(init_data(TOKEN, ANA, NOW, user=user), TOKEN, NOW)


def test_a_field_named_twice_is_not_taken() -> None:
    good = init_data(TOKEN, ANA, NOW)
    other = quote('{"id":7}', safe="")
    with pytest.raises(Unproven):
        read(f"user={other}&{good}", TOKEN, NOW)
