from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bots.slack.signature import is_signed

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
TIMESTAMP = "1531420618"
SIGNATURE = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
"""The worked example in Slack's documentation."""


def signed(timestamp: str = TIMESTAMP, signature: str = SIGNATURE, after_seconds: float = 0) -> bool:
    now = 1531420618 + after_seconds
    return is_signed(SECRET, timestamp=timestamp, signature=signature, body=BODY, now_seconds=now)


def test_slacks_own_example_is_signed() -> None:
    assert signed()


def test_for_five_minutes_either_way() -> None:
    assert signed(after_seconds=300)
    assert signed(after_seconds=-300)
    assert not signed(after_seconds=301)
    assert not signed(after_seconds=-301)


@unhurried
@given(st.text(), st.text())
def test_nothing_else_is_and_nothing_raises(timestamp: str, signature: str) -> None:
    assert not signed(signature=signature)
    assert not signed(timestamp=timestamp, signature=signature)
    assert not signed(signature=SIGNATURE.upper())


@unhurried
@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_lone_surrogates_do_not_raise(timestamp: str, signature: str) -> None:
    assert not signed(timestamp=timestamp, signature=signature)
