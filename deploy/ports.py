"""Which ports are free to listen on."""

import socket
from dataclasses import dataclass

from core.errors import ConfigurationError
from core.settings import Settings

LOOPBACK = "127.0.0.1"
NEARBY_PORTS = 50
"""How far from the usual port the next free one is looked for: a person should recognise it."""


@dataclass
class Port:
    """Where a part listens. A `fixed` one was asked for by the operator and stays what it is."""

    host: str
    number: int
    fixed: bool = False

    @classmethod
    def any(cls) -> "Port":
        """A free port on the loopback interface."""
        return cls(LOOPBACK, _any_free(LOOPBACK))

    @property
    def is_free(self) -> bool:
        return _is_free(self.host, self.number)

    @property
    def reached_at(self) -> str:
        """The address by which a process on this machine reaches it."""
        host = {"0.0.0.0": LOOPBACK, "": LOOPBACK, "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"[{host}]:{self.number}" if ":" in host else f"{host}:{self.number}"

    def renew(self) -> None:
        """Another free port, for when somebody else was quicker to take this one."""
        self.number = _any_free(self.host)


def http_port(settings: Settings) -> Port:
    """Where the service will listen: `HTTP_PORT`, or near it when nobody asked for that very one.

    Raises:
        ConfigurationError: it was asked for and is taken, or `HTTP_HOST` is no address of this machine.
    """
    host, wanted = settings.http_host, settings.http_port
    _check_host(host)
    if wanted == 0:
        return Port(host, _any_free(host))
    if "http_port" in settings.model_fields_set:
        port = Port(host, wanted, fixed=True)
        require_free(port)
        return port
    nearby = (number for number in range(wanted, wanted + NEARBY_PORTS) if _is_free(host, number))
    return Port(host, next(nearby, 0) or _any_free(host))


def require_free(port: Port) -> None:
    """Raises ConfigurationError, with the cure, when the port can't be listened on."""
    if not port.is_free:
        raise ConfigurationError(
            f"HTTP_PORT {port.number} is taken or not allowed on {port.host}: end what listens there,"
            " or set HTTP_PORT to another one (0: any free one)"
        )


def _check_host(host: str) -> None:
    try:
        _any_free(host)
    except OSError:
        raise ConfigurationError(
            f"HTTP_HOST {host!r} is no address of this machine: 127.0.0.1 is for this machine alone,"
            " 0.0.0.0 for its networks too"
        ) from None


def _listener(host: str, number: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do: not held up by TIME_WAIT
        listener.bind(address)
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    return listener


def _is_free(host: str, number: int) -> bool:
    try:
        _listener(host, number).close()
    except OSError:
        return False
    return True


def _any_free(host: str) -> int:
    with _listener(host, 0) as listener:
        return int(listener.getsockname()[1])
