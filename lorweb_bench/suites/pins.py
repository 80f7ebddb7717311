"""Pins: what the project's own suites are in the pinned environment, and how a build differs.

A suite's name and version stand for one set of images. The pinned environment (`constraints.txt`,
one class of CPU) builds it to the fingerprint in `lorweb_bench/suites/pinned/`. With other
libraries some transformations come out a little different. Scores on such a build are real, and
marked: they are not those of the suite that others score on.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.shard_format import read_sidecar
from lorweb_bench.runtime.environment import build_environment

SHOWN = 6  # names in a sentence


class Pin(BaseModel):
    """A suite in the pinned environment.

    Attributes:
        name: The suite's name.
        version: Its version.
        fingerprint: The fingerprint of its public view.
        targets_fingerprint: The fingerprint of its answers and labels.
        tiers_relative_to: The fingerprint of the training dataset that its tiers are relative to.
        shown: A digest of every a and b.
        environment: What it was built with.
        transformations: A digest of each transformation's images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    fingerprint: str
    targets_fingerprint: str | None
    tiers_relative_to: str | None
    shown: str
    environment: dict[str, str]
    transformations: dict[str, str]


@dataclass(frozen=True)
class Drift:
    """How a build differs from the pinned one.

    Attributes:
        suite: The suite's name and version.
        transformations: The transformations whose images differ.
        libraries: The libraries that differ on this machine.
        causes: Other causes.
    """

    suite: str
    transformations: tuple[str, ...]
    libraries: tuple[str, ...]
    causes: tuple[str, ...]

    def __str__(self) -> str:
        parts = list(self.causes)
        if self.transformations:
            names = _some(self.transformations)
            parts.append(f"{len(self.transformations)} transformations drifted ({names})")
        parts.append(
            f"libraries here: {_some(self.libraries)}"
            if self.libraries
            else "the libraries here are the pinned ones"
        )
        return f"{self.suite} is an unpinned build: {'; '.join(parts)}"


@cache
def pins() -> dict[tuple[str, str], Pin]:
    """All pins by name and version."""
    folder = files("lorweb_bench.suites") / "pinned"
    by_name: dict[tuple[str, str], Pin] = {}
    for file in folder.iterdir():
        if file.name.endswith(".json"):
            pin = Pin.model_validate_json(file.read_text(encoding="utf-8"))
            by_name[pin.name, pin.version] = pin
    return by_name


def pin_of(suite: Dataset) -> Pin:
    """What the pin of this suite would be, were this the pinned environment."""
    shown_digest, transformations = _digests(suite)
    return Pin(
        name=suite.name,
        version=suite.version,
        fingerprint=suite.fingerprint,
        targets_fingerprint=suite.manifest.targets_fingerprint,
        tiers_relative_to=suite.manifest.tiers_relative_to,
        shown=shown_digest,
        environment=build_environment(),
        transformations=transformations,
    )


def drift(suite: Dataset) -> Drift | None:
    """How a suite differs from its pinned build.

    None where it is that build, or where no suite of its name and version is pinned. Of a public
    view only the fingerprint can be compared.
    """
    pin = pins().get((suite.name, suite.version))
    if pin is None:
        return None
    if suite.fingerprint == pin.fingerprint and (
        suite.public or suite.manifest.targets_fingerprint == pin.targets_fingerprint
    ):
        return None
    here = build_environment()
    libraries = tuple(
        f"{name} {here[name]}, not {version}"
        for name, version in pin.environment.items()
        if name in here and here[name] != version
    )
    causes = []
    drifted: tuple[str, ...] = ()
    if not suite.public:
        shown_digest, transformations = _digests(suite)
        drifted = tuple(
            sorted(
                n
                for n in {*transformations, *pin.transformations}
                if transformations.get(n) != pin.transformations.get(n)
            )
        )
        if suite.manifest.tiers_relative_to != pin.tiers_relative_to:
            causes.append("it is relative to another training dataset")
        if shown_digest != pin.shown:
            causes.append("its photographs, or their crops, are not the pinned ones")
        if not drifted and not causes:
            causes.append("its labels are not the pinned ones")
    return Drift(f"{suite.name} {suite.version}", drifted, libraries, tuple(causes))


def write_pin(pin: Pin) -> str:
    """The pin as the text of its file."""
    return json.dumps(pin.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"


def _digests(suite: Dataset) -> tuple[str, dict[str, str]]:
    """A digest of every a and b, and one of each transformation's a_prime and b_prime."""
    digest = hashlib.sha256()
    by_transformation: dict[str, list[str]] = {}
    lines = []
    for split in suite.scored_splits:
        pixels = {
            i.key: i.pixels
            for entry in suite.split(split).shards
            for i in read_sidecar(suite.path / entry.path).items
        }
        for record in suite.records(split):
            item = pixels[record.id]
            lines.append(f"{record.id} {item['a']} {item['b']}\n")
            by_transformation.setdefault(record.transformation, []).append(
                f"{record.id} {item['a_prime']} {item['b_prime']}\n"
            )
    for line in sorted(lines):
        digest.update(line.encode())
    digests = {
        name: hashlib.sha256("".join(sorted(texts)).encode()).hexdigest()[:16]
        for name, texts in by_transformation.items()
    }
    return digest.hexdigest()[:16], dict(sorted(digests.items()))


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN]) + (
        f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    )
