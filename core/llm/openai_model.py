"""A language model behind OpenAI's chat completions API, at OpenAI or at any compatible server."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import openai
import structlog
from openai.types.chat import ChatCompletionChunk

from core.errors import ConfigurationError, ModelRefused, ModelUnavailable, StreamCut
from core.llm.dialect import answer_tokens, is_openai, options
from core.llm.metrics import FIRST_WORD_SECONDS, MODEL_SECONDS, MODEL_TOKENS
from core.llm.model import ChatMessage, Tally, Usage
from core.llm.refusals import cost_nothing
from core.llm.structured import parse_structured
from core.llm.tokens import count_tokens
from core.llm.tries import Tries
from core.settings import Settings

DEFAULT_MODEL = "gpt-5-mini"
"""At OpenAI, where `OPENAI_MODEL` is unset: cheap, quick, multilingual."""

MESSAGE_TOKENS = 4
"""What a prompt's format adds to each message."""

log = structlog.get_logger()


class _Answer:
    """One open stream: its pieces of text, and whether it came to its proper end."""

    def __init__(self, stream: openai.AsyncStream[ChatCompletionChunk], model: str) -> None:
        self.model = model
        self.usage: Usage | None = None
        self._stream = stream
        self._chunks = aiter(stream)
        self._finished = False

    async def piece(self) -> str | None:
        """The next non-empty piece; None at the proper end.

        Raises:
            StreamCut: it ended without its terminal event, or a chunk is no JSON.
            openai.APIError: the connection or the server failed.
        """
        try:
            async for chunk in self._chunks:
                if text := self._read(chunk):
                    return text
        except ValueError:
            raise StreamCut(f"{self.model}: a malformed chunk in the stream") from None
        if not self._finished:
            raise StreamCut(f"{self.model}: the stream ended without its terminal event")
        return None

    def _read(self, chunk: ChatCompletionChunk) -> str:
        if not isinstance(chunk, ChatCompletionChunk):
            raise StreamCut(f"{self.model}: a malformed chunk in the stream")
        if chunk.usage:
            self.usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        for choice in chunk.choices or ():
            self._finished = self._finished or bool(choice.finish_reason)
            if choice.delta and choice.delta.content:
                return choice.delta.content
        return ""

    async def rest_piece(self, patience_seconds: float) -> str | None:
        """The next piece, once the beginning was given away and no fault can be mended."""
        try:
            async with asyncio.timeout(patience_seconds):
                return await self.piece()
        except (openai.OpenAIError, TimeoutError) as error:
            raise StreamCut(f"{self.model}: the stream broke off ({type(error).__name__})") from None

    async def close(self) -> None:
        await self._stream.close()


@dataclass(frozen=True, slots=True)
class _Request:
    """One call, whichever model takes it."""

    messages: Sequence[ChatMessage]
    max_tokens: int
    purpose: str
    response_format: Mapping[str, Any] | None = None
    tally: Tally = field(default_factory=Tally)

    def charge(self, usage: Usage) -> None:
        self.tally.add(usage)
        MODEL_TOKENS.labels("prompt").inc(usage.prompt_tokens)
        MODEL_TOKENS.labels("completion").inc(usage.completion_tokens)


