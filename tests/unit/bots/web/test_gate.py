"""The gate's judgement of where a request comes from."""

import pytest

from bots.web.gate import comes_from

HOME = "mneme.home:8080"
PUBLIC = "chat.example.org"


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": f"http://{HOME}"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": f"http://{HOME}"}, True),
        ({"Origin": f"https://{PUBLIC}"}, True),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": f"http://{HOME}.evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "http://[broken"}, False),
        ({}, False),
    ],
)
def test_only_our_own_pages_may_change_something(headers: dict[str, str], is_ours: bool) -> None:
    assert comes_from(headers, {HOME, PUBLIC}) is is_ours
