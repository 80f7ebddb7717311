"""The items of a split in a few bytes each, so that a plan of millions takes little memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

import numpy as np

T = TypeVar("T")
KEY_BYTES = 8  # a key is their 16 hex digits, so keys and these numbers have one order


def key_number(digest: bytes) -> int:
    """The number that stands for a key: the first bytes of its digest."""
    return int.from_bytes(digest[:KEY_BYTES])


@dataclass(frozen=True, eq=False)
class ItemTable(Sequence[T], Generic[T]):
    """Rows of numbers, one an item, that become items when they are asked for.

    A slice is a list of items.

    Attributes:
        rows: A structured array with a field `key`, an unsigned number of 64 bits.
        to_item: Makes an item from its key, 16 hex digits, and its row.
    """

    rows: np.ndarray
    to_item: Callable[[str, Any], T]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self._item(row) for row in self.rows[index]]
        return self._item(self.rows[index])

    def _item(self, row: Any) -> T:
        return self.to_item(f"{int(row['key']):016x}", row)


@dataclass(frozen=True)
class ShardPlan:
    """One shard to make: its split, its number there, and its items."""

    split: str
    index: int
    items: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class ShardPlans(Sequence[ShardPlan]):
    """Shards to make, each with its items once it is asked for.

    Attributes:
        shards: The (split, number) of each.
        items: The items of every split.
        size: How many items a shard has.
    """

    shards: Sequence[tuple[str, int]]
    items: Mapping[str, ItemTable[Any]]
    size: int

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: Any) -> Any:
        split, number = self.shards[index]
        items = self.items[split][number * self.size : (number + 1) * self.size]
        return ShardPlan(split, number, tuple(items))
