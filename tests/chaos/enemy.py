"""Who kills, stops and wipes at random, in an order that the seed decides."""

import asyncio
import random
import time
from collections.abc import Callable

import redis

from tests.chaos.charge import Charge
from tests.chaos.house import House

PAUSE_SECONDS = (0.3, 2.0)
START_SECONDS = 6.0
"""So long a start takes here: who is killed before has done nothing yet."""
SPARED_SHARE = 0.85
"""Of those who are still starting."""
DOWN_SECONDS = (0.0, 2.0)
STOP_LEASES = (0.1, 2.5)
"""How long something stands still, in lane leases: longer than one, and it wakes as a ghost."""

Act = Callable[[], str]


class Enemy:
    """Acts until told to end; `tell` gets a line for each act."""

    def __init__(self, house: House, seed: str, tell: Callable[[str], None]) -> None:
        self._house = house
        self._chance = random.Random(f"{seed} enemy")
        self._tell = tell
        self._lease_seconds = house.settings.lease_seconds

    async def rage(self, seconds: float) -> None:
        began = time.monotonic()
        acts: dict[Act, float] = {
            self._kill_bot: 4,
            self._kill_worker: 3,
            self._kill_pool: 1,
            self._stop_bot: 3,
            self._stop_worker: 2,
            self._kill_redis: 1,
            self._wipe_redis: 1,
            self._stop_redis: 0.5,
            self._kill_chroma: 1,
            self._stop_chroma: 0.5,
        }
        while (left := began + seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(left, self._chance.uniform(*PAUSE_SECONDS)))
            (act,) = self._chance.choices(list(acts), list(acts.values()))
            done = await asyncio.to_thread(act)
            self._tell(f"{time.monotonic() - began:7.1f} s  {done}")

    def _kill_bot(self) -> str:
        return self._kill(self._chance.choice(self._house.bots))

    def _kill_worker(self) -> str:
        return self._kill(self._chance.choice(self._house.workers))

    def _kill_pool(self) -> str:
        worker = self._chance.choice(self._house.workers)
        return f"kill -9 a child of {worker.name}{'' if worker.kill_child() else ': there is none'}"

    def _kill_redis(self) -> str:
        return self._kill(self._house.redis)

    def _kill_chroma(self) -> str:
        return self._kill(self._house.chroma)

    def _stop_bot(self) -> str:
        return self._stop(self._chance.choice(self._house.bots))

    def _stop_worker(self) -> str:
        return self._stop(self._chance.choice(self._house.workers))

    def _stop_redis(self) -> str:
        return self._stop(self._house.redis)

    def _stop_chroma(self) -> str:
        return self._stop(self._house.chroma)

    def _wipe_redis(self) -> str:
        url = self._house.settings.redis_url
        assert url is not None
        try:
            with redis.Redis.from_url(url.get_secret_value(), socket_timeout=1) as client:
                client.flushall()
        except redis.RedisError:
            return "wipe redis: it is away"
        return "wipe redis"

    def _kill(self, charge: Charge) -> str:
        down_seconds = self._chance.uniform(*DOWN_SECONDS)
        is_starting = time.monotonic() - charge.started_at < START_SECONDS
        if self._chance.random() < SPARED_SHARE and is_starting:
            return f"spare {charge.name}, which is starting"
        if charge.kill(down_seconds):
            return f"kill -9 {charge.name}, away for {down_seconds:.1f} s"
        return f"kill -9 {charge.name}: it is down"

    def _stop(self, charge: Charge) -> str:
        seconds = self._lease_seconds * self._chance.uniform(*STOP_LEASES)
        if charge.stop(seconds):
            return f"stop {charge.name} for {seconds:.1f} s"
        return f"stop {charge.name}: it doesn't run"