class OpenAIModel:
    """The unmetered port's adapter. It belongs to the event loop that it is first used in."""

    def __init__(
        self,
        tries: Tries,
        *,
        api_key: str | None,
        base_url: str | None,
        model: str | None,
        fallback_model: str | None = None,
        setting: str = "OPENAI_MODEL",
    ) -> None:
        self._tries = tries
        self._client = tries.connect(api_key, base_url)
        self._base_url = base_url
        self._model = model or (DEFAULT_MODEL if is_openai(base_url) else None)
        self._fallback = fallback_model
        self._setting = setting

    @property
    def name(self) -> str:
        return self._model or "the server's first"

    def most_tokens(
        self, messages: Sequence[ChatMessage], *, max_tokens: int, schema: Mapping[str, Any] | None = None
    ) -> int:
        prompt = _prompt_tokens(messages) + (count_tokens(json.dumps(schema)) if schema else 0)
        return prompt + answer_tokens(self._base_url, self._model or "", max_tokens)

    async def stream(
        self, messages: Sequence[ChatMessage], *, max_tokens: int, tally: Tally | None = None
    ) -> AsyncGenerator[str, None]:
        pieces = self._pieces(_Request(messages, max_tokens, "reply", tally=tally or Tally()))
        try:
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()

    async def structured(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: Mapping[str, Any],
        schema_name: str,
        max_tokens: int,
        tally: Tally | None = None,
    ) -> dict[str, Any]:
        form = {"type": "json_schema", "json_schema": {"name": schema_name, "strict": True, "schema": schema}}
        request = _Request(messages, max_tokens, "structured", form, tally or Tally())
        return parse_structured("".join([piece async for piece in self._pieces(request)]), schema)

    async def aclose(self) -> None:
        await self._client.close()

    async def _pieces(self, request: _Request) -> AsyncGenerator[str, None]:
        """The answer's pieces. Whatever the purpose it streams: a timeout is about silence, not length."""
        started = time.monotonic()
        outcome = "dropped"
        answer: _Answer | None = None
        written: list[str] = []
        try:
            answer, piece = await self._open(request)
            FIRST_WORD_SECONDS.labels(answer.model).observe(time.monotonic() - started)
            while piece is not None:
                written.append(piece)
                yield piece
                piece = await answer.rest_piece(self._tries.patience.silence_seconds)
            outcome = "ok"
        except ModelUnavailable:
            outcome = "unavailable"
            raise
        except ModelRefused:
            outcome = "refused"
            raise
        except StreamCut:
            outcome = "cut"
            raise
        finally:
            if answer:
                request.charge(answer.usage or _estimated(request, written))
                await answer.close()
            took = time.monotonic() - started
            MODEL_SECONDS.labels(answer.model if answer else self.name, request.purpose, outcome).observe(
                took
            )

    async def _open(self, request: _Request) -> tuple[_Answer, str | None]:
        """The answer up to its first piece: the only part that is ever tried again."""
        try:
            return await self._begin(request, await self._chosen_model(), self._setting)
        except (ModelUnavailable, StreamCut) as error:
            if self._fallback is None or self._fallback == self._model:
                raise
            log.warning("model_fallback", model=self._fallback, reason=str(error))
        return await self._begin(request, self._fallback, "OPENAI_FALLBACK_MODEL")

    async def _begin(self, request: _Request, model: str, setting: str) -> tuple[_Answer, str | None]:
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "stream_options": {"include_usage": True},
            **options(
                self._base_url, model, request.max_tokens, structured=request.response_format is not None
            ),
        }
        if request.response_format:
            body["response_format"] = request.response_format

        async def call() -> tuple[_Answer, str | None]:
            try:
                answer = _Answer(await self._client.chat.completions.create(stream=True, **body), model)
                try:
                    return answer, await answer.piece()
                except BaseException:
                    await answer.close()
                    raise
            except BaseException as error:
                if not cost_nothing(error):
                    # Nobody will ever tell what it used: it read the prompt, for all we know.
                    request.charge(_estimated(request, ()))
                raise

        return await self._tries.make(model, setting, call)

    async def _chosen_model(self) -> str:
        """The model's name, asked of the server once when nobody set it."""
        if self._model is None:
            offered = await self._tries.make(self.name, self._setting, self._offered_models)
            if not offered:
                raise ModelRefused("The model's server offers no chat model: set OPENAI_MODEL")
            self._model = offered[0]
        return self._model

    async def _offered_models(self) -> list[str]:
        page = await self._client.models.list()
        names = [str(getattr(model, "id", "")) for model in getattr(page, "data", None) or ()]
        return [name for name in names if name and "embed" not in name.lower()]


def _prompt_tokens(messages: Sequence[ChatMessage]) -> int:
    return sum(count_tokens(message.content) + MESSAGE_TOKENS for message in messages)


def _estimated(request: _Request, written: Sequence[str]) -> Usage:
    return Usage(_prompt_tokens(request.messages), count_tokens("".join(written)))


def build_model(settings: Settings, tries: Tries) -> OpenAIModel:
    """The model that the settings name.

    Raises:
        ConfigurationError: neither a key nor a server is set, so there is nobody to talk to.
    """
    if settings.openai_api_key is None and settings.openai_base_url is None:
        raise ConfigurationError(
            "No language model: set OPENAI_API_KEY or OPENAI_BASE_URL, or start with `mneme run`"
        )
    return OpenAIModel(
        tries,
        api_key=settings.openai_api_key.get_secret_value() if settings.openai_api_key else None,
        base_url=settings.openai_base_url,
        model=settings.openai_model,
        fallback_model=settings.openai_fallback_model,
    )


def build_budget_model(settings: Settings, tries: Tries) -> OpenAIModel | None:
    """The cheaper model that speaks when a budget is used up; None when none is set."""
    if settings.openai_budget_model is None:
        return None
    return OpenAIModel(
        tries,
        api_key=settings.openai_api_key.get_secret_value() if settings.openai_api_key else None,
        base_url=settings.openai_base_url,
        model=settings.openai_budget_model,
        setting="OPENAI_BUDGET_MODEL",
    )
