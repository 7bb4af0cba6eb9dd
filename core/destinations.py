"""Where this configuration has data sent, and which of it is this machine.

Nobody is asked: looking a name up would tell it to somebody.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil

from core.settings import Settings
from core.storage.database import database_url

OPENAI_HOST = "api.openai.com"
UNREADABLE = "(no host that can be read)"
HOSTS_FILE = Path("/etc/hosts")

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Destination:
    """A server that this configuration talks to.

    `setting` is the variable that chooses it, `gets` what it is sent. `host` is a name or an address; "" for
    a file or a socket of this machine; for names that a platform hands out a pattern, as "wss-*.slack.com".
    """

    what: str
    host: str
    setting: str
    gets: str
    is_platform: bool = False

    @property
    def is_here(self) -> bool:
        return not self.host or is_this_machine(self.host)


def destinations(settings: Settings) -> list[Destination]:
    """All of them, platforms first.

    Raises:
        ConfigurationError: `DATABASE_URL` can't be read.
    """
    return [*_platforms(settings), *_models(settings), *_stores(settings)]


def leaving(settings: Settings) -> str:
    """For which other machines data leaves this one, in a few words.

    Raises:
        ConfigurationError: as `destinations`.
    """
    hosts: dict[str, list[str]] = {}
    for each in destinations(settings):
        if not each.is_here:
            hosts.setdefault(each.host, []).append(each.what)
    told = "; ".join(f"{host} ({', '.join(what)})" for host, what in hosts.items())
    return f"data leaves for {told}" if told else "nothing leaves this machine"


def _platforms(settings: Settings) -> Iterator[Destination]:
    gets = "replies, to the accounts that wrote; it has what people wrote there anyway"
    if settings.telegram_bot_token is not None:
        host = _host(settings.telegram_api_base_url)
        yield Destination("Telegram", host, "TELEGRAM_API_BASE_URL", gets, is_platform=True)
    if settings.slack_bot_token is not None:
        host = _host(settings.slack_api_base_url)
        yield Destination("Slack", host, "SLACK_API_BASE_URL", gets, is_platform=True)
        if settings.slack_mode == "socket" and not _address(host):
            # apps.connections.open names the host of each connection, such as wss-primary.slack.com.
            handed_out = f"wss-*.{host.removeprefix('www.')}"
            gets = "acknowledgements of what it delivers"
            yield Destination("Slack's events", handed_out, "SLACK_API_BASE_URL", gets, is_platform=True)


def _models(settings: Settings) -> Iterator[Destination]:
    named = settings.openai_base_url
    setting = "OPENAI_BASE_URL" if named else "OPENAI_API_KEY"
    host = _host(named) if named else OPENAI_HOST if settings.openai_api_key else "127.0.0.1"
    gets = "prompts: recent messages, a summary, what was recalled; and what is read for memories"
    yield Destination("the language model", host, setting, gets)
    if settings.embedding_model is not None:
        yield Destination("the embedding model", host, setting, "statements, memories and questions")


def _stores(settings: Settings) -> Iterator[Destination]:
    record = "the record: what people said is sealed, their accounts are keyed digests"
    for host in _database_hosts(settings):
        yield Destination("the database", host, "DATABASE_URL", record)
    redis = settings.redis_url.get_secret_value() if settings.redis_url else "redis://127.0.0.1"
    host = "" if redis.startswith("unix://") else _host(redis)
    yield Destination("Redis", host, "REDIS_URL", "numbers of rows, keyed digests of chats")
    index = "opaque ids, vectors turned by each person's secret rotation; no text"
    yield Destination("Chroma", _host(settings.chroma_url or "http://127.0.0.1"), "CHROMA_URL", index)


def _database_hosts(settings: Settings) -> list[str]:
    """Every place that libpq may connect to: its environment has a say, too."""
    url = database_url(settings)
    if url.get_backend_name() == "sqlite":
        return [""]
    url = url.set(drivername="postgresql+psycopg")
    asked = url.get_dialect()().create_connect_args(url)[1]

    def hosts(name: str) -> list[str]:
        return str(asked.get(name) or os.environ.get(f"PG{name.upper()}", "")).split(",")

    if hosts("service") != [""]:
        return [UNREADABLE]  # another file says where
    found = [unquote(host) for host in (*hosts("host"), *hosts("hostaddr"))]
    return sorted({"" if host.startswith(("/", "@")) else host for host in found} - {""}) or [""]


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".") or UNREADABLE
    except ValueError:
        return UNREADABLE


def is_this_machine(host: str) -> bool:
    """Whether an address or a name stands for this machine."""
    address = _address(host)
    if address is None:
        return host.lower() == "localhost" or host.lower() in _names_of_this_machine()
    return _is_own(address)


def _is_own(address: Address) -> bool:
    return address.is_loopback or address.is_unspecified or address in _interface_addresses()


def _address(host: str) -> Address | None:
    """The address that a text is, without its zone; None for a name."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _interface_addresses() -> set[Address | None]:
    """As they are now: a machine may get another address at any time."""
    return {_address(each.address) for found in psutil.net_if_addrs().values() for each in found} - {None}


def _names_of_this_machine() -> set[str]:
    """What the hosts file, which is read before anybody is asked, calls this machine."""
    names: set[str] = set()
    with suppress(OSError):
        for line in HOSTS_FILE.read_text(errors="replace").splitlines():
            address, *called = line.partition("#")[0].split() or [""]
            if (parsed := _address(address)) is not None and _is_own(parsed):
                names.update(name.lower() for name in called)
    return names
