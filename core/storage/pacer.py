"""The pacer: how often platforms are written to, counted in Redis for all processes together."""

import asyncio
from bisect import insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

CALL_TIMEOUT_SECONDS = 2.0
ALONE_SECONDS = 10.0
"""How long a process counts for itself once Redis was away."""
KEYS_KEPT = 10_000

_MICRO = 1_000_000
_BOOK = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local n = #KEYS / 2
local at = now
for i = 1, n do
  local count, span = tonumber(ARGV[1 + 2 * i]), tonumber(ARGV[2 + 2 * i])
  local rest = redis.call('PTTL', KEYS[n + i])
  if rest > 0 then at = math.max(at, now + rest * 1000) end
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now - span)
  local booked = redis.call('ZCARD', KEYS[i])
  if booked >= count then
    local nth = redis.call('ZRANGE', KEYS[i], booked - count, booked - count, 'WITHSCORES')
    at = math.max(at, tonumber(nth[2]) + span)
  end
end
if at - now <= tonumber(ARGV[1]) then
  for i = 1, n do
    redis.call('ZADD', KEYS[i], at, ARGV[2])
    redis.call('PEXPIRE', KEYS[i], math.ceil((at - now + tonumber(ARGV[2 + 2 * i])) / 1000))
  end
end
return at - now
"""
"""KEYS: a window for each limit, then the rest of each. ARGV: within, a name, then count and span of each."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` writes in any `seconds` to what `key` names. Windows of other lengths count apart."""

    key: str
    count: int
    seconds: float


class Pacer:
    """Books writes. While Redis is away, each process keeps to the limits by itself."""

    def __init__(self, redis_url: str) -> None:
        self._redis: Redis = Redis.from_url(
            redis_url, socket_timeout=CALL_TIMEOUT_SECONDS, socket_connect_timeout=CALL_TIMEOUT_SECONDS
        )
        self._script = self._redis.register_script(_BOOK)
        self._alone = _Windows()
        self._alone_until = 0.0

    async def book(self, limits: Sequence[Limit], *, within_seconds: float) -> float:
        """Books the next write for which all limits leave room, if that is within so many seconds.

        Returns after how many seconds it may be made. More than `within_seconds`: nothing is booked.
        """
        if not limits:
            return 0.0
        if _time() >= self._alone_until:
            keys = [f"mneme:pace:{limit.key}:{limit.seconds:g}" for limit in limits]
            keys += [f"mneme:rest:{limit.key}" for limit in limits]
            spans = [n for limit in limits for n in (limit.count, int(limit.seconds * _MICRO))]
            try:
                wait = await self._script(keys, [int(within_seconds * _MICRO), uuid4().hex, *spans])
                return float(wait) / _MICRO
            except (RedisError, OSError) as error:
                self._go_alone(error)
        return self._alone.book(limits, within_seconds)

    async def rest(self, key: str, seconds: float) -> None:
        """Lets no process write to what the key names for so long."""
        self._alone.rest(key, seconds)
        if seconds <= 0 or _time() < self._alone_until:
            return
        try:
            await self._redis.set(f"mneme:rest:{key}", "1", px=int(seconds * 1000) + 1)
        except (RedisError, OSError) as error:
            self._go_alone(error)

    async def close(self) -> None:
        await self._redis.aclose()

    def _go_alone(self, error: Exception) -> None:
        self._alone_until = _time() + ALONE_SECONDS
        log.warning("pacing_alone", reason=type(error).__name__)


class _Windows:
    """The same in this process: when writes were made or will be, by limit."""

    def __init__(self) -> None:
        self._booked: defaultdict[tuple[str, float], list[float]] = defaultdict(list)
        self._rests: dict[str, float] = {}

    def book(self, limits: Sequence[Limit], within_seconds: float) -> float:
        now = at = _time()
        for limit in limits:
            booked = self._booked[limit.key, limit.seconds]
            booked[:] = [time for time in booked if time > now - limit.seconds]
            if len(booked) >= limit.count:
                at = max(at, booked[-limit.count] + limit.seconds)
            at = max(at, self._rests.get(limit.key, 0.0))
        if at - now <= within_seconds:
            for limit in limits:
                insort(self._booked[limit.key, limit.seconds], at)
        self._clear(now)
        return at - now

    def rest(self, key: str, seconds: float) -> None:
        self._rests[key] = _time() + seconds
        self._clear(_time())

    def _clear(self, now: float) -> None:
        if len(self._booked) + len(self._rests) > KEYS_KEPT:
            for name in [name for name, times in self._booked.items() if times[-1:] < [now - name[1]]]:
                del self._booked[name]
            self._rests = {key: until for key, until in self._rests.items() if until > now}


def _time() -> float:
    return asyncio.get_running_loop().time()
