"""The wall: what it lets out and what it refuses, asked as Python's audit events ask it."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from core.egress import NOTED_SECONDS, REFUSED, Wall
from core.errors import EgressRefused

PLATFORM, ITS_ADDRESS = "api.telegram.org", "203.0.113.5"


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def wall(time: Time) -> Wall:
    return Wall({PLATFORM, "wss-*.slack.com"}, now=time)


@pytest.fixture
def end() -> Iterator[socket.socket]:
    with socket.socket() as made:
        yield made


def answers(host: Any, port: Any, *rest: Any) -> list[Any]:
    """A name server that knows one address."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ITS_ADDRESS, port))]


@pytest.mark.parametrize("host", [PLATFORM, b"API.telegram.org.", "wss-primary.slack.com", "localhost", None])
def test_names_of_platforms_and_of_this_machine_are_looked_up(wall: Wall, host: Any) -> None:
    wall.hear("socket.getaddrinfo", (host, 443, 0, 1, 6))
    wall.hear("socket.gethostbyname", (host,))


@pytest.mark.parametrize(
    "host",
    [
        "leak.example",
        b"leak.example",
        "slack.com",
        "wss-a.slack.com.evil.example",
        "evilapi.telegram.org",
        "api.telegram.org.evil.example",
        "198.51.100.1",
    ],
)
def test_no_other_name_is_looked_up(wall: Wall, host: Any) -> None:
    before = REFUSED._value.get()
    for event, arguments in (
        ("socket.getaddrinfo", (host, 443, 0, 1, 6)),
        ("socket.gethostbyname", (host,)),
        ("socket.gethostbyaddr", (host,)),
        ("socket.getnameinfo", ((host, 443),)),
    ):
        with pytest.raises(EgressRefused):
            wall.hear(event, arguments)
    assert REFUSED._value.get() == before + 4


def test_a_platform_is_reached_at_the_address_its_name_stood_for(
    wall: Wall, end: socket.socket, time: Time
) -> None:
    look_up = wall.noting(answers)
    look_up("leak.example", 443)  # whoever looked that up: its address isn't noted
    with pytest.raises(EgressRefused):
        wall.hear("socket.connect", (end, (ITS_ADDRESS, 443)))
    look_up(PLATFORM, 443)
    wall.hear("socket.connect", (end, (ITS_ADDRESS, 443)))
    time.now += NOTED_SECONDS + 1
    with pytest.raises(EgressRefused):
        wall.hear("socket.connect", (end, (ITS_ADDRESS, 443)))


@pytest.mark.parametrize("event", ["socket.connect", "socket.sendto", "socket.sendmsg"])
def test_other_machines_are_out_of_reach(wall: Wall, end: socket.socket, event: str) -> None:
    wall.hear(event, (end, ("127.0.0.1", 1)))
    wall.hear(event, (end, None))
    with pytest.raises(EgressRefused, match=r"198\.51\.100\.1"):
        wall.hear(event, (end, ("198.51.100.1", 1)))
    with socket.socket(socket.AF_INET6) as sixth, pytest.raises(EgressRefused, match="2001:db8::1"):
        wall.hear(event, (sixth, ("2001:db8::1", 1, 0, 0)))
    with socket.socket(socket.AF_UNIX) as within:
        wall.hear(event, (within, "/run/redis.sock"))


def test_a_refusal_is_a_failed_connection_that_says_why(wall: Wall, end: socket.socket) -> None:
    with pytest.raises(OSError, match="PRIVACY_MODE=local refuses leak") as caught:
        wall.hear("socket.connect", (end, ("leak\n.example" + "x" * 500, 1)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250
