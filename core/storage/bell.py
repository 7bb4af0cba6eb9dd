"""The wake-up bell: tells other processes, through Redis, which row to look at. It carries row ids only.

A bell that isn't heard costs time, never a message: whoever waits also looks from time to time.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from core.errors import BellUnavailable
from core.storage.database import new_id

CHANNEL = "mneme:bell"
LIFE = "mneme:alive:"
CALL_TIMEOUT_SECONDS = 2.0
RECONNECT_SECONDS = 1.0
SILENT_SECONDS = 10.0
"""How long nothing is rung elsewhere once Redis let a ring hang: nobody's message waits for it again."""

log = structlog.get_logger()


class Bell:
    """Rings by topic, such as "lane:ID"; hears what other processes ring while `listening`."""

    def __init__(self, redis_url: str) -> None:
        self._redis: Redis = Redis.from_url(
            redis_url, socket_timeout=CALL_TIMEOUT_SECONDS, socket_connect_timeout=CALL_TIMEOUT_SECONDS
        )
        self._subscriber: Redis = Redis.from_url(redis_url, socket_connect_timeout=CALL_TIMEOUT_SECONDS)
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._hearers: list[Callable[[str], None]] = []
        self._heard = True
        self._silent_until = 0.0
        self._name = new_id()

    def on_ring(self, hearer: Callable[[str], None]) -> None:
        """Calls `hearer` with every topic that is rung, here or in another process."""
        self._hearers.append(hearer)

    async def ring(self, topic: str) -> None:
        """Rings here at once, and elsewhere if Redis is there; never raises for a Redis that isn't."""
        self._hear(topic)
        time = asyncio.get_running_loop().time
        if time() < self._silent_until:
            return
        try:
            await self._redis.publish(CHANNEL, f"{self._name} {topic}")
            self._note(heard=True)
        except (RedisError, OSError) as error:
            if isinstance(error, RedisTimeout):
                self._silent_until = time() + SILENT_SECONDS
            self._note(heard=False)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Returns at the next ring of what `event` was made for by `hearing`, or after some seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
        event.clear()

    @asynccontextmanager
    async def hearing(self, topic: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever the topic is rung."""
        event = asyncio.Event()
        self._waiting[topic].add(event)
        try:
            yield event
        finally:
            self._waiting[topic].discard(event)
            if not self._waiting[topic]:
                del self._waiting[topic]

    async def listen(self) -> None:
        """Hears other processes until cancelled; connects again for as long as it takes."""
        while True:
            try:
                async with self._subscriber.pubsub() as pubsub:
                    await pubsub.subscribe(CHANNEL)
                    async for message in pubsub.listen():
                        if message["type"] == "message":
                            self._hear_from_afar(message["data"].decode(errors="replace"))
            except (RedisError, OSError):
                self._note(heard=False)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def show_life(self, name: str, seconds: float) -> None:
        """Lets others see for some seconds that a part is alive.

        Raises:
            BellUnavailable: Redis is away.
        """
        try:
            await self._redis.set(LIFE + name, "1", px=int(seconds * 1000))
        except (RedisError, OSError) as error:
            raise BellUnavailable(type(error).__name__) from error

    async def is_alive(self, name: str) -> bool:
        """Whether the part has shown life lately. Raises `BellUnavailable` when Redis is away."""
        try:
            return bool(await self._redis.exists(LIFE + name))
        except (RedisError, OSError) as error:
            raise BellUnavailable(type(error).__name__) from error

    async def ping(self) -> None:
        """Raises `BellUnavailable` when Redis doesn't answer."""
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            raise BellUnavailable(type(error).__name__) from error

    async def close(self) -> None:
        await self._redis.aclose()
        await self._subscriber.aclose()

    def _hear_from_afar(self, words: str) -> None:
        ringer, _, topic = words.partition(" ")
        if ringer != self._name:  # our own rings were heard when we rang
            self._hear(topic)

    def _hear(self, topic: str) -> None:
        for event in self._waiting.get(topic, ()):
            event.set()
        for hearer in self._hearers:
            hearer(topic)

    def _note(self, *, heard: bool) -> None:
        if heard != self._heard:
            log.info("bell_back") if heard else log.warning("bell_gone")
        self._heard = heard
