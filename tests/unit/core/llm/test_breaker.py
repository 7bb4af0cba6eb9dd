"""The breaker, by a clock that is moved by hand: whom it lets through, and when."""

import asyncio
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from core.errors import MnemeError, ModelRefused, ModelUnavailable, StreamCut
from core.llm.breaker import LONGEST_REST_SECONDS, Breaker, Breakers, BreakerState
from tests.standins.clock import StoppedClock

FAILURES = 3
REST_SECONDS = 10.0


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def breaker(clock: StoppedClock) -> Breaker:
    return Breaker("some-model", clock, failures=FAILURES, rest_seconds=REST_SECONDS)


def call(breaker: Breaker, error: BaseException | None = None) -> bool:
    """Makes a call that ends like this; returns whether it was let through."""
    reached = False
    try:
        with breaker.call():
            reached = True
            if error is not None:
                raise error
    except (MnemeError, asyncio.CancelledError):
        pass
    return reached


def break_it(breaker: Breaker) -> None:
    for _ in range(FAILURES):
        assert call(breaker, ModelUnavailable("away"))
    assert breaker.state is BreakerState.OPEN


@pytest.mark.parametrize("error", [ModelUnavailable("away"), StreamCut("cut")])
def test_failures_in_a_row_open_it_and_calls_fail_at_once(breaker: Breaker, error: MnemeError) -> None:
    for _ in range(FAILURES):
        assert call(breaker, error)
    assert not call(breaker)
    with pytest.raises(ModelUnavailable, match="some-model"), breaker.call():
        pass


@pytest.mark.parametrize("between", [None, ModelRefused("too long")])
def test_an_answer_between_them_begins_the_count_anew(breaker: Breaker, between: MnemeError | None) -> None:
    for _ in range(FAILURES * 2):
        for _ in range(FAILURES - 1):
            assert call(breaker, ModelUnavailable("away"))
        assert call(breaker, between)
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("error", [ModelRefused("too long"), asyncio.CancelledError()])
def test_a_refusal_and_a_caller_who_left_dont_open_it(breaker: Breaker, error: BaseException) -> None:
    for _ in range(FAILURES * 3):
        assert call(breaker, error)
    assert breaker.state is BreakerState.CLOSED


def test_one_call_tries_when_the_rest_is_over(breaker: Breaker, clock: StoppedClock) -> None:
    break_it(breaker)
    clock.advance(REST_SECONDS - 0.001)
    assert not call(breaker)
    clock.advance(0.001)
    with breaker.call():
        assert not call(breaker)
        assert not call(breaker)
    assert breaker.state is BreakerState.CLOSED
    assert call(breaker)


def test_a_probe_that_was_given_up_lets_another_try(breaker: Breaker, clock: StoppedClock) -> None:
    break_it(breaker)
    clock.advance(REST_SECONDS)
    assert call(breaker, asyncio.CancelledError())
    assert breaker.state is not BreakerState.OPEN
    assert call(breaker)
    assert breaker.state is BreakerState.CLOSED


def test_each_failed_probe_doubles_the_rest_up_to_a_limit(breaker: Breaker, clock: StoppedClock) -> None:
    break_it(breaker)
    rest = REST_SECONDS
    for _ in range(40):
        clock.advance(rest - 0.001)
        assert not call(breaker)
        clock.advance(0.001)
        assert call(breaker, ModelUnavailable("still away"))
        rest = min(rest * 2, LONGEST_REST_SECONDS)
    clock.advance(rest)
    assert call(breaker)
    break_it(breaker)
    clock.advance(REST_SECONDS)
    assert call(breaker)


def test_what_an_earlier_call_says_comes_too_late(breaker: Breaker, clock: StoppedClock) -> None:
    with ExitStack() as calls:
        calls.enter_context(breaker.call())
        break_it(breaker)
    assert breaker.state is BreakerState.OPEN
    with pytest.raises(ModelUnavailable), breaker.call():
        pass


async def test_of_many_calls_at_once_one_tries(breaker: Breaker, clock: StoppedClock) -> None:
    break_it(breaker)
    clock.advance(REST_SECONDS)
    let_through = 0

    async def ask() -> None:
        nonlocal let_through
        with breaker.call():
            let_through += 1
            await asyncio.sleep(0)

    ends = await asyncio.gather(*(ask() for _ in range(50)), return_exceptions=True)
    assert let_through == 1
    assert [type(end) for end in ends].count(ModelUnavailable) == 49


def test_its_state_is_a_gauge_and_each_change_a_line(breaker: Breaker, clock: StoppedClock) -> None:
    def shown() -> float | None:
        return REGISTRY.get_sample_value("mneme_model_breaker", {"model": "some-model"})

    assert shown() == 0
    with capture_logs() as lines:
        break_it(breaker)
        assert shown() == 2
        clock.advance(REST_SECONDS)
        with breaker.call():
            assert shown() == 1
        assert shown() == 0
    assert [line["state"] for line in lines] == ["open", "half_open", "closed"]
    assert lines[0]["rest_seconds"] == REST_SECONDS


def test_models_have_a_breaker_each(clock: StoppedClock) -> None:
    breakers = Breakers(clock, failures=FAILURES, rest_seconds=REST_SECONDS)
    break_it(breakers.of("one"))
    assert not call(breakers.of("one"))
    assert call(breakers.of("another"))


@dataclass
class Open:
    """A call under way."""

    held: AbstractContextManager[None]
    openings: int


class AnyCourse(RuleBasedStateMachine):
    """Calls that begin and end in any order and any way, while time passes."""

    @initialize()
    def begin(self) -> None:
        self.clock = StoppedClock()
        self.breaker = Breaker("some-model", self.clock, failures=FAILURES, rest_seconds=REST_SECONDS)
        self.calls: list[Open] = []
        self.openings = 0
        self.rests_until = 0.0

    def is_probed(self) -> bool:
        # Who was let through before it opened isn't the one who tries.
        return self.breaker.state is BreakerState.HALF_OPEN and any(
            call.openings == self.openings for call in self.calls
        )

    @rule()
    def ask(self) -> None:
        is_resting = self.breaker.state is BreakerState.OPEN
        was_probed = self.is_probed()
        held = self.breaker.call()
        try:
            held.__enter__()
        except ModelUnavailable:
            assert is_resting or was_probed
            return
        assert not is_resting
        assert not was_probed
        self.calls.append(Open(held, self.openings))

    @rule(data=st.data(), error=st.sampled_from([None, ModelUnavailable("x"), ModelRefused("x"), OSError()]))
    def answer(self, data: st.DataObject, error: Exception | None) -> None:
        if not self.calls:
            return
        ended = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        before = self.breaker.state
        ended.held.__exit__(type(error) if error else None, error, None)
        after = self.breaker.state
        if before is BreakerState.OPEN:
            assert after is BreakerState.OPEN, "only time ends a rest"
        if before is BreakerState.CLOSED and after is BreakerState.OPEN:
            assert isinstance(error, ModelUnavailable)
        if after is BreakerState.OPEN and before is not BreakerState.OPEN:
            self.openings += 1
            self.rests_until = self.clock.monotonic() + REST_SECONDS
        if after is BreakerState.CLOSED and before is not BreakerState.CLOSED:
            assert not isinstance(error, ModelUnavailable)

    @rule(seconds=st.floats(0.1, LONGEST_REST_SECONDS))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def rests_at_least_as_long_as_it_should(self) -> None:
        if self.clock.monotonic() < self.rests_until:
            assert self.breaker.state is BreakerState.OPEN


TestAnyCourse = AnyCourse.TestCase
