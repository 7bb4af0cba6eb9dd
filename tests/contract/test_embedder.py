"""What every embedder must do, whoever makes the vectors."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from core.llm.budget import Unlimited
from core.llm.embedder import Embedder, OpenAIEmbedder
from core.llm.local_embedder import LocalEmbedder
from tests.conftest import make_tries
from tests.standins.model import ModelStandIn

TEXTS = [f"note {number}: the cat of my neighbour number {number} sleeps" for number in range(40)]
ODD = ["", " \n", "\x00", "a\x00b", "\ud800 alone", "é" * 40_000, "a" * 100_000, "👩‍👩‍👧", "\u202e"]


async def local() -> AsyncIterator[Embedder]:
    embedder = LocalEmbedder()
    yield embedder
    await embedder.aclose()


async def remote() -> AsyncIterator[Embedder]:
    server = ModelStandIn()
    await server.start()
    embedder = OpenAIEmbedder(
        make_tries(30),
        Unlimited(),
        api_key=server.key,
        base_url=server.base_url,
        model=server.embedding_model,
    )
    yield embedder
    await embedder.aclose()
    await server.stop()


@pytest.fixture(params=[local, remote], ids=["local", "remote"], scope="module")
async def embedder(request: pytest.FixtureRequest) -> AsyncIterator[Embedder]:
    async for one in request.param():
        yield one


async def test_a_passage_gives_one_vector_of_length_one(embedder: Embedder) -> None:
    vectors = await embedder.embed_passages(TEXTS[:3])
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, await embedder.dimensions())
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-3)


async def test_a_query_gives_a_flat_vector(embedder: Embedder) -> None:
    vector = await embedder.embed_query("who sleeps?")
    assert vector.shape == (await embedder.dimensions(),)
    assert np.linalg.norm(vector) > 0.9


async def test_nothing_gives_nothing(embedder: Embedder) -> None:
    assert (await embedder.embed_passages([])).shape == (0, await embedder.dimensions())


async def test_order_and_batches_dont_matter(embedder: Embedder) -> None:
    together = await embedder.embed_passages(TEXTS)
    alone = [(await embedder.embed_passages([text]))[0] for text in TEXTS[:5]]
    assert np.allclose(together[:5], alone, atol=1e-5)


async def test_what_shares_words_is_nearer(embedder: Embedder) -> None:
    passages = await embedder.embed_passages(["my dog is called Rex", "the train leaves at nine"])
    near, far = passages @ await embedder.embed_query("what is my dog called")
    assert near > far


@pytest.mark.parametrize("text", ODD, ids=[f"{len(text)} {text[:4]!a}" for text in ODD])
async def test_odd_texts_are_safe(text: str, embedder: Embedder) -> None:
    vectors = await embedder.embed_passages([text])
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(await embedder.embed_query(text)) > 0.9


async def test_many_at_once_give_the_same_as_one_after_the_other(embedder: Embedder) -> None:
    expected = [await embedder.embed_query(text) for text in TEXTS]
    at_once = await asyncio.gather(*(embedder.embed_query(text) for text in TEXTS))
    assert np.array_equal(np.stack(expected), np.stack(at_once))


async def test_has_a_name(embedder: Embedder) -> None:
    assert "/" in embedder.name
