"""Read a safetensors file from a stranger: a release, or the weights of a checkpoint.

The safetensors library itself refuses files that are cut, overlap, have holes or trailing bytes.
Two things it lets through are refused here: a name given twice, and tensors of other types than
floating point. Nothing in the format is code.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from lorweb_bench.errors import InputError

MAX_HEADER = 16 * 2**20  # bytes; the released file's is a third of a megabyte
FLOATS = ("F16", "BF16", "F32")
COPY_AGAIN = "copy or train the checkpoint again"


@dataclass(frozen=True)
class WeightsFile:
    """An open, checked file: the shape of every tensor by its name, and the tensors on demand."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    handle: Any

    def tensor(self, name: str) -> Tensor:
        """Read one tensor.

        Raises:
            InputError: it holds infinity or NaN.
        """
        tensor: Tensor = self.handle.get_tensor(name)
        if not tensor.isfinite().all():
            raise InputError(
                f"{self.path}: `{name}` holds infinity or NaN; "
                "it comes from a training that broke down"
            )
        return tensor


@contextmanager
def open_weights(path: Path, again: str = "download it again") -> Iterator[WeightsFile]:
    """Open a safetensors file of floating-point tensors.

    Args:
        path: the file.
        again: the way out, said where the file is damaged.

    Raises:
        InputError: the file is missing, damaged, a pickle, or holds a name twice or tensors of
            other types; the sentence names the file and what is wrong with it.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; name the .safetensors file of a release")
    try:
        handle = safe_open(path, framework="pt")
    except Exception as error:  # safetensors has an error class of its own
        raise _unreadable(path, error, again) from error
    with handle:
        _refuse_repetitions(path, again)
        slices = {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118
        for name, part in slices.items():
            if part.get_dtype() not in FLOATS:
                raise InputError(
                    f"{path}: `{name}` is of type {part.get_dtype()}; weights are "
                    f"{', '.join(FLOATS)}"
                )
        shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
        yield WeightsFile(path, shapes, handle)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint's file.

    Raises:
        InputError: the file is missing or damaged, or a tensor is of another type than floating
            point or holds infinity or NaN.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; {COPY_AGAIN}")
    with open_weights(path, COPY_AGAIN) as weights:
        return {name: weights.tensor(name) for name in weights.shapes}


def check_shapes(
    path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse tensors that are not those that a checkpoint's config asks for.

    Raises:
        InputError: a tensor is missing, is not asked for, or has another shape.
    """
    for name in sorted(tensors.keys() | expected.keys()):
        shape = tuple(tensors[name].shape) if name in tensors else None
        asked = tuple(expected[name]) if name in expected else None
        if shape != asked:
            there = "missing" if shape is None else f"{shape}"
            wanted = "there is none" if asked is None else f"it is {asked}"
            raise InputError(
                f"{path}: does not fit `adapter` in config.json (`{name}` is {there}, by the "
                f"config {wanted}); {COPY_AGAIN}"
            )


def _unreadable(path: Path, error: Exception, again: str) -> InputError:
    with path.open("rb") as file:
        start = file.read(2)
    if start[:1] == b"\x80" or start == b"PK":
        return InputError(
            f"{path}: looks like a pickle, which can run code when it is read; "
            "only safetensors are read"
        )
    reason = " ".join(str(error).split())[:200]
    return InputError(f"{path}: not a whole safetensors file ({reason}); {again}")


def _refuse_repetitions(path: Path, again: str) -> None:
    """InputError where the header gives a name twice, or is too long to be that of a LoRWeB."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER:
            raise InputError(
                f"{path}: its header has {length:,} bytes, more than the {MAX_HEADER:,} that are "
                "read; it is no LoRWeB checkpoint"
            )
        text = file.read(length)
    try:
        json.loads(text, object_pairs_hook=_without_repetitions)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged header ({error}); {again}") from error


def _without_repetitions(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for name, value in pairs:
        if name in mapping:
            raise ValueError(f"`{name}` stands there twice")
        mapping[name] = value
    return mapping
