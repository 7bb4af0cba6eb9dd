"""What may leave: with PRIVACY_MODE=local, connections to this machine and to the listed platforms alone.

It stands on Python's audit events, which every socket of every library here raises. libpq is written in C and
raises none: what DATABASE_URL names is checked at the start.
"""

import _socket
import socket
import sys
import time
from collections.abc import Callable, Collection
from fnmatch import fnmatchcase
from typing import Any, NoReturn
from urllib.request import getproxies

import structlog
from prometheus_client import Counter

from core.destinations import Destination, destinations, is_this_machine
from core.errors import ConfigurationError, EgressRefused
from core.settings import Settings

REFUSED = Counter("mneme_connections_refused", "Connections and lookups that PRIVACY_MODE=local refused.")
NOTED_SECONDS = 600.0
"""How long an address that a platform's name stood for may be connected to."""
SHOWN_CHARS = 100

_WITHIN = {getattr(socket, name, None) for name in ("AF_UNIX", "AF_NETLINK", "AF_ALG")}
"""Sockets that end in this machine whatever their address."""
_PROXIES = ("http", "https", "all", "socks", "ws", "wss")

log = structlog.get_logger()


def enforce(settings: Settings) -> None:
    """Keeps this process, and what it forks, to what PRIVACY_MODE allows, until its end. It can't be undone.

    Raises:
        ConfigurationError: a setting leads elsewhere; the text is the cure.
    """
    if settings.privacy_mode != "local":
        return
    found = destinations(settings)
    _check(found)
    wall = Wall({each.host for each in found if each.is_platform})
    sys.addaudithook(wall.hear)
    # Beneath the function that everybody calls, or has imported: what a name stood for has to be known.
    _socket.getaddrinfo = wall.noting(_socket.getaddrinfo)
    for name in ("connect", "connect_ex", "sendto"):
        setattr(socket.socket, name, wall.before(getattr(socket.socket, name)))


def _check(found: Collection[Destination]) -> None:
    away = [each for each in found if not (each.is_platform or each.is_here)]
    if away:
        which = "; ".join(f"{each.what} at {each.host} (by {each.setting})" for each in away)
        raise ConfigurationError(
            f"PRIVACY_MODE=local, but this isn't on this machine: {which}. Another machine of a private "
            "network is another machine, too. Use 127.0.0.1 or a socket, or unset the variable, or set "
            "PRIVACY_MODE=open."
        )
    # Whatever goes through a proxy would look as if it went to the proxy alone.
    if set(getproxies()) & set(_PROXIES):
        raise ConfigurationError(
            "PRIVACY_MODE=local, but the environment names a proxy, which could pass anything on: start "
            "Mneme without HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, or set PRIVACY_MODE=open."
        )


class Wall:
    """Refuses what goes neither to this machine nor to a `listed` host, a name or a pattern of names.

    Names that aren't listed aren't looked up: that would tell them to whoever answers.
    """

    def __init__(self, listed: Collection[str], now: Callable[[], float] = time.monotonic) -> None:
        self._listed = frozenset(listed)
        self._now = now
        self._noted: dict[str, float] = {}
        self._judges: dict[str, Callable[..., None]] = {
            "socket.connect": self._reach,
            "socket.sendto": self._reach,
            "socket.sendmsg": self._reach,
            "socket.getaddrinfo": lambda host, *rest: self._look_up(host),
            "socket.gethostbyname": self._look_up,
            "socket.gethostbyaddr": self._look_up,
            "socket.getnameinfo": lambda address: self._look_up(address[0]),
        }

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook.

        Raises:
            EgressRefused: what is about to happen isn't allowed.
        """
        judge = self._judges.get(event)
        if judge is not None:
            judge(*arguments)

    def noting(self, look_up: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        """`look_up`, a getaddrinfo, which from now on tells the wall the addresses of listed names."""

        def noted(host: Any, *rest: Any, **named: Any) -> list[Any]:
            found = look_up(host, *rest, **named)
            if self._is_listed(_text(host)):
                now = self._now()
                kept = {known: until for known, until in self._noted.items() if until > now}
                self._noted = kept | {row[4][0]: now + NOTED_SECONDS for row in found}
            return found

        return noted

    def before(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A socket's `method`, whose last argument is an address: a name is judged before it is looked up."""

        def judged(end: socket.socket, *arguments: Any) -> Any:
            self._reach(end, arguments[-1])
            return method(end, *arguments)

        return judged

    def _reach(self, end: _socket.socket, address: Any) -> None:
        if end.family in _WITHIN or address is None:  # None: to where it is connected
            return
        if end.family not in (socket.AF_INET, socket.AF_INET6):
            self._refuse(f"address family {int(end.family)}")
        host = _text(address[0]) if isinstance(address, tuple) and address else "no address"
        if not (self._may_know(host) or self._noted.get(host, 0.0) > self._now()):
            self._refuse(host)

    def _look_up(self, host: Any) -> None:
        name = _text(host)
        if not (self._may_know(name) or name in self._noted):
            self._refuse(name)

    def _may_know(self, host: str) -> bool:
        return not host or self._is_listed(host) or is_this_machine(host)

    def _is_listed(self, host: str) -> bool:
        return any(fnmatchcase(host, pattern) for pattern in self._listed)

    def _refuse(self, host: str) -> NoReturn:
        shown = "".join(each if each.isprintable() else "?" for each in host[:SHOWN_CHARS])
        REFUSED.inc()
        log.error("connection_refused", host=shown)
        raise EgressRefused(shown)


def _text(host: Any) -> str:
    """A host as sockets are given it, in one form; "" for any address of this machine."""
    name = host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host or "")
    return name.lower().rstrip(".")
