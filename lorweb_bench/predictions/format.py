"""What `predictions.json` says: which suite, whose predictions, and how they were made."""

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.shard_format import read_sidecar
from lorweb_bench.errors import InputError, first_error
from lorweb_bench.protocol import MAX_EXEMPLARS
from lorweb_bench.runtime.files import canonical_json, read_json

MANIFEST = "predictions.json"


class SuiteId(BaseModel):
    """Which suite: name, version and fingerprint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    fingerprint: str


class MethodId(BaseModel):
    """Which method: its name and version, and whatever else it says of itself."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(min_length=1, max_length=100)
    version: str | None = None


class Cost(BaseModel):
    """What the predictions took.

    Seconds are those spent in the method. Memory is the GPU's where the method ran on one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds_per_image: float | None = None
    peak_memory_bytes: int | None = None
    sampling_steps: int | None = None
    device: str | None = None


class PredictionsManifest(BaseModel):
    """`predictions.json`.

    `partial` marks a run with a limit or over a part of the items; it is never ranked. `unanswered`
    names the items that the method has no answer to, with the reasons; it is written where there
    are any.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["lorweb-bench/predictions"] = "lorweb-bench/predictions"
    format_version: Literal[1] = 1
    suite: SuiteId
    method: MethodId
    track: Literal["closed", "open"] = "open"
    prompt_mode: Literal["none", "task", "instruction"] = "none"
    pairs: Literal["true", "shuffled"] = "true"
    exemplars: int = Field(1, ge=1, le=MAX_EXEMPLARS)
    seed: int | None = None
    samples: int = Field(ge=0)
    partial: bool = False
    cost: Cost = Cost()
    unanswered: dict[str, str] = {}

    @model_serializer(mode="wrap")
    def _without_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        if not content.get("unanswered"):
            content.pop("unanswered", None)
        if content.get("exemplars") == 1:  # as every folder from before there were several
            del content["exemplars"]
        return content


def identity_of(manifest: PredictionsManifest) -> str:
    """What has to be equal for predictions to share a folder, as canonical JSON."""
    varying = {"samples", "partial", "cost", "unanswered"}
    return canonical_json(manifest.model_dump(mode="json", exclude=varying))


def suite_id(suite: Dataset) -> SuiteId:
    """How predictions and reports name a suite."""
    return SuiteId(name=suite.name, version=suite.version, fingerprint=suite.fingerprint)


def suite_keys(suite: Dataset, split: str) -> list[list[str]]:
    """The keys of a split, per shard, in order, from the sidecars.

    Raises:
        InputError: A sidecar names another number of keys than the suite's manifest.
    """
    keys_by_shard = []
    for entry in suite.split(split).shards:
        keys = [item.key for item in read_sidecar(suite.path / entry.path).items]
        if len(set(keys)) != entry.samples:
            raise InputError(
                f"{suite.path / entry.path}: its sidecar names {len(set(keys))} keys, "
                f"the manifest says {entry.samples} samples."
            )
        keys_by_shard.append(keys)
    return keys_by_shard


def read_manifest(folder: Path) -> PredictionsManifest:
    """Read `predictions.json`; InputError naming the first field that is wrong."""
    path = folder / MANIFEST
    try:
        return PredictionsManifest.model_validate(read_json(path))
    except ValidationError as e:
        raise InputError(f"{path}: {first_error(e)}.") from None
