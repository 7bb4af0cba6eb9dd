"""Talking to the running service from a terminal."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from bots.console.wire import LAST, NEW, PATH, console_key
from core.errors import ConfigurationError, InvalidMessage, Unavailable
from core.privacy.keys import load_master_key
from core.settings import Settings

CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply. `failed`: it is an honest line in an answer's place."""

    text: str
    conversation: str
    failed: bool = False
    memories: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "reply": self.text,
            "memories": self.memories,
            "left_out": self.left_out,
            "timings": self.timings,
            "conversation": self.conversation,
        }


class Terminal:
    """One person's line to the service."""

    def __init__(self, url: str, key: str, name: str) -> None:
        self._url = url
        self._key = key
        self._name = name

    @classmethod
    def of(cls, settings: Settings, url: str, name: str) -> "Terminal":
        """The line to the service at `url`, whose master key is that of the settings."""
        return cls(url, console_key(load_master_key(settings, make=False)), name)

    def ask(
        self, text: str, *, new: bool = False, on_text: Callable[[str], None] = lambda text: None
    ) -> Reply:
        """The reply to a message; `on_text` hears the reply so far as it grows.

        Raises:
            Unavailable: no service answers.
            InvalidMessage: it can't be a message; the text says why.
            ConfigurationError: the service has another master key.
        """
        body = {"as": self._name, "text": text, "conversation": NEW if new else LAST}
        last: dict[str, Any] = {}
        for line in self._lines(body):
            last = line
            on_text(line["text"])
        if not last.get("ended"):
            raise Unavailable("the service stopped before the reply was whole; it goes on when it is back")
        return Reply(
            text=last["text"],
            conversation=last["conversation"],
            failed=last["failed"],
            memories=last.get("memories", []),
            left_out=last.get("left_out", []),
            timings=last.get("timings", {}),
        )

    def _lines(self, body: dict[str, str]) -> Iterator[dict[str, Any]]:
        timeout = httpx.Timeout(CONNECT_SECONDS, read=None)
        try:
            with httpx.stream(
                "POST",
                self._url + PATH,
                json=body,
                headers={"Authorization": f"Bearer {self._key}"},
                timeout=timeout,
            ) as response:
                if response.status_code != httpx.codes.OK:
                    _refuse(response)
                for line in response.iter_lines():
                    yield json.loads(line)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"no Mneme answers at {self._url} ({type(error).__name__}): start it with `mneme run`"
            ) from error


def _refuse(response: httpx.Response) -> None:
    response.read()
    match response.status_code:
        case httpx.codes.BAD_REQUEST | httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            raise InvalidMessage(response.text)
        case httpx.codes.UNAUTHORIZED:
            raise ConfigurationError("the running Mneme has another master key: is MNEME_DATA_DIR the same?")
        case _:
            raise Unavailable(response.text or f"the service answered {response.status_code}")
