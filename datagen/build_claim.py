"""Whose work an output folder holds: a build's claim on it, and what differs from another's."""

import contextlib
import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from datagen.planning.seeding import BUILDING
from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.data.manifest import read_manifest
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import DATASET_FORMAT
from lorweb_bench.runtime.files import (
    canonical_json,
    claim_output,
    finish_output,
    read_json,
    write_json,
)


def take_folder(folder: Path, claim: dict[str, Any]) -> bool:
    """Claim the output folder.

    Returns:
        Whether the same build was begun there before.

    Raises:
        InputError: Other work was begun there; the error names what differs.
    """
    marker = folder / BUILDING
    resumed = marker.is_file()
    if resumed and (differs := _differences(read_json(marker), claim)):
        raise InputError(
            f"{folder} holds a build that was begun with {differs}; "
            "choose another folder with -o, or delete it."
        )
    claim_output(folder, DATASET_FORMAT, json_digest(claim))
    write_json(marker, claim)
    return resumed


def release_folder(folder: Path, splits: Iterable[str] = ()) -> None:
    """Undo `take_folder`, and remove the folders of splits that no shard came into."""
    for split in splits:
        shutil.rmtree(folder / split, ignore_errors=True)
    remove_marks(folder)
    with contextlib.suppress(OSError):  # it holds something, or another part was quicker
        folder.rmdir()


def remove_marks(folder: Path) -> None:
    """Remove the marks of a build in progress."""
    (folder / BUILDING).unlink(missing_ok=True)
    finish_output(folder)


def open_finished(folder: Path, wanted: Mapping[str, Any]) -> Dataset:
    """The finished dataset in a folder.

    Args:
        folder: A folder with a manifest.
        wanted: The `recipe`, and the fingerprints of what its tiers are `relative_to` and of its
            `base`, that the dataset should have been made with.

    Raises:
        InputError: Another recipe made it, or none; the error names what differs.
    """
    manifest = read_manifest(folder)
    if manifest.recipe is None:
        raise InputError(
            f"{folder} holds a dataset that was not built from a recipe; "
            "choose another folder with -o."
        )
    made: dict[str, Any] = {"recipe": manifest.recipe, "relative_to": manifest.tiers_relative_to}
    if manifest.base:
        made["base"] = manifest.base.fingerprint
    if differs := _differences(made, wanted):
        raise InputError(
            f"{folder} holds a dataset that was built with {differs}; "
            "choose another folder with -o, or delete it."
        )
    remove_marks(folder)  # of a build that was killed between its manifest and its end
    return open_dataset(folder)


def json_digest(value: Any) -> str:
    """The sha256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _differences(old: Any, new: Any) -> str:
    """What differs, in words: the first three keys, each with the old value and the new one.

    Empty where nothing differs.
    """
    unequal = [
        f"{key} {_shorten(before)} and not {_shorten(after)}"
        for key, before, after in _unequal_keys(old, new, "")
    ]
    more = f", and {len(unequal) - 3} more" if len(unequal) > 3 else ""
    return ", ".join(unequal[:3]) + more


def _unequal_keys(old: Any, new: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """The dotted keys whose values differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            dotted = f"{name}.{key}" if name else str(key)
            yield from _unequal_keys(old.get(key), new.get(key), dotted)
    elif canonical_json(old) != canonical_json(new):
        yield name.removeprefix("recipe."), old, new


def _shorten(value: Any) -> str:
    text = canonical_json(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
