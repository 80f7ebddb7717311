"""Methods: anything that maps triplets to images, found by name.

A user's own is named by entry point (group `lorweb_bench.methods`), `package.module:attribute` or
`path/to/file.py:attribute`, or handed over as an object or a plain function.
"""

import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from PIL import Image

from lorweb_bench.data.samples import Quadruplet, Triplet
from lorweb_bench.errors import InputError
from lorweb_bench.predictions.format import MethodId
from lorweb_bench.runtime.files import canonical_json, sha256_file
from lorweb_bench.runtime.hub import local_folder
from lorweb_bench.runtime.plugins import find, installed, load_entry

if TYPE_CHECKING:
    from lorweb_bench.data.dataset import Dataset

GROUP = "lorweb_bench.methods"
DISTRIBUTION = "lorweb-bench"  # whose own methods go by name and version, not by their code
TABLE = {
    "copy-b": "lorweb_bench.methods.baselines:CopyB",
    "copy-a-prime": "lorweb_bench.methods.baselines:CopyAPrime",
    "color-transfer": "lorweb_bench.methods.baselines:ColourTransfer",
    "patch-analogy": "lorweb_bench.methods.image_analogies:PatchAnalogy",
    "library-search": "lorweb_bench.methods.search:LibrarySearch",
    "nearest-seen": "lorweb_bench.methods.search:NearestSeen",
    "http-editor": "lorweb_bench.methods.http_editor:HttpEditor",
}
BATCH = 16  # items a call, where the method has no batch_size
CHECKPOINT = "checkpoint"  # the entry point that opens a checkpoint folder
CHECKPOINT_FILE = "config.json"
INSTALLED = ("site-packages", "dist-packages")


@runtime_checkable
class Method(Protocol):
    """What completes analogies: a name, and one RGB image of b's size per triplet, in order.

    Looked up where offered (see `LoadedMethod`): `version`, `batch_size`, `track`, `describe()`,
    `prepare(suite)`, `sampling_steps`, `device`, `gpus`, and `needs_full_view` with
    `predict_quadruplets(quadruplets, suite)` in place of `predict`, for bounds that look at the
    answer.
    """

    name: str

    def predict(self, triplets: Sequence[Triplet]) -> Sequence[Image.Image]:
        """One RGB image per triplet, of b's size."""
        ...


@dataclass
class FunctionMethod:
    """A plain function of triplets as a method; its name is the function's."""

    function: Callable[..., Sequence[Image.Image]]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The function's name."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    def predict(self, triplets: Sequence[Triplet]) -> Sequence[Image.Image]:
        """What the function gives."""
        return self.function(triplets, **self.options)


