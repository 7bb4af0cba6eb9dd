"""A secret rotation per user, so that two people's vectors can't be compared with each other."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

ROUNDS = 3
"""Three rounds of signs and Hadamard transforms behave like a random rotation (Yu et al. 2016, "Orthogonal
Random Features"); a permutation between them mixes across the blocks of a length that is no power of two."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rotation:
    """An orthogonal map of R^d: it keeps angles and lengths, so cosines within one user stay the same."""

    signs: NDArray[np.float32]
    orders: NDArray[np.int32]

    @classmethod
    def from_key(cls, key: bytes, dimensions: int) -> "Rotation":
        """The rotation that a 32-byte key stands for; its randomness is AES-256-CTR's key stream."""
        stream = Cipher(AES(key), CTR(bytes(16))).encryptor()
        words = np.frombuffer(stream.update(bytes(ROUNDS * dimensions * 9)), dtype=np.uint8)
        bits, ranks = np.split(words, [ROUNDS * dimensions])
        signs = np.where(bits & 1, np.float32(1), np.float32(-1)).reshape(ROUNDS, dimensions)
        orders = ranks.view(np.uint64).reshape(ROUNDS, dimensions).argsort(axis=1).astype(np.int32)
        return cls(signs, orders)

    def apply(self, vectors: Vectors) -> Vectors:
        """The vectors, shape (n, d) or (d,), rotated."""
        turned = vectors
        for signs, order in zip(self.signs, self.orders, strict=True):
            turned = _hadamard_blocks(np.ascontiguousarray((turned * signs)[..., order]))
        return turned


def _hadamard_blocks(vectors: Vectors) -> Vectors:
    """Walsh-Hadamard transforms of the last axis, cut into blocks of powers of two (384 = 256 + 128)."""
    dimensions = vectors.shape[-1]
    start = 0
    for bit in reversed(range(dimensions.bit_length())):
        size = 1 << bit
        if dimensions & size:
            vectors[..., start : start + size] = vectors[..., start : start + size] @ _hadamard(size)
            start += size
    return vectors


@cache
def _hadamard(size: int) -> Vectors:
    """The orthonormal Hadamard matrix of a power of two (Sylvester's construction)."""
    matrix = np.ones((1, 1), dtype=np.float32)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix / np.float32(np.sqrt(size))
