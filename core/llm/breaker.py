"""The circuit breaker: a model that keeps failing is left alone for a while, then tried by one call."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import structlog

from core.clock import Clock
from core.errors import ModelRefused, ModelUnavailable, StreamCut
from core.llm.metrics import BREAKER_STATE

LONGEST_REST_SECONDS = 300.0

log = structlog.get_logger()


class BreakerState(IntEnum):
    """As the gauge shows it."""

    CLOSED = 0
    """Every call is let through."""
    HALF_OPEN = 1
    """One call at a time is, to find out."""
    OPEN = 2
    """None is."""


class Breaker:
    """One model's breaker. Whoever asks and reports does so on one event loop, so no two can be in between.

    After `failures` calls in a row that failed it opens, and calls fail at once. When the rest is over one
    call is let through: its success closes the breaker, its failure opens it for twice as long.
    """

    def __init__(self, model: str, clock: Clock, *, failures: int, rest_seconds: float) -> None:
        self._model = model
        self._clock = clock
        self._most_failures = failures
        self._first_rest_seconds = rest_seconds
        self._failed = 0
        self._opened = 0
        self._open_until = 0.0
        self._is_probing = False
        self._epoch = 0
        """Grows with every change of state: what a call of an earlier state says comes too late."""
        self._state = BreakerState.CLOSED
        BREAKER_STATE.labels(model).set(self._state)

    @property
    def state(self) -> BreakerState:
        if self._state is BreakerState.OPEN and self._clock.monotonic() >= self._open_until:
            self._change(BreakerState.HALF_OPEN)
        return self._state

    @contextmanager
    def call(self) -> Iterator[None]:
        """One call within the block. `ModelUnavailable` or `StreamCut` out of it is a failure.

        A refusal is an answer: the model is there. A call that its caller gave up says nothing.

        Raises:
            ModelUnavailable: at once, because the model rests.
        """
        epoch = self._admit()
        is_answered: bool | None = None
        try:
            yield
            is_answered = True
        except (ModelUnavailable, StreamCut):
            is_answered = False
            raise
        except ModelRefused:
            is_answered = True
            raise
        finally:
            if epoch == self._epoch:
                self._report(is_answered)

    def _admit(self) -> int:
        state = self.state
        if state is BreakerState.OPEN or self._is_probing:
            raise ModelUnavailable(f"{self._model}: left alone for a while, because it kept failing")
        self._is_probing = state is BreakerState.HALF_OPEN
        return self._epoch

    def _report(self, is_answered: bool | None) -> None:
        self._is_probing = False
        if is_answered:
            self._failed = self._opened = 0
            if self._state is not BreakerState.CLOSED:
                self._change(BreakerState.CLOSED)
        elif is_answered is False:
            self._failed += 1
            if self._state is BreakerState.HALF_OPEN or self._failed >= self._most_failures:
                self._open()

    def _open(self) -> None:
        rest = min(self._first_rest_seconds * 2.0 ** min(self._opened, 30), LONGEST_REST_SECONDS)
        self._opened += 1
        self._open_until = self._clock.monotonic() + rest
        self._change(BreakerState.OPEN, rest_seconds=rest)

    def _change(self, state: BreakerState, **details: float) -> None:
        self._state = state
        self._epoch += 1
        BREAKER_STATE.labels(self._model).set(state)
        log.warning("model_breaker", model=self._model, state=state.name.lower(), **details)


class Breakers:
    """This process's breakers, one a model."""

    def __init__(self, clock: Clock, *, failures: int, rest_seconds: float) -> None:
        self._clock = clock
        self._failures = failures
        self._rest_seconds = rest_seconds
        self._of: dict[str, Breaker] = {}

    def of(self, model: str) -> Breaker:
        """The breaker that all who call this model share."""
        if model not in self._of:
            self._of[model] = Breaker(
                model, self._clock, failures=self._failures, rest_seconds=self._rest_seconds
            )
        return self._of[model]
