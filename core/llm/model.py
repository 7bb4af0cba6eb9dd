"""The port through which the core speaks with a language model."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call cost, in the model's own tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Tally:
    """What a call has used so far: of every try that may have cost something, however the call ends."""

    def __init__(self) -> None:
        self.tokens = 0

    def add(self, usage: Usage) -> None:
        self.tokens += usage.prompt_tokens + usage.completion_tokens


class LanguageModel(Protocol):
    """A language model, and who pays for it. All retries are its own: a caller tries once.

    A prompt's unchanged beginning is cheap and its changed end is dear, so what changes comes last.
    `payer` is the id of the user for whom it works; None when it is for nobody in particular.
    """

    def stream(
        self, messages: Sequence[ChatMessage], *, max_tokens: int, payer: str | None
    ) -> AsyncGenerator[str, None]:
        """The answer, in non-empty pieces, as it is written. An answer cut by `max_tokens` ends normally.

        Who stops before the end closes it (`contextlib.aclosing`), which also ends the work at the server.

        Raises:
            BudgetExhausted: before anything was asked: the day's tokens are used up.
            ModelUnavailable: before the first piece: slow, gone or too busy; every try was made.
            ModelRefused: before the first piece: it rejects the request itself; the text is the cure.
            StreamCut: the stream ended without its terminal event; the pieces so far stand.
        """
        ...

    async def structured(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: Mapping[str, Any],
        schema_name: str,
        max_tokens: int,
        payer: str | None,
    ) -> dict[str, Any]:
        """An answer that fits the JSON schema, whose root is an object.

        Strict servers want every object closed (`additionalProperties: false`) and every property required.

        Raises:
            MalformedOutput: the answer isn't JSON or doesn't fit; asking again is the caller's decision.
            BudgetExhausted, ModelUnavailable, ModelRefused, StreamCut: as for `stream`.
        """
        ...


class UnmeteredModel(Protocol):
    """One model behind one address, to whom it is all one who pays. Its calls else are `LanguageModel`'s.

    What a call uses is added to its tally by the time that it has ended, whichever way.
    """

    @property
    def name(self) -> str:
        """The model's name at its server."""
        ...

    def most_tokens(
        self, messages: Sequence[ChatMessage], *, max_tokens: int, schema: Mapping[str, Any] | None = None
    ) -> int:
        """What one try of such a call may cost: the prompt as counted here, and the longest answer."""
        ...

    def stream(
        self, messages: Sequence[ChatMessage], *, max_tokens: int, tally: Tally | None = None
    ) -> AsyncGenerator[str, None]: ...

    async def structured(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: Mapping[str, Any],
        schema_name: str,
        max_tokens: int,
        tally: Tally | None = None,
    ) -> dict[str, Any]: ...

    async def aclose(self) -> None:
        """Closes the connections."""
        ...
