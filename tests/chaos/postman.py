"""Brings events to the bots as the platforms do, through a load balancer, and worse than they should."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import aiohttp

from bots.slack.adapter import EVENTS_PATH
from bots.telegram.adapter import WEBHOOK_PATH
from tests.chaos.words import Said
from tests.standins.slack_delivery import Delivery, signed_headers

PATIENCE_SECONDS = 3.0
RETRY_SECONDS = (0.2, 1.0)
COPIES = 3
HELD_BACK_SECONDS = 1.5
LATE_SECONDS = 4.0
TELEGRAM_SECRET = "a-Secret_1"

Headers = Callable[[bytes], Mapping[str, str]]


class Postman:
    """Posts to a bot of its choice until one says 2xx.

    Some events are held back, some come three times at once, some come again though they were acknowledged.
    """

    def __init__(self, doors: Sequence[str], chance: random.Random, signing_secret: str) -> None:
        self._doors = doors
        self._chance = chance
        self._signing_secret = signing_secret
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS))
        self._under_way: set[asyncio.Task[Any]] = set()
        self._said: dict[str, Said] = {}
        self.statuses: Counter[int] = Counter()
        """How often a bot gave each answer."""
        self.taken: Callable[[str], None] = lambda door: None
        """Hears which bot has just acknowledged a message."""
        self.fair = False
        """Once it is, every event is sent at once, and once."""

    def expect(self, said: Said) -> None:
        """Notes on `said` when an event of its key is handed over and acknowledged."""
        self._said[said.event] = said

    def bring_update(self, update: dict[str, Any], said: Said) -> None:
        """Delivers an update of Telegram's, in the background."""
        headers = {"X-Telegram-Bot-Api-Secret-Token": TELEGRAM_SECRET, "Content-Type": "application/json"}
        self._later(self._bring(WEBHOOK_PATH, json.dumps(update).encode(), lambda body: headers, said))

    async def deliver(self, delivery: Delivery, payload: dict[str, Any]) -> None:
        """Delivers an event of Slack's."""

        def headers(body: bytes) -> Mapping[str, str]:
            signed = signed_headers(self._signing_secret, body)
            if delivery.attempts:
                signed["X-Slack-Retry-Num"] = str(len(delivery.attempts))
                signed["X-Slack-Retry-Reason"] = "http_timeout"
            delivery.attempts.append("posted")
            return signed

        event = payload["event"]
        said = self._said.get(f"{event['channel']}:{event['ts']}")
        await self._bring(EVENTS_PATH, json.dumps(payload).encode(), headers, said)
        delivery.acknowledged = True

    async def close(self) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._session.close()

    async def _bring(self, path: str, body: bytes, headers: Headers, said: Said | None) -> None:
        luck = 1.0 if self.fair else self._chance.random()
        if luck < 0.1:
            await asyncio.sleep(self._chance.uniform(0, HELD_BACK_SECONDS))
        if said is not None:
            said.handed_over = min(said.handed_over, time.monotonic())
        copies = COPIES if 0.85 < luck < 1 else 1
        while not any(await asyncio.gather(*(self._post(path, body, headers, said) for _ in range(copies)))):
            await asyncio.sleep(self._chance.uniform(*RETRY_SECONDS))
        if said is not None:
            said.acknowledged = min(said.acknowledged, time.monotonic())
        if 0.1 < luck < 0.2:
            self._later(self._again(path, body, headers))

    async def _again(self, path: str, body: bytes, headers: Headers) -> None:
        await asyncio.sleep(self._chance.uniform(0.1, LATE_SECONDS))
        await self._post(path, body, headers, None)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _post(self, path: str, body: bytes, headers: Headers, said: Said | None) -> bool:
        door = self._chance.choice(self._doors)
        try:
            async with self._session.post(door + path, data=body, headers=headers(body)) as answer:
                self.statuses[answer.status] += 1
                is_taken = 200 <= answer.status < 300
        except (aiohttp.ClientError, TimeoutError):
            return False
        if is_taken and said is not None:
            self.taken(door)
        return is_taken
