"""Reading a safetensors file that a stranger made.

Its header is checked within bounds before any tensor is touched.

The format: eight bytes with the header's length, the header as JSON, then the tensors' bytes
(https://github.com/huggingface/safetensors). Nothing in it is code; what can be wrong is sizes, and
this says which.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from safetensors import safe_open
from torch import Tensor

from lorweb_bench.errors import InputError

MAX_HEADER = 16 * 2**20  # bytes; the released file's is a third of a megabyte
SIZES = {"F16": 2, "BF16": 2, "F32": 4}


@dataclass(frozen=True)
class WeightsFile:
    """A checked file: the shape of every tensor, and the tensors on demand."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    handle: Any

    def tensor(self, name: str) -> Tensor:
        """One tensor; InputError where it holds infinity or NaN."""
        found: Tensor = self.handle.get_tensor(name)
        if not found.isfinite().all():
            raise InputError(
                f"{self.path}: `{name}` holds infinity or NaN; it comes from a training that broke "
                "down"
            )
        return found


@contextmanager
def open_weights(path: Path) -> Iterator[WeightsFile]:
    """Open a safetensors file of floating-point tensors.

    InputError that names the file and what is wrong with it.
    """
    shapes = _checked_header(path)
    try:
        handle = safe_open(path, framework="pt")
    except Exception as error:  # safetensors has its own error class
        raise InputError(
            f"{path}: not a whole safetensors file ({error}); download it again"
        ) from error
    with handle:
        yield WeightsFile(path, shapes, handle)


def _checked_header(path: Path) -> dict[str, tuple[int, ...]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; name the .safetensors file of a release")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > size - 8:
            if (
                start[:1] == b"\x80" or start[:2] == b"PK"
            ):  # not by itself: a header of 128 bytes begins so too
                raise InputError(
                    f"{path}: looks like a pickle, which can run code when it is read; only "
                    "safetensors are read"
                )
            raise InputError(
                f"{path}: no safetensors file, or cut in its header; download it again"
            )
        if length > MAX_HEADER:
            raise InputError(
                f"{path}: its header claims {length:,} bytes, more than the {MAX_HEADER:,} that "
                "are read; it is no LoRWeB checkpoint"
            )
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: its header is no JSON object without repetitions ({error}); download it again"
        ) from error
    if not isinstance(header, dict):
        raise InputError(f"{path}: its header is no JSON object; download it again")
    header.pop("__metadata__", None)
    return _checked_entries(path, header, size - 8 - length)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(
            f"`{next(name for name in names if names.count(name) > 1)}` stands there twice"
        )
    return dict(pairs)


def _checked_entries(path: Path, header: dict[str, Any], data: int) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors, whose bytes must fill the rest of the file without gaps."""
    spans = []
    for name, entry in header.items():
        kind, shape, span = (
            entry.get(key) if isinstance(entry, dict) else None
            for key in ("dtype", "shape", "data_offsets")
        )
        if kind not in SIZES:
            raise InputError(
                f"{path}: `{name}` is of type {str(kind)[:20]}; weights are {', '.join(SIZES)}"
            )
        if (
            not _counts(shape)
            or not _counts(span)
            or len(span) != 2
            or span[1] - span[0] != SIZES[kind] * math.prod(shape)
        ):
            raise InputError(
                f"{path}: the header's shape and place of `{name}` do not go together; download it "
                "again"
            )
        spans.append((span[0], span[1], name))
    at = 0
    for first, last, name in sorted(spans):
        if first != at:
            raise InputError(
                f"{path}: the bytes of `{name}` do not begin where others end; download it again"
            )
        at = last
    if at != data:
        raise InputError(
            f"{path}: holds {data:,} bytes of tensors where its header tells of {at:,}; it was cut "
            "or added to, download it again"
        )
    return {name: tuple(entry["shape"]) for name, entry in header.items()}


def _counts(values: Any) -> TypeGuard[list[int]]:
    """Whether it is a short list of whole numbers, none negative, small enough to be sizes."""
    return (
        isinstance(values, list)
        and len(values) <= 8
        and all(type(v) is int and 0 <= v < 2**48 for v in values)
    )
