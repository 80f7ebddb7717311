"""The items of a split in a few bytes each, so that a plan takes no memory to speak of however many there are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

import numpy as np

T = TypeVar("T")
KEY_BYTES = 8  # a key is their 16 hex digits, so keys and these numbers have one order


def key_of(digest: bytes) -> int:
    """The number that stands for a key: its first bytes."""
    return int.from_bytes(digest[:KEY_BYTES])


@dataclass(frozen=True, eq=False)
class Items(Sequence[T], Generic[T]):
    """Rows of numbers, one an item, that become items when they are asked for. A slice is a list of items."""

    rows: np.ndarray  # structured, with a field `key`, an unsigned number of 64 bits
    item: Callable[[str, Any], T]  # from a key and a row

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self._made(row) for row in self.rows[index]]
        return self._made(self.rows[index])

    def _made(self, row: Any) -> T:
        return self.item(f"{int(row['key']):016x}", row)


@dataclass(frozen=True)
class Piece:
    """One shard to make."""

    split: str
    index: int
    items: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Pieces(Sequence[Piece]):
    """Shards to make, by split and index, each with its items once it is asked for."""

    places: Sequence[tuple[str, int]]
    items: Mapping[str, Items[Any]]
    size: int

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        split, number = self.places[index]
        return Piece(
            split, number, tuple(self.items[split][number * self.size : (number + 1) * self.size])
        )
