"""What is particular to each embedder."""

import asyncio
import multiprocessing
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from core.errors import ConfigurationError, ModelRefused, ModelUnavailable
from core.llm.budget import Unlimited
from core.llm.embedder import OpenAIEmbedder, build_embedder
from core.llm.local_embedder import E5_DIMENSIONS, OTHER_LENGTH, LocalEmbedder
from core.llm.tries import TRIES
from core.settings import load_settings
from tests.conftest import make_tries
from tests.standins.model import Fault, ModelStandIn

TEXTS = [f"sentence {number} about {'tea ' * (number % 7)}" for number in range(24)]


def test_engines_of_one_process_take_turns() -> None:
    """Each thread has its own loop and embedder, as in a worker beside a service."""

    async def embed() -> np.ndarray:
        embedder = LocalEmbedder()
        vectors = await embedder.embed_passages(TEXTS)
        await embedder.aclose()
        return vectors

    expected = asyncio.run(embed())
    results: list[np.ndarray] = []
    threads = [Thread(target=lambda: results.append(asyncio.run(embed()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 4
    assert all(np.array_equal(expected, result) for result in results)


def _embed_in_child(queue: "multiprocessing.Queue[int]") -> None:
    queue.put(len(asyncio.run(LocalEmbedder().embed_passages(TEXTS))))


def test_a_forked_child_loads_its_own_engine() -> None:
    context = multiprocessing.get_context("fork")
    LocalEmbedder()
    queue: multiprocessing.Queue[int] = context.Queue()
    child = context.Process(target=_embed_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == len(TEXTS)
    child.join(10)


async def test_the_environment_is_left_as_it_was() -> None:
    before = dict(os.environ)
    embedder = LocalEmbedder()
    await embedder.embed_query("tea")
    await embedder.aclose()
    assert dict(os.environ) == before


# Apart, so that what the libraries do while they load is seen, and from a home that nobody has used.
EMBED = """
import asyncio
from core.llm.local_embedder import LocalEmbedder
asyncio.run(LocalEmbedder().embed_query("tea"))
"""


def test_loading_leaves_nothing_in_the_home_directory(tmp_path: Path) -> None:
    """No id of this machine, and nothing to be sent home."""
    alone = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-B", "-c", EMBED], env=alone, check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []


async def test_understands_other_languages() -> None:
    embedder = LocalEmbedder()
    passages = await embedder.embed_passages(["Ich bin gegen Erdnüsse allergisch.", "Der Zug fährt um neun."])
    near, far = passages @ await embedder.embed_query("What food can I not eat because of an allergy?")
    await embedder.aclose()
    assert near > far


@pytest.fixture(scope="module")
async def local() -> AsyncIterator[LocalEmbedder]:
    embedder = LocalEmbedder()
    yield embedder
    await embedder.aclose()


FACTS = {
    "My sister keeps bees in her garden.": (
        "Who in my family has bees?",
        "Wer in meiner Familie hält Bienen?",
    ),
    "I broke my left arm as a child.": (
        "Which bone did I break?",
        "Welchen Knochen habe ich mir gebrochen?",
    ),
    "Ich trinke keinen Kaffee mehr.": ("Should I still drink coffee?", "Trinke ich noch Kaffee?"),
    "Unser Zug nach Wien fährt um neun.": ("When does our train leave?", "Wann fährt unser Zug?"),
    "My boss wants the report on Friday.": ("What is due at work?", "Wann will mein Chef den Bericht?"),
    "Ich sammle alte Landkarten.": ("What do I collect?", "Was sammle ich?"),
}


@pytest.mark.parametrize("fact", FACTS)
async def test_a_question_finds_its_answer_among_two_languages(local: LocalEmbedder, fact: str) -> None:
    passages = await local.embed_passages(list(FACTS))
    for question in FACTS[fact]:
        similarities = passages @ await local.embed_query(question)
        assert list(FACTS)[similarities.argmax()] == fact, question


async def test_the_english_model_has_a_say_in_english_alone(local: LocalEmbedder) -> None:
    english, german = await local.embed_passages(["I collect old maps.", "Ich sammle alte Landkarten."])
    assert np.linalg.norm(english[E5_DIMENSIONS:-1]) == pytest.approx(np.sqrt(0.5), abs=1e-3)
    assert english[-1] == 0
    assert not german[E5_DIMENSIONS:-1].any()
    assert np.linalg.norm(german) == pytest.approx(np.linalg.norm(english), abs=1e-3)
    question = await local.embed_query("Was sammle ich?")
    assert not question[E5_DIMENSIONS:].any()
    assert np.linalg.norm(question) == pytest.approx(OTHER_LENGTH, abs=1e-3)


async def test_what_all_questions_have_in_common_is_taken_off(local: LocalEmbedder) -> None:
    """As the model makes them, any two questions are alike (0.8 and more)."""
    one, other = [
        (await local.embed_query(text))[:E5_DIMENSIONS]
        for text in ("Was sammle ich?", "Wann fährt unser Zug nach Wien?")
    ]
    assert one @ other / (np.linalg.norm(one) * np.linalg.norm(other)) < 0.5


async def test_of_a_long_question_its_beginning_and_its_end_count() -> None:
    embedder = LocalEmbedder()
    passages = await embedder.embed_passages(["I'm allergic to peanuts.", "The train leaves at nine."])
    filler = "so it went on and on, and then some more, " * 40
    for question in (
        f"What food am I allergic to? {filler}",
        f"{filler} What food am I allergic to?",
    ):
        allergy, train = passages @ await embedder.embed_query(question)
        assert allergy > train
    await embedder.aclose()


def remote(server: ModelStandIn, *, key: str | None = None, model: str | None = None) -> OpenAIEmbedder:
    return OpenAIEmbedder(
        make_tries(),
        Unlimited(),
        api_key=key or server.key,
        base_url=server.base_url,
        model=model or server.embedding_model,
    )


async def test_a_remote_model_is_asked_in_batches(server: ModelStandIn) -> None:
    vectors = await remote(server).embed_passages([f"text {number}" for number in range(300)])
    assert len(vectors) == 300
    assert [len(texts) for texts in server.embedded] == [128, 128, 44]


async def test_a_remote_fault_is_tried_again(server: ModelStandIn) -> None:
    server.fail_next("busy", "dropped")
    assert len(await remote(server).embed_passages(["tea"])) == 1


@pytest.mark.parametrize("fault", ["busy", "broken", "dropped"])
async def test_a_remote_model_may_be_unavailable(fault: Fault, server: ModelStandIn) -> None:
    server.fail_next(fault, times=TRIES)
    with pytest.raises(ModelUnavailable):
        await remote(server).embed_query("tea")


async def test_a_refusal_names_its_setting(server: ModelStandIn) -> None:
    with pytest.raises(ModelRefused, match="OPENAI_API_KEY"):
        await remote(server, key="sk-wrong").embed_query("tea")
    with pytest.raises(ModelRefused, match="EMBEDDING_MODEL"):
        await remote(server, model="nobody").embed_query("tea")


def test_a_remote_model_needs_a_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBEDDING_MODEL", "somebody")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="EMBEDDING_MODEL"):
        build_embedder(load_settings(), make_tries(), Unlimited())
