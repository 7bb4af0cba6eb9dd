"""Time, as something passed in: wall time for the record, monotonic time for measuring."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the core reads the time."""

    def now(self) -> datetime:
        """The wall time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
