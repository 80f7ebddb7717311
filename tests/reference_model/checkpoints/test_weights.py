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


HOSTILE: dict[str, tuple[Any, bytes, str]] = {
    "overlap": (
        {"x": entry([2], 0, 8), "y": entry([2], 4, 12)},
        bytes(12),
        "the bytes of `y` do not begin where others end",
    ),
    "gap": (
        {"x": entry([2], 0, 8), "y": entry([1], 12, 16)},
        bytes(16),
        "the bytes of `y` do not begin where others end",
    ),
    "outside": (
        {"x": entry([2**20], 0, 2**22)},
        bytes(8),
        "holds 8 bytes of tensors where its header tells of 4,194,304",
    ),
    "added to": ({"x": entry([2], 0, 8)}, bytes(9), "cut or added to"),
    "size": ({"x": entry([3], 0, 8)}, bytes(8), "shape and place of `x` do not go together"),
    "negative": ({"x": entry([-2], 0, -8)}, b"", "shape and place of `x`"),
    "fractions": ({"x": entry([2.0], 0, 8)}, bytes(8), "shape and place of `x`"),
    "truth": ({"x": entry([True], 0, 4)}, bytes(4), "shape and place of `x`"),
    "many axes": ({"x": entry([1] * 9, 0, 4)}, bytes(4), "shape and place of `x`"),
    "no place": ({"x": {"dtype": "F32", "shape": [2]}}, bytes(8), "shape and place of `x`"),
    "three places": (
        {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 8]}},
        bytes(8),
        "shape and place of `x`",
    ),
    "no entry": ({"x": 3}, bytes(8), "`x` is of type None"),
    "type": (
        {"x": entry([8], 0, 8, "I8")},
        bytes(8),
        "`x` is of type I8; weights are F16, BF16, F32",
    ),
    "twice": ('{"x": {}, "x": {}}', b"", "`x` stands there twice"),
    "twice inside": ('{"x": {"dtype": "F32", "dtype": "I8"}}', b"", "`dtype` stands there twice"),
    "list": ([1], b"", "its header is no JSON object"),
    "no JSON": ("{", b"", "no JSON object without repetitions"),
    "deep": ("[" * 100_000, b"", "no JSON object without repetitions"),
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
    with (
        pytest.raises(InputError, match="no safetensors file, or cut in its header"),
        open_weights(path),
    ):
        pass
    with path.open("wb") as file:  # a sparse file as long as its header claims
        file.write(struct.pack("<Q", MAX_HEADER + 1) + b"{}")
        file.truncate(MAX_HEADER + 100)
    with (
        pytest.raises(InputError, match="its header claims 16,777,217 bytes, more than"),
        open_weights(path),
    ):
        pass


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
        ("empty", "no safetensors file"),
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
