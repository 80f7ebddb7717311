"""Choices by the seed and names.

None depends on another one, on the number of workers, or on where a build was stopped.
"""

import hashlib

import numpy as np


def draw(seed: int, *words: object) -> bytes:
    """A digest of the seed and words: what every choice is made by.

    Returns:
        32 bytes, the sha256 of the seed and the words, joined by colons.
    """
    return hashlib.sha256(":".join([str(seed), *map(str, words)]).encode()).digest()


def generator(seed: int, *words: object) -> np.random.Generator:
    """A random generator of the seed and words."""
    return np.random.default_rng(int.from_bytes(draw(seed, *words)[:16]))
