"""The manifest of a dataset, `dataset.json`, and the two fingerprints that it carries."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
)

from lorweb_bench.data.shard_format import Item, shown_roles
from lorweb_bench.errors import InputError, first_error
from lorweb_bench.protocol import MAX_EXEMPLARS, SPLITS, TIERS
from lorweb_bench.runtime.files import canonical_json, read_json

MANIFEST = "dataset.json"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    # The field that is only written where a base is declared.
    of_base: ClassVar[str] = ""

    @model_serializer(mode="wrap")
    def _without_null(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = write(self)
        if content.get(self.of_base, "") is None:
            del content[self.of_base]
        return content


class BaseInfo(_Strict):
    """The declared base: its name, and the sha256 of its weights."""

    name: str = Field(min_length=1)
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")


class TransformationInfo(_Strict):
    """What the manifest says of a transformation.

    `tier` is None where the transformation is a candidate of `retrieval` only, `known_to_base`
    where no base is declared.
    """

    of_base = "known_to_base"

    family: str = ""
    kind: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    instruction: str = ""
    tier: str | None = None
    deterministic: bool = True
    trained: bool | None = None
    known_to_base: bool | None = None

    @field_validator("tier")
    @classmethod
    def _known_tier(cls, tier: str | None) -> str | None:
        if tier is not None and tier not in TIERS:
            raise ValueError(f"tier {tier!r} is none of {', '.join(TIERS)}")
        return tier

    @property
    def spec(self) -> dict[str, Any]:
        """What a transformation library's `apply` takes: family and parameters."""
        return {"family": self.family, "parameters": self.parameters}


class ShardEntry(_Strict):
    """A shard in the manifest, by its path in the dataset's folder; `bytes` is its size."""

    path: str = Field(pattern=r"^[a-z]+/[0-9]{6,9}\.tar$")  # never leads out of the folder
    sha256: str
    samples: int = Field(ge=1)
    bytes: int = Field(ge=1)


class SplitInfo(_Strict):
    """The shards of a split, and how many samples they hold together."""

    samples: int = Field(ge=0)
    shards: tuple[ShardEntry, ...]


class Manifest(_Strict):
    """`dataset.json`; only suites have a `canary`.

    `answers` is false where nobody has a b_prime, as in sets that others released without.
    """

    of_base = "base"

    format: Literal["lorweb-bench/dataset"]
    format_version: Literal[1]
    name: str
    version: str
    supersedes: str | None = None
    view: Literal["full", "public"]
    recipe: dict[str, Any] | None = None
    splits: dict[str, SplitInfo]
    transformations: dict[str, TransformationInfo] = Field(default_factory=dict)
    transformation_library: str | None = None
    left_out: dict[str, int] = Field(default_factory=dict)
    chosen_with: dict[str, str] = Field(default_factory=dict)
    tiers_relative_to: str | None = None
    base: BaseInfo | None = None
    exemplars: int = Field(1, ge=1, le=MAX_EXEMPLARS)
    fingerprint: str
    targets_fingerprint: str | None = None
    canary: str | None = None
    answers: bool | None = None

    @field_validator("splits")
    @classmethod
    def _known_splits(cls, splits: dict[str, SplitInfo]) -> dict[str, SplitInfo]:
        if unknown := set(splits) - set(SPLITS):
            names = ", ".join(sorted(unknown))
            raise ValueError(f"splits {names} are none of {', '.join(SPLITS)}")
        paths = Counter(entry.path for split in splits.values() for entry in split.shards)
        if twice := [path for path, count in paths.items() if count > 1]:
            raise ValueError(f"the shard {twice[0]} is listed twice")
        return splits

    @property
    def base_words(self) -> str | None:
        """The declared base and how much of what is listed it knows, or None without one."""
        if self.base is None:
            return None
        known = sum(bool(info.known_to_base) for info in self.transformations.values())
        return (
            f"{self.base.name} ({self.base.fingerprint}), which knows {known:,} of the "
            f"{len(self.transformations):,} listed transformations"
        )


def read_manifest(folder: Path | str) -> Manifest:
    """Read `dataset.json`; InputError when it is missing, of another format, or malformed."""
    path = Path(folder) / MANIFEST
    if not Path(folder).is_dir():
        raise InputError(f"{folder} is not a folder; a dataset is a folder with {MANIFEST}.")
    if not path.is_file():
        raise InputError(f"{folder} is not a dataset, or not a finished one: it has no {MANIFEST}.")
    content = read_json(path)
    try:
        return Manifest.model_validate(content)
    except ValidationError as e:
        raise InputError(f"{path}: {first_error(e)}.") from None


def public_line(item: Item) -> str:
    """What the fingerprint is taken over: a sample's key and the pixels of all that is shown."""
    return " ".join([item.key, *(item.pixels[role] for role in shown_roles(item.pixels))])


def target_line(item: Item) -> str:
    """What the targets' fingerprint is taken over: a sample's key, b_prime's pixels, its record."""
    return f"{item.key} {item.pixels.get('b_prime', '')} {item.labels}"


def fingerprint_of(items: Iterable[Item]) -> str:
    """The sha256 over keys and the pixels of a, a_prime and b, sorted by key.

    So it does not depend on shards, splits and order.
    """
    digest = hashlib.sha256()
    for item in sorted(items, key=lambda item: item.key):
        digest.update(public_line(item).encode() + b"\n")
    return digest.hexdigest()


def targets_fingerprint_of(items: Iterable[Item], manifest: Manifest) -> str:
    """The sha256 over keys, b_prime's pixels, records, and the manifest's transformations."""
    digest = hashlib.sha256()
    for item in sorted(items, key=lambda item: item.key):
        digest.update(target_line(item).encode() + b"\n")
    digest.update(transformations_line(manifest))
    return digest.hexdigest()


def transformations_line(manifest: Manifest) -> bytes:
    """What the targets' fingerprint ends with: transformations and their library, in JSON."""
    listed = {name: info.model_dump(mode="json") for name, info in manifest.transformations.items()}
    return canonical_json([listed, manifest.transformation_library]).encode()
