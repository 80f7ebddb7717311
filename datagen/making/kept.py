"""Values that are costly to make and wanted again soon, in a bounded part of memory."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values by key, of each process its own: those used lately, while they take no more than `limit` bytes together."""

    def __init__(self, limit: int, size: Callable[[V], int]) -> None:
        self.limit, self.size = limit, size
        self._values: dict[K, V] = {}
        self._bytes = 0

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of a key, made where it is not there."""
        if key in self._values:
            value = self._values.pop(key)
        else:
            value = make()
            self._bytes += self.size(value)
        self._values[key] = value
        while len(self._values) > 1 and self._bytes > self.limit:
            self._bytes -= self.size(self._values.pop(next(iter(self._values))))
        return value
