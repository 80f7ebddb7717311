"""Which track a result is on, and how new the suite is to the method: from manifests, not from
claims.

A result is `closed` where all that the method was trained on is the suite's own training dataset,
by fingerprint; anything else is `open`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from lorweb_bench.data.composition import families_of
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.manifest import MANIFEST, Manifest, read_manifest
from lorweb_bench.errors import InputError, first_error
from lorweb_bench.methods.base import TABLE
from lorweb_bench.predictions.format import MethodId, PredictionsManifest
from lorweb_bench.protocol import SEEN_TIERS, TIERS_OF_SPLIT
from lorweb_bench.reports.report import Novelty, TrainedOn
from lorweb_bench.runtime.hub import fetch_file, is_hub_name, parse_name
from lorweb_bench.runtime.rerun_command import relative_path

NOTHING = "nothing"
ADAPTED_TIERS = (
    "new_parameters",
    "new_composition",
)  # of families that are trained on, by definition
Statement = str | Path | TrainedOn


def novelty(
    made: PredictionsManifest, suite: Dataset, trained_on: Sequence[Statement] | None = None
) -> Novelty:
    """What a method was trained on, and how many of the suite's unseen families that had.

    Args:
        made: The manifest of its predictions. A method states what it was trained on as
            `training_dataset` in what it describes of itself (a mapping with `name` and
            `fingerprint`, or a list of such); the methods of this package are trained on nothing.
        suite: The suite's full view.
        trained_on: In place of that: training datasets (folders, or their `dataset.json`) or
            `nothing`. None where nobody says.

    Raises:
        InputError: A statement cannot be read.
    """
    statements = _read(trained_on) if trained_on is not None else stated(made.method)
    unseen = unseen_families(suite.manifest)
    if statements is None:
        return Novelty(unseen_families=len(unseen))
    families: set[str] | None = set()
    for dataset, manifest in statements:
        dataset_families = _trained_families(dataset, manifest, suite)
        families = (
            None if dataset_families is None or families is None else families | dataset_families
        )
    return Novelty(
        trained_on=tuple(dataset for dataset, _ in statements),
        unseen_families=len(unseen),
        trained_families=None if families is None else len(unseen & families),
    )


def track_of(
    made: PredictionsManifest,
    suite: Dataset,
    found: Novelty,
    given: bool = False,
) -> Literal["closed", "open"]:
    """The track of a result.

    Args:
        made: The manifest of its predictions. What says that it is `open` stays open, unless what
            it was trained on is `given` for this scoring.
        suite: The suite.
        found: What the method was trained on.
        given: Whether that was said by whoever scores.
    """
    if found.trained_on is None or (made.track == "open" and not given):
        return "open"
    train_set = suite.manifest.tiers_relative_to
    whole = all(d.fingerprint is not None and d.fingerprint == train_set for d in found.trained_on)
    return "closed" if whole else "open"


def stated(method: MethodId) -> list[tuple[TrainedOn, Manifest | None]] | None:
    """What a method says that it was trained on; None where it says nothing of it.

    Raises:
        InputError: What it says is no dataset with a name.
    """
    extra: Mapping[str, Any] = method.model_extra or {}
    training = extra.get("training_dataset")
    if training is None:
        untrained = method.name in TABLE and not {"code_sha256", "checkpoint_sha256"} & set(extra)
        return [] if untrained else None
    statements: list[tuple[TrainedOn, Manifest | None]] = []
    for description in training if isinstance(training, list) else [training]:
        try:
            statements.append((TrainedOn.model_validate(description), None))
        except ValidationError as error:
            raise InputError(
                f"The method {method.name!r} describes its training_dataset as {description!r} "
                f"({first_error(error)}); give name and fingerprint, or a list of such."
            ) from None
    return statements


def named_statements(trained_on: Sequence[Statement] | None) -> str | None:
    """What was trained on, as `--trained-on` takes it; None where it is not named by files."""
    words = []
    for statement in trained_on or ():
        if isinstance(statement, TrainedOn):
            return None
        words.append(NOTHING if str(statement) == NOTHING else relative_path(statement))
    return ",".join(words) or None


def _read(trained_on: Sequence[Statement]) -> list[tuple[TrainedOn, Manifest | None]]:
    datasets: list[tuple[TrainedOn, Manifest | None]] = []
    for statement in trained_on:
        if isinstance(statement, TrainedOn):
            datasets.append((statement, None))
        elif str(statement) != NOTHING:
            manifest = read_manifest(_folder_of(statement))
            dataset = TrainedOn(
                name=manifest.name, version=manifest.version, fingerprint=manifest.fingerprint
            )
            datasets.append((dataset, manifest))
        elif len(trained_on) > 1:
            raise InputError(f"Trained on {NOTHING!r} stands alone; leave it out beside datasets.")
    return datasets


def _folder_of(statement: str | Path) -> Path:
    """The folder that a dataset's manifest lies in; of one on the hub, the manifest alone comes."""
    if is_hub_name(statement):
        return fetch_file(parse_name(statement), "dataset", MANIFEST)[0].parent
    path = Path(statement)
    return path.parent if path.name == MANIFEST else path


def unseen_families(manifest: Manifest) -> set[str]:
    """The families of the suite's unseen transformations; a composition has those of its steps."""
    families: set[str] = set()
    for info in manifest.transformations.values():
        if info.tier in TIERS_OF_SPLIT["unseen"]:
            families.update(families_of(info.family))
    return families


def _trained_families(
    dataset: TrainedOn, manifest: Manifest | None, suite: Dataset
) -> set[str] | None:
    """The families that a dataset trains; None where neither its manifest nor the suite tells."""
    families: set[str] = set()
    if manifest is not None:
        for info in manifest.transformations.values():
            if info.trained is not False:
                families.update(families_of(info.family))
        return families
    if dataset.fingerprint is None or dataset.fingerprint != suite.manifest.tiers_relative_to:
        return None
    for info in suite.manifest.transformations.values():
        if info.tier in (*SEEN_TIERS, *ADAPTED_TIERS):
            families.update(families_of(info.family))
    return families
