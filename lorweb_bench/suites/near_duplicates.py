"""Near-duplicates: what an image is compared by, and the nearest of the images in an index.

Copies count as near-duplicates that were recompressed, resized, made a little brighter, or cut by
up to some two per cent at each edge. Whole photographs are also compared with their mirror images
(`SourceDigest`). Turned and more deeply cropped copies do not count.
"""

import base64
import binascii
from dataclasses import dataclass

import numpy as np

NEAR_BITS = 10  # of the 64 of a dHash
NEAR_LEVELS = 10.0  # RMSE of 255 between thumbnails of 8 x 8
# Correlation of these thumbnails, and of their middles: two pictures in one frame are not alike.
NEAR_CORRELATION = 0.93
# Rows and columns of a thumbnail: within a frame that leaves 0.4 of a side to the picture.
MIDDLE = slice(5, 11)
# Standard deviation of a thumbnail: an image without content is like any other one.
FLAT_LEVELS = 3.0


def dhash(image: np.ndarray) -> int:
    """The difference hash (dHash) of a uint8 H x W x 3 image.

    It has 64 bits, one for each step to the right in a grey thumbnail of 8 x 9 pixels.
    """
    import cv2

    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes(), "big")


def thumbnail(image: np.ndarray) -> np.ndarray:
    """A uint8 16 x 16 x 3 thumbnail of a uint8 H x W x 3 image, each pixel the mean of its area."""
    import cv2

    return cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA)


def is_flat(small: np.ndarray) -> bool:
    """Whether the image behind a thumbnail has no content to compare."""
    return float(small.std(axis=(0, 1)).max()) < FLAT_LEVELS


@dataclass(frozen=True, eq=False)
class SourceDigest:
    """What a whole photograph is compared by, small enough for a sidecar.

    Attributes:
        dhash: Its difference hash, 64 bits.
        mirrored: That of its mirror image.
        thumbnail: uint8 16 x 16 x 3.
    """

    dhash: int
    mirrored: int
    thumbnail: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray) -> "SourceDigest":
        """The digest of a uint8 H x W x 3 image."""
        return cls(dhash(image), dhash(np.ascontiguousarray(image[:, ::-1])), thumbnail(image))

    def to_text(self) -> str:
        """The digest in base64: both hashes, then the thumbnail."""
        data = self.dhash.to_bytes(8, "big") + self.mirrored.to_bytes(8, "big")
        return base64.b64encode(data + self.thumbnail.tobytes()).decode()

    @classmethod
    def from_text(cls, text: str) -> "SourceDigest":
        """The digest that `to_text` wrote; ValueError where it is none."""
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error as e:
            raise ValueError(f"no base64 ({e})") from None
        small = np.frombuffer(data[16:], np.uint8).reshape(16, 16, 3)
        return cls(int.from_bytes(data[:8], "big"), int.from_bytes(data[8:16], "big"), small)


class NearDuplicateIndex:
    """Images by hash and thumbnail, numbered in the order in which they were added."""

    def __init__(self) -> None:
        self._count = 0
        self._hashes = np.zeros(64, np.uint64)
        self._thumbnails = np.zeros((64, 16, 16, 3), np.uint8)

    def add(self, value: int, small: np.ndarray) -> None:
        """Add an image with content by its `dhash` and `thumbnail`."""
        if self._count == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
            self._thumbnails = np.concatenate([self._thumbnails, np.zeros_like(self._thumbnails)])
        self._hashes[self._count], self._thumbnails[self._count] = value, small
        self._count += 1

    def nearest(self, value: int, small: np.ndarray) -> tuple[int, float] | None:
        """The nearest near-duplicate, the first of equally near ones, or None where there is none.

        All hashes are compared, a million in some milliseconds.

        Returns:
            The image's number, and the RMSE of the two thumbnails in levels of 255.
        """
        near = np.flatnonzero(
            np.bitwise_count(self._hashes[: self._count] ^ np.uint64(value)) <= NEAR_BITS
        )
        thumbnails = self._thumbnails[near]
        wholes, whole = _coarse(thumbnails), _coarse(small[None])[0]
        levels = np.sqrt(((wholes - whole) ** 2).mean(axis=(1, 2, 3)))
        middles = _correlations(
            thumbnails[:, MIDDLE, MIDDLE].astype(np.float32), small[MIDDLE, MIDDLE]
        )
        alike = np.minimum(_correlations(wholes, whole), middles) >= NEAR_CORRELATION
        levels[~alike] = np.inf
        if not alike.any() or levels.min() > NEAR_LEVELS:
            return None
        best = int(levels.argmin())
        return int(near[best]), float(levels[best])


class SourceIndex:
    """Photographs by name, and the search for one that is near-equal to another, or mirrored."""

    def __init__(self) -> None:
        self._images = NearDuplicateIndex()
        self._names: list[str] = []

    def add(self, name: str, digest: SourceDigest) -> None:
        """Add a photograph; one without content is like any other one and is passed over."""
        if not is_flat(digest.thumbnail):
            self._images.add(digest.dhash, digest.thumbnail)
            self._names.append(name)

    def nearest(self, digest: SourceDigest) -> tuple[str, float] | None:
        """The nearest near-equal photograph, and the RMSE of the thumbnails in levels.

        Returns:
            None where none is near-equal, nor is its mirror image.
        """
        if is_flat(digest.thumbnail):
            return None
        small = digest.thumbnail
        near = self._images.nearest(digest.dhash, small)
        if near is None:
            near = self._images.nearest(digest.mirrored, np.ascontiguousarray(small[:, ::-1]))
        return None if near is None else (self._names[near[0]], near[1])


def _coarse(thumbnails: np.ndarray) -> np.ndarray:
    """Thumbnails of 8 x 8 pixels, float32, of those of 16 x 16."""
    return thumbnails.reshape(-1, 8, 2, 8, 2, 3).mean(axis=(2, 4), dtype=np.float32)


def _correlations(thumbnails: np.ndarray, small: np.ndarray) -> np.ndarray:
    """The correlations of float32 N x H x W x 3 thumbnails with another one.

    They are 0 where one of the two is of one colour.
    """
    x = thumbnails.reshape(len(thumbnails), small.size)
    x, y = x - x.mean(axis=1, keepdims=True), (small - small.mean(dtype=np.float32)).ravel()
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y)
    return np.asarray(np.where(lengths > 0, x @ y / np.maximum(lengths, 1e-9), 0.0))
