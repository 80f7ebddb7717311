"""What images come from: a photograph or a scene, or a pair that somebody edited."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Load = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Source:
    """One photograph or one scene: the unit that splits and clusters go by.

    Attributes:
        name: Unique and stable, `[a-z0-9_-]+`.
        licence: The licence that records carry.
        attribution: The attribution that records carry.
        load: Returns the full image, uint8 H x W x 3 RGB. It is picklable, and equal for equal
            sources, so that other processes can call it and a cache can use it as a key.
        pixels: The pixel hash of the image, where it was decoded.
        digest: What it is compared by with other photographs, a `SourceDigest` as text, where it
            was decoded.
        area: Its pixels, where it was decoded.
    """

    name: str
    licence: str
    attribution: str
    load: Load
    pixels: str = ""
    digest: str = ""
    area: int = 0


@dataclass(frozen=True)
class Pair:
    """An image before and after somebody's edit. Any two pairs of one task make an analogy.

    Attributes:
        task: Names the transformation, `[a-z0-9_-]+`.
        name: Unique and stable, `[a-z0-9_-]+`.
        before: Returns the image before the edit, uint8 H x W x 3 RGB.
        after: Returns the image after the edit, uint8 H x W x 3 RGB; None where nobody edited it,
            so that it can be a b without an answer alone.
        instruction: The edit in words, or empty.
        licence: The licence that records carry.
        attribution: The attribution that records carry.
        photograph: Names the picture that the pair starts from, whatever its task. A suite never
            uses one photograph both as a and as b.
        aspect: Width / height of `before`, where it was decoded.
        as_b: False where, as (b, b_prime) of a suite, it would give another pair's answer away.
        pixels: The pixel hashes of the images, where they were decoded.
        digest: What `before` is compared by, a `SourceDigest` as text, where it was decoded.
        sizes: Height and width of before and of after, in pixels, where they were decoded.
    """

    task: str
    name: str
    before: Load
    after: Load | None
    instruction: str
    licence: str
    attribution: str
    photograph: str
    aspect: float | None = None
    as_b: bool = True
    pixels: str = ""
    digest: str = ""
    sizes: tuple[tuple[int, int], tuple[int, int]] | None = None
