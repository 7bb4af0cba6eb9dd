"""The rotation: within a person all angles stay, between two people none means anything."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.privacy.rotation import Rotation

LIMIT = 1e-4


def unit_vectors(seed: int, count: int, dimensions: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)
    made: NDArray[np.float32] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return made


def keeps_angles(dimensions: int, key: bytes, seed: int) -> bool:
    vectors = unit_vectors(seed, 6, dimensions)
    turned = Rotation.from_key(key, dimensions).apply(vectors)
    return turned.dtype == np.float32 and np.allclose(turned @ turned.T, vectors @ vectors.T, atol=LIMIT)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 1536), st.binary(min_size=32, max_size=32), st.integers(0, 2**32))
def test_lengths_and_cosines_stay(dimensions: int, key: bytes, seed: int) -> None:
    assert keeps_angles(dimensions, key, seed)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 63, 64, 65, 384, 768, 1024, 1535, 1536])
def test_lengths_and_cosines_stay_for_the_usual_models(dimensions: int) -> None:
    assert keeps_angles(dimensions, os.urandom(32), dimensions)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.binary(min_size=32, max_size=32))
def test_one_vector_is_turned_as_it_is_among_many(dimensions: int, key: bytes) -> None:
    vectors = unit_vectors(1, 3, dimensions)
    before = vectors.copy()
    rotation = Rotation.from_key(key, dimensions)
    one_by_one = np.stack([rotation.apply(vector) for vector in vectors])
    assert np.allclose(one_by_one, rotation.apply(vectors), atol=1e-6)
    assert np.array_equal(vectors, before)


def test_a_key_stands_for_one_rotation() -> None:
    vector = unit_vectors(0, 1, 384)[0]
    key = os.urandom(32)
    assert np.array_equal(
        Rotation.from_key(key, 384).apply(vector), Rotation.from_key(key, 384).apply(vector)
    )


@pytest.mark.parametrize("dimensions", [384, 1536])
def test_two_peoples_vectors_of_one_text_are_strangers(dimensions: int) -> None:
    """The cosine of two random directions has standard deviation 1/sqrt(d): six of them are beyond doubt."""
    vectors = unit_vectors(7, 40, dimensions)
    turned = [Rotation.from_key(os.urandom(32), dimensions).apply(vectors) for _ in range(8)]
    cosines = [
        np.sum(one * other, axis=1) for n, one in enumerate(turned) for other in [*turned[:n], vectors]
    ]
    assert np.abs(cosines).max() < 6 / np.sqrt(dimensions)
    assert abs(np.mean(cosines)) < 0.02


def test_it_spreads_a_single_coordinate_over_all() -> None:
    """A rotation that only moved coordinates about would let two people's sorted vectors be compared."""
    turned = Rotation.from_key(os.urandom(32), 384).apply(np.eye(384, dtype=np.float32))
    assert np.abs(turned).max() < 0.5
    assert (np.abs(turned) > 1e-6).mean() > 0.9
