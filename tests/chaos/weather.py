"""What goes wrong at the platforms and at the model, at random from a seed."""

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

from aiohttp import web

from tests.standins import model, telegram

AT_TELEGRAM: Mapping[telegram.Fault, float] = {
    "flood": 0.04,
    "server_error": 0.01,
    "hang": 0.01,
    "close_before": 0.01,
    "close_after": 0.01,
    "garbage": 0.01,
}
AT_SLACK: Mapping[str, float] = {
    "429": 0.04,
    "500": 0.01,
    "hang": 0.01,
    "close_before": 0.01,
    "close_after": 0.01,
    "garbage": 0.01,
}
AT_THE_MODEL: Mapping[model.Fault, float] = {
    "busy": 0.03,
    "broken": 0.02,
    "hang": 0.01,
    "cut": 0.02,
    "no_finish": 0.02,
    "malformed_chunk": 0.02,
    "malformed_json": 0.02,
    "dropped": 0.02,
}
"""The share of calls that meet each fault."""
_WRITES = frozenset({"sendmessage", "editmessagetext", "chat.postmessage", "chat.update"})

F = TypeVar("F", bound=str)


class Weather:
    """Faults by rate; none any more once it is `fair`. `met` counts them by name."""

    def __init__(self, seed: str) -> None:
        self._chance = random.Random(f"{seed} weather")
        self.fair = False
        self.met: Counter[str] = Counter()

    def at_telegram(self, request: web.Request, params: dict[str, Any]) -> telegram.Fault | None:
        return self._draw(AT_TELEGRAM) if _writes(request) else None

    def at_slack(self, request: web.Request, given: dict[str, Any]) -> str | None:
        return self._draw(AT_SLACK) if _writes(request) else None

    def at_the_model(self, request: web.Request, body: dict[str, Any]) -> model.Fault | None:
        return self._draw(AT_THE_MODEL)

    def _draw(self, rates: Mapping[F, float]) -> F | None:
        luck = self._chance.random()
        if self.fair:
            return None
        for fault, rate in rates.items():
            luck -= rate
            if luck < 0:
                self.met[fault] += 1
                return fault
        return None


def _writes(request: web.Request) -> bool:
    return request.match_info["method"].lower() in _WRITES
