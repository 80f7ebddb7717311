"""Methods: anything that maps triplets to images, found by name.

A user's own is named by entry point (group `lorweb_bench.methods`), `package.module:attribute` or `path/to/file.py:attribute`.
"""

import hashlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from PIL import Image

from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import sha256_file
from lorweb_bench.runtime.plugins import find, installed, load_entry

GROUP = "lorweb_bench.methods"
TABLE = {
    "copy-b": "lorweb_bench.methods.baselines:CopyB",
    "copy-a-prime": "lorweb_bench.methods.baselines:CopyAPrime",
    "color-transfer": "lorweb_bench.methods.baselines:ColourTransfer",
    "patch-analogy": "lorweb_bench.methods.image_analogies:PatchAnalogy",
    "library-search": "lorweb_bench.methods.search:LibrarySearch",
    "nearest-seen": "lorweb_bench.methods.search:NearestSeen",
}
CHECKPOINT = "checkpoint"  # the entry point that opens a checkpoint folder
CHECKPOINT_FILE = "config.json"


@runtime_checkable
class Method(Protocol):
    """What completes analogies: a name, and one RGB image of b's size per triplet, in order.

    Looked up where offered: `version: str`, `batch_size: int`, `track: str`, `describe() -> dict` (kept with its predictions),
    `prepare(suite)` (called once in each process, before the first batch), `sampling_steps: int`, `device: str`, `gpus: float`
    (of each process, on Ray), and `needs_full_view: bool` with `predict_quadruplets(quadruplets, suite)` in place of `predict`,
    for bounds that look at the answer.
    """

    name: str

    def predict(self, triplets: Sequence[Triplet]) -> Sequence[Image.Image]:
        """One RGB image per triplet, of b's size."""
        ...


def load_method(spec: str, **options: Any) -> Method:
    """The method that a SPEC names: a built-in or installed name, `module:attribute`, `file.py:attribute`, or a checkpoint folder.

    What it names may be a method, or a class or function that makes one and takes `options`. InputError, with the nearest
    name, when there is none or it cannot be made.
    """
    folder = Path(spec)
    if spec not in TABLE and folder.is_dir():
        return _from_folder(folder, options)
    if spec not in TABLE and ":" not in spec and (folder.suffix or len(folder.parts) > 1):
        raise InputError(f"{spec} is no folder; give a checkpoint's folder, or file.py:attribute.")
    return _make(find(spec, "method", TABLE, GROUP), spec, options)


def checkpoint_digest(spec: str) -> str | None:
    """The sha256 over the names and bytes of a checkpoint folder's files, or None where SPEC names no folder.

    It stands with the predictions, so that those of two trainings are never mixed.
    """
    folder = Path(spec)
    if spec in TABLE or not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(
        path for path in folder.iterdir() if path.suffix in (".json", ".safetensors")
    ):
        digest.update(f"{path.name} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def _from_folder(folder: Path, options: dict[str, Any]) -> Method:
    if not (folder / CHECKPOINT_FILE).is_file():
        raise InputError(f"{folder} is no checkpoint: it has no {CHECKPOINT_FILE}.")
    entries = installed(GROUP, reserved=TABLE)
    if CHECKPOINT not in entries:
        raise InputError(
            f"Nothing installed opens the checkpoint {folder}: no package has the entry point {CHECKPOINT!r} in {GROUP}."
        )
    try:
        made: Method = load_entry(entries[CHECKPOINT])(folder, **options)
    except InputError:
        raise
    except Exception as e:
        raise InputError(
            f"The checkpoint {folder} cannot be opened: {type(e).__name__}: {e}."
        ) from e
    return made


def _make(found: Any, spec: str, options: dict[str, Any]) -> Method:
    if inspect.isclass(found) or (callable(found) and not hasattr(found, "predict")):
        try:
            inspect.signature(found).bind(**options)
        except TypeError as e:
            raise InputError(
                f"The method {spec!r} cannot be made without more options ({e})."
            ) from None
        try:
            found = found(**options)
        except InputError:
            raise
        except Exception as e:
            raise InputError(f"The method {spec!r} cannot be made: {type(e).__name__}: {e}.") from e
    if (
        not isinstance(found, Method)
        or not isinstance(found.name, str)
        or not callable(found.predict)
    ):
        raise InputError(f"{spec!r} is no method: it needs a name and predict(triplets).")
    return found
