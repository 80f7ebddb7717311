"""Shared by the tests of the contract: writing a dataset of tiny random panels."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorweb_bench.data.dataset import Dataset, finish_dataset
from lorweb_bench.data.images import encode
from lorweb_bench.data.shards import ShardWriter
from lorweb_bench.protocol import ROLES

WIDTH, HEIGHT = 12, 10
TRANSFORMATIONS = {"invert": "invert", "hue_shift-degrees_60": "hue_shift"}


def panel(name: str, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Random pixels that depend on the name alone."""
    return np.random.default_rng(zlib.crc32(name.encode())).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )


def sample(
    key: str, ext: str = "png", **labels: Any
) -> tuple[str, dict[str, tuple[bytes, str]], dict[str, Any]]:
    """What `ShardWriter.add` takes, for a key: four random panels and a record."""
    transformation = sorted(TRANSFORMATIONS)[zlib.crc32(key.encode()) % 2]
    record = {
        "id": key,
        "transformation": transformation,
        "family": TRANSFORMATIONS[transformation],
        "kind": "colour",
        "tier": "seen_single",
    }
    record |= {
        "instruction": "do it",
        "a_source": f"a-{key}",
        "b_source": f"b-{key}",
        "licence": "CC0-1.0",
        "attribution": "nobody",
    }
    record |= {"width": WIDTH, "height": HEIGHT, **labels}
    return key, {role: (encode(panel(f"{key} {role}"), ext), ext) for role in ROLES}, record


def write(
    folder: Path, keys: Mapping[str, Sequence[str]], shard_size: int = 4, **fields: Any
) -> Dataset:
    """Write and finish a dataset with these keys by split, so many in a shard."""
    for split, names in keys.items():
        for start in range(0, len(names), shard_size):
            with ShardWriter(folder, split, start // shard_size) as shard:
                for key in names[start : start + shard_size]:
                    shard.add(*sample(key))
    described = {
        name: {
            "family": family,
            "kind": "colour",
            "parameters": {},
            "instruction": "do it",
            "tier": "seen_single",
            "deterministic": True,
        }
        for name, family in TRANSFORMATIONS.items()
    }
    manifest = {
        "name": "tiny",
        "version": "1",
        "view": "full",
        "recipe": {},
        "transformations": described,
        **fields,
    }
    return finish_dataset(folder, manifest)


@pytest.fixture(name="panel", scope="session")
def _panel() -> Callable[..., np.ndarray]:
    return panel


@pytest.fixture(name="sample", scope="session")
def _sample() -> Callable[..., Any]:
    return sample


@pytest.fixture(scope="session")
def write_dataset() -> Callable[..., Dataset]:
    """`write_dataset(folder, {"train": keys}, shard_size=4, **manifest fields)`."""
    return write


@pytest.fixture
def tiny(tmp_path: Path) -> Dataset:
    """A dataset of 10 training samples in three shards and 3 dev samples."""
    return write(
        tmp_path / "tiny", {"train": [f"t{i}" for i in range(10)], "dev": ["d0", "d1", "d2"]}
    )
