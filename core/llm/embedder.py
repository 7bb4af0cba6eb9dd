"""Turning text into vectors: the port, and an embedder behind OpenAI's API."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import numpy as np
import openai
from numpy.typing import NDArray

from core.errors import ConfigurationError, ModelRefused, ModelUnavailable
from core.llm.budget import Budget
from core.llm.metrics import MODEL_SECONDS, MODEL_TOKENS
from core.llm.model import Tally, Usage
from core.llm.refusals import cost_nothing
from core.llm.tokens import count_tokens
from core.llm.tries import Tries
from core.settings import Settings

Vectors = NDArray[np.float32]

MAX_EMBEDDED_CHARS = 2_000
"""What a vector speaks for: about 500 tokens, the model's window. More would blur it, and cost seconds."""

REMOTE_BATCH = 128


class Embedder(Protocol):
    """One embedding model. Vectors of two models can't be compared: `name` says which made one."""

    @property
    def name(self) -> str:
        """The model's name and version, as the index records it."""
        ...

    async def dimensions(self) -> int:
        """How long a vector is; the first call may have to ask the model.

        Raises:
            ModelUnavailable, ModelRefused: it had to, in vain.
        """
        ...

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors of what is stored, (len(texts), dimensions), each of length 1; any text is safe.

        Raises:
            ModelUnavailable, ModelRefused: no vector was made.
        """
        ...

    async def embed_query(self, text: str) -> Vectors:
        """The vector of what is looked for, (dimensions,). Raises as `embed_passages`.

        Its length is what cosines with it are to be multiplied by: then texts that fit stand out from others
        by about as much, whatever the language of the question.
        """
        ...

    async def aclose(self) -> None:
        """Closes connections and ends threads."""
        ...


def embeddable(text: str) -> str:
    """The text as every embedder can take it: no NUL, no lone surrogate, not endless, not empty."""
    whole = text[:MAX_EMBEDDED_CHARS].replace("\x00", " ").encode("utf-8", "replace").decode("utf-8")
    return whole if whole.strip() else "."


class OpenAIEmbedder:
    """An embedding model behind OpenAI's API, at OpenAI or at any compatible server.

    What it costs counts into the budget of all together and is never refused: the index is filled and
    mended without anybody's asking, for a hundredth of what a reply costs.
    """

    def __init__(
        self, tries: Tries, budget: Budget, *, api_key: str | None, base_url: str | None, model: str
    ) -> None:
        self._tries = tries
        self._budget = budget
        self._client = tries.connect(api_key, base_url)
        self._model = model
        self._dimensions: int | None = None

    @property
    def name(self) -> str:
        return f"openai/{self._model}"

    async def dimensions(self) -> int:
        if self._dimensions is None:
            self._dimensions = len(await self.embed_query("dimensions"))
        return self._dimensions

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        parts = [
            await self._encode(texts[start : start + REMOTE_BATCH])
            for start in range(0, len(texts), REMOTE_BATCH)
        ]
        return np.concatenate(parts) if parts else np.empty((0, await self.dimensions()), np.float32)

    async def embed_query(self, text: str) -> Vectors:
        vector: Vectors = (await self._encode([text]))[0]
        return vector

    async def aclose(self) -> None:
        await self._client.close()

    async def _encode(self, texts: Sequence[str]) -> Vectors:
        batch = [embeddable(text) for text in texts]

        most = sum(count_tokens(text) for text in batch)
        async with self._budget.spending(None, most, beyond=True) as tally:
            with MODEL_SECONDS.labels(self.name, "embed", "ok").time():
                answer = await self._tries.make(
                    self._model, "EMBEDDING_MODEL", partial(self._call, batch, most, tally)
                )
        return self._checked(answer, len(batch))

    async def _call(
        self, batch: list[str], most_tokens: int, tally: Tally
    ) -> openai.types.CreateEmbeddingResponse:
        used = most_tokens
        try:
            answer = await self._client.embeddings.create(
                model=self._model, input=batch, encoding_format="float"
            )
            if getattr(answer, "usage", None):
                used = answer.usage.prompt_tokens
        except BaseException as error:
            used = 0 if cost_nothing(error) else most_tokens
            raise
        finally:
            tally.add(Usage(prompt_tokens=used))
            MODEL_TOKENS.labels("embedding").inc(used)
        return answer

    def _checked(self, answer: openai.types.CreateEmbeddingResponse, expected: int) -> Vectors:
        """The answer's vectors in the order asked for, each of length 1."""
        items = getattr(answer, "data", None) or []
        if len(items) != expected:
            raise ModelRefused(
                f"{self._model} gave {len(items)} vectors for {expected} texts: check EMBEDDING_MODEL"
            )
        rows = [item.embedding for item in sorted(items, key=lambda item: item.index)]
        if len({len(row) for row in rows}) != 1:
            raise ModelUnavailable(f"{self._model} gave vectors of different lengths")
        vectors: Vectors = np.asarray(rows, dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.maximum(lengths, np.finfo(np.float32).tiny)
        return vectors


def build_embedder(settings: Settings, tries: Tries, budget: Budget) -> Embedder:
    """The embedder that the settings name.

    Raises:
        ConfigurationError: `EMBEDDING_MODEL` names a remote model, but no server is set.
    """
    if settings.embedding_model is None:
        from core.llm.local_embedder import LocalEmbedder

        return LocalEmbedder()
    if settings.openai_api_key is None and settings.openai_base_url is None:
        raise ConfigurationError("EMBEDDING_MODEL needs OPENAI_API_KEY or OPENAI_BASE_URL")
    return OpenAIEmbedder(
        tries,
        budget,
        api_key=settings.openai_api_key.get_secret_value() if settings.openai_api_key else None,
        base_url=settings.openai_base_url,
        model=settings.embedding_model,
    )
