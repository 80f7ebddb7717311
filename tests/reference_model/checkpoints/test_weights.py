"""Reading a stranger's safetensors file: what is whole is read, what is not is named."""

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from lorweb_bench.errors import InputError
from reference_model.checkpoints.weights import MAX_HEADER, open_weights

WEIGHTS = {
    "x": torch.arange(6.0).view(2, 3),
    "y": torch.ones(4, dtype=torch.float16),
    "z": torch.zeros(1, 2, dtype=torch.bfloat16),
}


def saved(path: Path, weights: dict[str, torch.Tensor] | None = None) -> Path:
    save_file(WEIGHTS if weights is None else weights, path, metadata={"format": "pt"})
    return path


def raw(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    """A file of any header, an object or text."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(shape: list[Any], first: Any, last: Any, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    with open_weights(saved(tmp_path / "whole.safetensors")) as found:
        assert found.shapes == {"x": (2, 3), "y": (4,), "z": (1, 2)}
        assert all(torch.equal(found.tensor(name), weights) for name, weights in WEIGHTS.items())


@pytest.mark.parametrize(
    "length", [0x180, 0x50 + 0x4B * 256]
)  # as they are written, these begin like a pickle and like a zip
def test_a_header_of_any_length_is_read(tmp_path: Path, length: int) -> None:
    text = json.dumps({"x": entry([2], 0, 8)}).ljust(length)
    with open_weights(raw(tmp_path / "whole.safetensors", text, bytes(8))) as found:
        assert found.shapes == {"x": (2,)}


NOT_WHOLE = "not a whole safetensors file"
HOSTILE: dict[str, tuple[Any, bytes, str]] = {
    "overlap": ({"x": entry([2], 0, 8), "y": entry([2], 4, 12)}, bytes(12), NOT_WHOLE),
    "gap": ({"x": entry([2], 0, 8), "y": entry([1], 12, 16)}, bytes(16), NOT_WHOLE),
    "outside": ({"x": entry([2**20], 0, 2**22)}, bytes(8), NOT_WHOLE),
    "added to": ({"x": entry([2], 0, 8)}, bytes(9), NOT_WHOLE),
    "size": ({"x": entry([3], 0, 8)}, bytes(8), NOT_WHOLE),
    "negative": ({"x": entry([-2], 0, -8)}, b"", NOT_WHOLE),
    "fractions": ({"x": entry([2.0], 0, 8)}, bytes(8), NOT_WHOLE),
    "truth": ({"x": entry([True], 0, 4)}, bytes(4), NOT_WHOLE),
    "no place": ({"x": {"dtype": "F32", "shape": [2]}}, bytes(8), NOT_WHOLE),
    "three places": (
        {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 8]}},
        bytes(8),
        NOT_WHOLE,
    ),
    "no entry": ({"x": 3}, bytes(8), NOT_WHOLE),
    "type": (
        {"x": entry([8], 0, 8, "I8")},
        bytes(8),
        "`x` is of type I8; weights are F16, BF16, F32",
    ),
    "twice": (
        '{"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, '
        '"x": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}}',
        bytes(8),
        "`x` stands there twice",
    ),
    "twice inside": ('{"x": {"dtype": "F32", "dtype": "I8"}}', b"", NOT_WHOLE),
    "list": ([1], b"", NOT_WHOLE),
    "no JSON": ("{", b"", NOT_WHOLE),
    "deep": ("[" * 100_000, b"", NOT_WHOLE),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_header_is_named(tmp_path: Path, what: str) -> None:
    header, data, sentence = HOSTILE[what]
    path = raw(tmp_path / "hostile.safetensors", header, data)
    with pytest.raises(InputError, match=r"hostile\.safetensors: .*") as caught, open_weights(path):
        pass
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_huge_header_is_not_read(tmp_path: Path) -> None:
    path = raw(tmp_path / "huge.safetensors", "{}", length=2**60)
    with pytest.raises(InputError, match=NOT_WHOLE), open_weights(path):
        pass
    padded = "{}".ljust(MAX_HEADER + 1)
    path = raw(path, padded)
    with (
        pytest.raises(InputError, match="its header has 16,777,217 bytes, more than"),
        open_weights(path),
    ):
        pass


def test_a_tensor_of_many_axes_is_left_to_whoever_knows_the_shape(tmp_path: Path) -> None:
    path = raw(tmp_path / "axes.safetensors", {"x": entry([1] * 9, 0, 4)}, bytes(4))
    with open_weights(path) as found:
        assert found.shapes == {"x": (1,) * 9}


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    plain, zipped = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    plain.write_bytes(pickle.dumps(Trap()))
    torch.save({"x": torch.ones(1)}, zipped)
    for path in (plain, zipped):
        with pytest.raises(InputError, match="looks like a pickle"), open_weights(path):
            pass
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    for name, sentence in (
        ("none", "no such file"),
        (".", "no such file"),
        ("empty", NOT_WHOLE),
    ):
        with pytest.raises(InputError, match=sentence), open_weights(tmp_path / name):
            pass


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_named(tmp_path: Path, bad: float) -> None:
    path = saved(tmp_path / "bad.safetensors", {"x": torch.tensor([1.0, bad])})
    with open_weights(path) as found, pytest.raises(InputError, match="`x` holds infinity or NaN"):
        found.tensor("x")


@given(st.data())
def test_a_file_that_is_cut_or_has_a_flipped_byte_in_its_header_never_gives_other_shapes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = saved(tmp_path_factory.getbasetemp() / "spoilt.safetensors")
    whole = path.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    if data.draw(st.booleans()):
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    else:
        at = data.draw(st.integers(0, header - 1))
        path.write_bytes(
            whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
        )
    try:
        with open_weights(path) as found:
            assert (
                sum(torch.Size(shape).numel() for shape in found.shapes.values()) == 12
            )  # names and metadata may differ
    except InputError as error:
        assert "spoilt.safetensors" in str(error)
