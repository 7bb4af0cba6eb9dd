"""Time that a test moves."""

from datetime import UTC, datetime, timedelta

from core.clock import SystemClock

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class StoppedClock:
    """Stands still until it is moved."""

    def __init__(self, now: datetime = NOON) -> None:
        self._start = now
        self._passed = 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        return self._passed

    def advance(self, seconds: float) -> None:
        self._passed += seconds


class MovedClock(SystemClock):
    """Runs like the machine's own, from another time of day."""

    def __init__(self) -> None:
        self._moved = timedelta()

    def now(self) -> datetime:
        return super().now() + self._moved

    def set(self, now: datetime) -> None:
        self._moved = now - super().now()