@dataclass(frozen=True)
class LoadedMethod:
    """A method with everything that the harness looks up on it, and defaults where it says nothing.

    Attributes:
        instance: The user's object.
        name: Its name.
        version: Its version, or None.
        track: `closed` or `open`, as the method says; `open` by default.
        batch_size: Triplets a call.
        gpus: GPUs for each process on a Ray cluster.
        needs_full_view: Whether it is asked for quadruplets, with their answers.
        options: What it was made with.
        checkpoint_sha256: The digest of its checkpoint folder, where it has one.
        code_sha256: The digest of the code that defines it, or None for this package's own methods.
    """

    instance: Any
    name: str
    version: str | None = None
    track: str = "open"
    batch_size: int = BATCH
    gpus: float = 0
    needs_full_view: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    checkpoint_sha256: str | None = None
    code_sha256: str | None = None

    @classmethod
    def wrap(
        cls,
        instance: Any,
        options: Mapping[str, Any] | None = None,
        checkpoint_sha256: str | None = None,
        own_code: bool = True,
    ) -> "LoadedMethod":
        """Look everything up on an object or a plain function, once.

        Args:
            instance: The object, a function, or a `LoadedMethod`, which comes back as it is.
            options: What it was made with.
            checkpoint_sha256: The digest of its checkpoint folder.
            own_code: Whether its code is part of what it is; False for this package's own methods.

        Raises:
            InputError: The object has no name or no `predict`.
        """
        if isinstance(instance, LoadedMethod):
            return instance
        if inspect.isclass(instance):
            raise InputError(
                f"{instance.__name__} is a class; give a method, for instance "
                f"{instance.__name__}()."
            )
        if inspect.isroutine(instance) or isinstance(instance, functools.partial):
            instance = FunctionMethod(instance)
        name = getattr(instance, "name", None)
        if not isinstance(name, str) or not callable(getattr(instance, "predict", None)):
            raise InputError(
                f"{type(instance).__name__} is no method: it needs a name and predict(triplets)."
            )
        ours = type(instance).__module__.partition(".")[0] == __name__.partition(".")[0]
        with_code = own_code and (not ours or isinstance(instance, FunctionMethod))
        return cls(
            instance=instance,
            name=name,
            version=getattr(instance, "version", None),
            track=getattr(instance, "track", None) or "open",
            batch_size=max(1, int(getattr(instance, "batch_size", None) or BATCH)),
            gpus=getattr(instance, "gpus", None) or 0,
            needs_full_view=bool(getattr(instance, "needs_full_view", False)),
            options=dict(options or {}),
            checkpoint_sha256=checkpoint_sha256,
            code_sha256=code_digest(instance) if with_code else None,
        )

    @property
    def device(self) -> str:
        """The device that the method says it runs on; `cpu` by default."""
        return str(getattr(self.instance, "device", "cpu"))

    @property
    def sampling_steps(self) -> int | None:
        """How many sampling steps an answer takes, where the method says it."""
        steps: int | None = getattr(self.instance, "sampling_steps", None)
        return steps

    def prepare(self, suite: "Dataset") -> None:
        """Let the method load what it needs; InputError, in one sentence, where that fails."""
        prepare = getattr(self.instance, "prepare", None)
        if not callable(prepare):
            return
        try:
            prepare(suite)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"The method {self.name!r} cannot be prepared for {suite.path}: "
                f"{type(error).__name__}: {error}."
            ) from error

    def predict(self, triplets: Sequence[Triplet]) -> Any:
        """What the method gives for these triplets, unchecked."""
        return self.instance.predict(triplets)

    def predict_quadruplets(self, quadruplets: Sequence[Quadruplet], suite: "Dataset") -> Any:
        """What a method that needs the full view gives for these quadruplets, unchecked."""
        return self.instance.predict_quadruplets(quadruplets, suite)

    def identity(self) -> MethodId:
        """Name, version, own description, options, checkpoint and code, as predictions record "
        "them."""
        describe = getattr(self.instance, "describe", None)
        described = dict(describe()) if callable(describe) else {}
        if self.options:
            described["options"] = dict(self.options)
        if self.checkpoint_sha256 is not None:
            described["checkpoint_sha256"] = self.checkpoint_sha256
        if self.code_sha256 is not None:
            described["code_sha256"] = self.code_sha256
        try:
            whole = canonical_json({"version": self.version, **described, "name": self.name})
            return MethodId.model_validate_json(whole)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"The method {self.name!r} describes itself in a way that cannot be kept: {error}."
            ) from None


def load_method(spec: str, **options: Any) -> LoadedMethod:
    """The method that a SPEC names, made with `options`.

    A SPEC is a built-in or installed name, `module:attribute`, `file.py:attribute`, a checkpoint
    folder, or a checkpoint on the hub, `hub:owner/name@revision`. What it names may be a method, a
    plain function of triplets, or a class or function that makes a method and takes the options.

    Raises:
        InputError: There is none (the sentence has the nearest name), or it cannot be made.

    >>> load_method("copy-b").name
    'copy-b'
    """
    folder = local_folder(spec, "model")
    if spec not in TABLE and folder.is_dir():
        return LoadedMethod.wrap(
            _from_folder(folder, options), options, checkpoint_digest(folder), own_code=False
        )
    if spec not in TABLE and ":" not in spec and (folder.suffix or len(folder.parts) > 1):
        raise InputError(f"{spec} is no folder; give a checkpoint's folder, or file.py:attribute.")
    method = _make(find(spec, "method", TABLE, GROUP), spec, options)
    own_code = spec not in TABLE and not _is_ours(installed(GROUP, reserved=TABLE).get(spec))
    try:
        return LoadedMethod.wrap(method, options, own_code=own_code)
    except InputError:
        raise InputError(f"{spec!r} is no method: it needs a name and predict(triplets).") from None


