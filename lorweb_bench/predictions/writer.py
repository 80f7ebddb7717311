"""Writing predictions: one image at a time, resumable, never two settings in one folder, the manifest last."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lorweb_bench.data.images import decode, encode
from lorweb_bench.errors import InputError
from lorweb_bench.predictions.format import MANIFEST, Cost, PredictionsManifest, read_manifest
from lorweb_bench.protocol import PREDICTIONS_FORMAT
from lorweb_bench.runtime.files import (
    MARKER,
    canonical_json,
    claim_output,
    finish_output,
    read_json,
    write_json,
)

COSTS = ".cost"  # a folder of what each run took so far; it goes when the predictions are whole


@dataclass
class PredictionsWriter:
    """Writes predictions one by one, so that whatever is stopped resumes where it was.

    `settings` is the manifest but for samples, partial and cost; predictions of other settings are never mixed in. Each image
    is a file `<key>.png`, there when it is whole; `finish` writes the manifest, which marks the folder as done. A writer can
    be sent to other processes: they write different keys.
    """

    folder: Path
    settings: PredictionsManifest

    def done(self) -> set[str]:
        """The keys that are written."""
        return {path.stem for path in self.folder.glob("*.png")}

    def finished(self) -> PredictionsManifest | None:
        """The manifest where the folder has one. InputError naming what differs when its settings, or a stopped run's, are other."""
        marker = self.folder / MARKER
        if (self.folder / MANIFEST).is_file():
            manifest = read_manifest(self.folder)
            self._refuse_other(_identity(manifest))
            return manifest
        if marker.is_file():
            claim = read_json(marker)
            if isinstance(claim, dict) and claim.get("format") == PREDICTIONS_FORMAT:
                self._refuse_other(str(claim.get("identity")))
        return None

    def begin(self) -> None:
        """Claim the folder, keeping what is there of the same settings. InputError when it holds something else."""
        manifest = self.finished()
        claim_output(self.folder, PREDICTIONS_FORMAT, _identity(self.settings))
        for path in self.folder.glob("*.png"):
            if not _whole(path):
                path.unlink()  # what a power cut leaves is predicted again
        if manifest is not None:  # a partial run that goes on: what it took still counts
            cost = manifest.cost.model_dump(exclude={"seconds_per_image"})
            self.add_cost(
                "earlier",
                (manifest.cost.seconds_per_image or 0.0) * manifest.samples,
                manifest.samples,
                cost,
            )
            (self.folder / MANIFEST).unlink()

    def add(self, key: str, image: Image.Image) -> None:
        """Write one prediction: whole or not there. `finish` flushes them to the disk all at once."""
        temporary = self.folder / f".{key}.{os.getpid()}.tmp"
        temporary.write_bytes(encode(image, "png"))
        temporary.replace(self.folder / f"{key}.png")

    def add_cost(self, part: str, seconds: float, images: int, cost: Mapping[str, Any]) -> None:
        """Keep what a part of the work took, under a name of its own; `cost` has the other fields of Cost."""
        write_json(
            self.folder / COSTS / f"{part}.json", {"seconds": seconds, "images": images, **cost}
        )

    def finish(self, samples: int) -> PredictionsManifest:
        """Write the manifest; `samples` is how many the suite has. The predictions of every run in the folder count."""
        done = len(self.done())
        os.sync()  # the manifest must not reach the disk before the images do
        manifest = self.settings.model_copy(
            update={"samples": done, "partial": done < samples, "cost": self._cost()}
        )
        write_json(self.folder / MANIFEST, manifest.model_dump(mode="json"))
        shutil.rmtree(self.folder / COSTS, ignore_errors=True)
        for stale in self.folder.glob(".*.tmp"):
            stale.unlink()  # left by a run that was killed
        finish_output(self.folder)
        return manifest

    def _cost(self) -> Cost:
        parts = [read_json(path) for path in sorted((self.folder / COSTS).glob("*.json"))]
        images = sum(part["images"] for part in parts)
        if not images:
            return Cost()
        peaks = [
            part["peak_memory_bytes"] for part in parts if part["peak_memory_bytes"] is not None
        ]
        return Cost(
            seconds_per_image=sum(part["seconds"] for part in parts) / images,
            peak_memory_bytes=max(peaks, default=None),
            sampling_steps=parts[-1]["sampling_steps"],
            device=parts[-1]["device"],
        )

    def _refuse_other(self, there: str) -> None:
        try:
            before = _flat(json.loads(there))
        except ValueError:
            before = {}
        wanted = _flat(json.loads(_identity(self.settings)))
        different = [
            f"{k} {before.get(k)!r} instead of {wanted.get(k)!r}"
            for k in sorted(before | wanted)
            if before.get(k) != wanted.get(k)
        ]
        if different:
            raise InputError(
                f"{self.folder} holds predictions with {' and '.join(different[:3])}; choose another folder with -o."
            )


def _whole(path: Path) -> bool:
    try:
        decode(path.read_bytes(), str(path))
    except InputError:
        return False
    return True


def _identity(manifest: PredictionsManifest) -> str:
    return canonical_json(manifest.model_dump(mode="json", exclude={"samples", "partial", "cost"}))


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {
        k: v
        for key, inner in value.items()
        for k, v in _flat(inner, f"{name}.{key}" if name else key).items()
    }


def cost_of(method: Any) -> dict[str, Any]:
    """`peak_memory_bytes`, `sampling_steps` and `device` of a method in this process, as `Cost` has them."""
    device = str(getattr(method, "device", "cpu"))
    return {
        "peak_memory_bytes": peak_memory(),
        "sampling_steps": getattr(method, "sampling_steps", None),
        "device": f"{device} ({name})" if (name := gpu_name(device)) else device,
    }


def gpu_name(device: str) -> str | None:
    """What a CUDA device is called, or None for another one."""
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda") or not torch.cuda.is_initialized():
        return None
    return str(torch.cuda.get_device_name(device))


def peak_memory() -> int | None:
    """The most bytes held so far: on the GPU where PyTorch uses one in this process, else by the process itself."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)
