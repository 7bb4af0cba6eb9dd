"""The one owner of retries: how often a call to a model is tried, for how long, and when not at all."""

from asyncio import timeout
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import openai
import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from core.clock import Clock
from core.errors import ModelUnavailable
from core.llm.breaker import Breakers
from core.llm.metrics import MODEL_RETRIES
from core.llm.refusals import retry_after_seconds, translated, worth_another_try
from core.settings import Settings

TRIES = 3
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 8.0

T = TypeVar("T")
log = structlog.get_logger()
_jitter = wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a model is waited for.

    `connect_seconds`: for its server to accept a connection. `first_word_seconds`: for its first word, all
    tries and the pauses between them together. `silence_seconds`: for the next word, once it speaks.
    """

    connect_seconds: float
    first_word_seconds: float
    silence_seconds: float

    @classmethod
    def from_settings(cls, settings: Settings) -> "Patience":
        return cls(
            settings.model_connect_seconds, settings.model_timeout_seconds, settings.model_silence_seconds
        )


class Tries:
    """Makes calls to models behind one address, each up to `TRIES` times, as long as a try can help."""

    def __init__(self, patience: Patience, breakers: Breakers) -> None:
        self.patience = patience
        self._breakers = breakers

    @classmethod
    def from_settings(cls, settings: Settings, clock: Clock) -> "Tries":
        failures, rest = settings.model_breaker_failures, settings.model_breaker_seconds
        return cls(Patience.from_settings(settings), Breakers(clock, failures=failures, rest_seconds=rest))

    def connect(self, api_key: str | None, base_url: str | None) -> openai.AsyncOpenAI:
        """A client that waits as told and never retries by itself."""
        longest = max(self.patience.first_word_seconds, self.patience.silence_seconds)
        return openai.AsyncOpenAI(
            api_key=api_key or "none",
            base_url=base_url or "https://api.openai.com/v1",
            max_retries=0,
            timeout=openai.Timeout(longest, connect=self.patience.connect_seconds),
        )

    async def make(self, model: str, setting: str, call: Callable[[], Awaitable[T]]) -> T:
        """What `call` returns; `setting` names the variable that chose the model.

        A server that asks for a longer pause than is left of the time isn't waited for at all.

        Raises:
            ModelUnavailable, ModelRefused, StreamCut: the last try's error, or the model rests.
        """
        with self._breakers.of(model).call():
            try:
                async with timeout(self.patience.first_word_seconds):
                    return await self._retrying(model)(call)
            except openai.OpenAIError as error:
                raise translated(error, model, setting) from None
            except TimeoutError:
                reason = f"{model}: no word within {self.patience.first_word_seconds:g} s"
                raise ModelUnavailable(reason) from None

    def _retrying(self, model: str) -> AsyncRetrying:
        def note(state: RetryCallState) -> None:
            MODEL_RETRIES.labels(model).inc()
            log.warning(
                "model_retry", model=model, attempt=state.attempt_number, wait_seconds=state.upcoming_sleep
            )

        return AsyncRetrying(
            retry=retry_if_exception(worth_another_try),
            wait=_wait,
            stop=stop_after_attempt(TRIES) | stop_before_delay(self.patience.first_word_seconds),
            before_sleep=note,
            reraise=True,
        )


def _wait(state: RetryCallState) -> float:
    asked = retry_after_seconds(state.outcome.exception() if state.outcome else None)
    return _jitter(state) if asked is None else asked
