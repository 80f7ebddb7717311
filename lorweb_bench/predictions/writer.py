"""Writing predictions: one image at a time, resumable, never two settings in one folder, the
manifest last.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from lorweb_bench.data.images import decode, encode
from lorweb_bench.errors import InputError
from lorweb_bench.predictions.format import (
    MANIFEST,
    Cost,
    PredictionsManifest,
    identity_of,
    read_manifest,
)
from lorweb_bench.protocol import PREDICTIONS_FORMAT
from lorweb_bench.runtime.files import (
    MARKER,
    claim_output,
    finish_output,
    read_json,
    write_json,
)

COSTS = ".cost"  # a folder of what each run took so far; it goes when the predictions are whole
LEFT_OUT = ".left_out"  # a folder of the items that each run has no answer to; it goes likewise
CODE = "method.code_sha256"


@dataclass
class PredictionsWriter:
    """Writes predictions one by one, so that whatever is stopped resumes where it was.

    Each image is a file `<key>.png`, there when it is whole; `finish` writes the manifest, which
    marks the folder as done. A writer can be sent to other processes: they write different keys.

    Attributes:
        folder: The folder to write.
        settings: The manifest but for samples, partial and cost. Predictions of other settings are
            never mixed in.
    """

    folder: Path
    settings: PredictionsManifest

    def done(self) -> set[str]:
        """The keys that are written."""
        return {path.stem for path in self.folder.glob("*.png")}

    def finished(self) -> PredictionsManifest | None:
        """The manifest, where the folder has one.

        Raises:
            InputError: Its settings, or those of a stopped run, are others; the sentence names
                them.
        """
        if (self.folder / MANIFEST).is_file():
            manifest = read_manifest(self.folder)
            self._refuse_other(identity_of(manifest))
            return manifest
        claim = self._claim()
        if claim is not None:
            self._refuse_other(str(claim.get("identity")))
        return None

    def _claim(self) -> dict[str, Any] | None:
        """What a stopped run of predictions wrote about itself, or None where there is none."""
        marker = self.folder / MARKER
        claim = read_json(marker) if marker.is_file() else None
        ours = isinstance(claim, dict) and claim.get("format") == PREDICTIONS_FORMAT
        return claim if ours else None

    def discard(self) -> None:
        """Delete the predictions in the folder, whatever their settings; nothing else in it."""
        if (self.folder / MANIFEST).is_file() or self._claim() is not None:
            for path in self.folder.glob("*.png"):
                path.unlink()
            for name in (COSTS, LEFT_OUT):
                shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / MANIFEST).unlink(missing_ok=True)
            (self.folder / MARKER).unlink(missing_ok=True)

    def begin(self) -> None:
        """Claim the folder, keeping what is there of the same settings.

        Raises:
            InputError: The folder holds something else.
        """
        manifest = self.finished()
        claim_output(self.folder, PREDICTIONS_FORMAT, identity_of(self.settings))
        for path in self.folder.glob("*.png"):
            if not _is_whole(path):
                path.unlink()  # what a power cut leaves is predicted again
        if manifest is not None:  # a partial run that goes on: what it took still counts
            cost = manifest.cost.model_dump(exclude={"seconds_per_image"})
            seconds = (manifest.cost.seconds_per_image or 0.0) * manifest.samples
            self.add_cost("earlier", seconds, manifest.samples, cost)
            if manifest.unanswered:
                self.leave_out(manifest.unanswered)
            (self.folder / MANIFEST).unlink()

    def add(self, key: str, image: Image.Image) -> None:
        """Write one prediction: whole or not there.

        `finish` flushes them to the disk all at once.
        """
        temporary = self.folder / f".{key}.{os.getpid()}.tmp"
        temporary.write_bytes(encode(image, "png"))
        temporary.replace(self.folder / f"{key}.png")

    def add_cost(self, part: str, seconds: float, images: int, cost: Mapping[str, Any]) -> None:
        """Keep what a part of the work took, under a name of its own.

        `cost` has the other fields of Cost.
        """
        write_json(
            self.folder / COSTS / f"{part}.json", {"seconds": seconds, "images": images, **cost}
        )

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Note items that the method has no answer to, each with the reason."""
        write_json(self.folder / LEFT_OUT / f"{min(reasons)}.json", dict(reasons))

    def left_out(self) -> dict[str, str]:
        """The noted items that still have no answer."""
        reasons: dict[str, str] = {}
        for path in sorted((self.folder / LEFT_OUT).glob("*.json")):
            reasons |= read_json(path)
        done = self.done()
        return {key: reasons[key] for key in sorted(reasons) if key not in done}

    def finish(self, samples: int) -> PredictionsManifest:
        """Write the manifest; `samples` is how many the suite has.

        The predictions of every run count.
        """
        done, unanswered = len(self.done()), self.left_out()
        os.sync()  # the manifest must not reach the disk before the images do
        manifest = self.settings.model_copy(
            update={
                "samples": done,
                "partial": done + len(unanswered) < samples,
                "cost": self._cost(),
                "unanswered": unanswered,
            }
        )
        write_json(self.folder / MANIFEST, manifest.model_dump(mode="json"))
        for name in (COSTS, LEFT_OUT):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for stale in self.folder.glob(".*.tmp"):
            stale.unlink()  # left by a run that was killed
        finish_output(self.folder)
        return manifest

    def _cost(self) -> Cost:
        parts = [read_json(path) for path in sorted((self.folder / COSTS).glob("*.json"))]
        images = sum(part["images"] for part in parts)
        if not images:
            return Cost()
        peaks = [part["peak_memory_bytes"] for part in parts]
        return Cost(
            seconds_per_image=sum(part["seconds"] for part in parts) / images,
            peak_memory_bytes=max((peak for peak in peaks if peak is not None), default=None),
            sampling_steps=parts[-1]["sampling_steps"],
            device=parts[-1]["device"],
        )

    def _refuse_other(self, identity: str) -> None:
        """InputError where predictions of this identity are not of the writer's settings."""
        try:
            before = _flat(json.loads(identity))
        except ValueError:
            before = {}
        current = _flat(json.loads(identity_of(self.settings)))
        different = sorted(k for k in before | current if before.get(k) != current.get(k))
        way_out = "choose another folder with -o, or make them anew with --overwrite"
        if different == [CODE]:
            raise InputError(
                f"{self.folder} holds predictions that an earlier state of the method's code made "
                f"({CODE} {str(before.get(CODE))[:12]} instead of {str(current.get(CODE))[:12]}); "
                f"{way_out}."
            )
        if different:
            words = [f"{k} {before.get(k)!r} instead of {current.get(k)!r}" for k in different[:3]]
            raise InputError(
                f"{self.folder} holds predictions with {' and '.join(words)}; {way_out}."
            )


def _is_whole(path: Path) -> bool:
    try:
        decode(path.read_bytes(), str(path))
    except InputError:
        return False
    return True


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dots between the keys."""
    if not isinstance(value, dict):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{name}.{key}" if name else key)
    return flat


class Running(Protocol):
    """A method that is run: what its cost names of it."""

    @property
    def device(self) -> str:
        """The device that the method runs on."""
        ...

    @property
    def sampling_steps(self) -> int | None:
        """The steps of its sampler; None where it has none."""
        ...


def cost_of(method: Running) -> dict[str, Any]:
    """`peak_memory_bytes`, `sampling_steps` and `device` of a method in this process, as `Cost` has
    them.
    """
    device = method.device
    name = gpu_name(device)
    return {
        "peak_memory_bytes": peak_memory(),
        "sampling_steps": method.sampling_steps,
        "device": f"{device} ({name})" if name else device,
    }


def gpu_name(device: str) -> str | None:
    """What a CUDA device is called, or None for another one."""
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda") or not torch.cuda.is_initialized():
        return None
    return str(torch.cuda.get_device_name(device))


def peak_memory() -> int | None:
    """The most bytes held so far: on the GPU where PyTorch uses one in this process, else by the
    process itself.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)
