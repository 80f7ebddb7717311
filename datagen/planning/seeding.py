"""Choices by the seed and names.

None depends on another one, on the number of workers, or on where a build was stopped.
"""

import hashlib
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from lorweb_bench.data.manifest import MANIFEST
from lorweb_bench.runtime.files import read_json

SECRET = "secret"  # what a recipe says in place of a seed
SECRET_BITS = 192
BUILDING = ".building.json"  # a build's claim, beside what is built


def secret_seed(folder: Path) -> int:
    """The secret seed of a dataset in `folder`: the one that it was begun with, else a new one.

    It has 192 bits of the system's randomness, the first of which is set. Keys and all choices
    follow from it, so nobody can search it from the keys, and it stands in the full view alone.
    """
    for name, fields in ((MANIFEST, ("recipe", "seed")), (BUILDING, ("recipe", "seed"))):
        if (folder / name).is_file():
            content: Any = read_json(folder / name)
            for field in fields:
                content = content.get(field) if isinstance(content, dict) else None
            if isinstance(content, int):
                return content
    return secrets.randbits(SECRET_BITS) | 1 << (SECRET_BITS - 1)


def draw(seed: int, *words: object) -> bytes:
    """A digest of the seed and words: what every choice is made by.

    Returns:
        32 bytes, the sha256 of the seed and the words, joined by colons.
    """
    return hashlib.sha256(":".join([str(seed), *map(str, words)]).encode()).digest()


def generator(seed: int, *words: object) -> np.random.Generator:
    """A random generator of the seed and words."""
    return np.random.default_rng(int.from_bytes(draw(seed, *words)[:16]))