def _is_ours(entry: EntryPoint | None) -> bool:
    return entry is not None and entry.dist is not None and entry.dist.name == DISTRIBUTION


def checkpoint_digest(folder: Path) -> str:
    """The sha256 over the names and bytes of a checkpoint folder's files.

    It stands with the predictions, so that those of two trainings are never mixed.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".safetensors"):
            digest.update(f"{path.name} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def code_digest(instance: Any) -> str | None:
    """The sha256 over the source files that define a method, or None where there are none to read.

    These are the file of its class or function and the files beside it, or in its package, that
    this file refers to by a global name. Of what a script or a notebook defines, it is the source
    of the class or function alone, so that the lines around it may change.
    """
    target: Any = instance.function if isinstance(instance, FunctionMethod) else type(instance)
    while isinstance(target, functools.partial):
        target = target.func
    module = sys.modules.get(getattr(target, "__module__", None) or "")
    file = _source_file(module)
    if module is None or file is None or module.__name__ == "__main__":
        try:
            return hashlib.sha256(inspect.getsource(target).encode()).hexdigest()
        except (OSError, TypeError):
            return None
    depth = module.__name__.count(".") - 1 + (file.name == "__init__.py")
    root = file.parents[max(0, depth)]  # the folder of the top-level package, or of the one file
    files: dict[str, Path] = {}
    _collect_sources(module, root, files)
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def _collect_sources(module: ModuleType, root: Path, files: dict[str, Path]) -> None:
    """Add the source of a module, and of the modules under `root` that its globals come from, by
    name.
    """
    file = _source_file(module)
    if file is None or not file.is_relative_to(root):
        return
    name = file.relative_to(root).as_posix()
    if name in files or any(part in INSTALLED for part in Path(name).parts):
        return
    files[name] = file
    for value in list(vars(module).values()):
        origin = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
        referenced = sys.modules.get(origin) if isinstance(origin, str) else None
        if referenced is not None:
            _collect_sources(referenced, root, files)


def _source_file(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file and file.endswith(".py") and Path(file).is_file() else None


def _from_folder(folder: Path, options: dict[str, Any]) -> Any:
    if not (folder / CHECKPOINT_FILE).is_file():
        raise InputError(f"{folder} is no checkpoint: it has no {CHECKPOINT_FILE}.")
    entries = installed(GROUP, reserved=TABLE)
    if CHECKPOINT not in entries:
        raise InputError(
            f"Nothing installed opens the checkpoint {folder}: "
            f"no package has the entry point {CHECKPOINT!r} in {GROUP}."
        )
    open_checkpoint = load_entry(entries[CHECKPOINT])
    try:
        return open_checkpoint(folder, **options)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"The checkpoint {folder} cannot be opened: {type(error).__name__}: {error}."
        ) from error


def _make(target: Any, spec: str, options: dict[str, Any]) -> Any:
    """The method that an attribute is, or that it makes with the options."""
    if not inspect.isclass(target) and (not callable(target) or hasattr(target, "predict")):
        return target
    try:
        inspect.signature(target).bind(**options)
    except TypeError as error:
        if inspect.isroutine(target) and _takes_triplets(target, options):
            return FunctionMethod(target, options)
        raise InputError(
            f"The method {spec!r} cannot be made without more options ({error})."
        ) from None
    try:
        return target(**options)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"The method {spec!r} cannot be made: {type(error).__name__}: {error}."
        ) from error


def _takes_triplets(function: Callable[..., Any], options: Mapping[str, Any]) -> bool:
    """Whether a function can be called with one argument besides the options: the triplets."""
    try:
        inspect.signature(function).bind([], **options)
    except TypeError:
        return False
    return True
