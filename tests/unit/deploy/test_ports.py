import socket
from collections.abc import Iterator

import pytest

from core.errors import ConfigurationError
from core.settings import Settings
from deploy.ports import Port, http_port


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def settings(**named: object) -> Settings:
    return Settings(_env_file=None, **named)  # type: ignore[call-arg, arg-type]


def test_a_port_is_free_until_somebody_listens(taken: int) -> None:
    assert Port.any().is_free
    assert not Port("127.0.0.1", taken).is_free


def test_a_port_that_was_lost_is_renewed(taken: int) -> None:
    port = Port("127.0.0.1", taken)
    port.renew()
    assert port.number != taken
    assert port.is_free


def test_the_port_that_was_asked_for_is_taken_or_refused(taken: int) -> None:
    with pytest.raises(ConfigurationError, match=f"HTTP_PORT {taken}.*set HTTP_PORT"):
        http_port(settings(http_port=taken))


def test_the_usual_port_gives_way_to_the_next_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HTTP_PORT", raising=False)
    try:
        held = socket.create_server(("127.0.0.1", 8080))
    except OSError:
        held = socket.socket()  # somebody else holds it: as good
    with held:
        port = http_port(settings())
    assert port.number != 8080
    assert not port.fixed


def test_port_zero_is_any_free_port() -> None:
    assert http_port(settings(http_port=0)).number > 0


def test_a_host_of_another_machine_is_refused_with_its_cure() -> None:
    with pytest.raises(ConfigurationError, match=r"HTTP_HOST '192\.0\.2\.1'"):
        http_port(settings(http_host="192.0.2.1"))


@pytest.mark.parametrize(
    ("host", "reached_at"),
    [("0.0.0.0", "127.0.0.1:80"), ("::", "[::1]:80"), ("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80")],
)
def test_where_a_port_is_reached_from_this_machine(host: str, reached_at: str) -> None:
    assert Port(host, 80).reached_at == reached_at
