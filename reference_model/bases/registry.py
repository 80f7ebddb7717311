"""Finding a base: by the name of its kind, by its repository on the hub, or in a folder."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from lorweb_bench.errors import InputError, did_you_mean
from lorweb_bench.runtime.plugins import find, installed
from reference_model.bases.base import Base, Published
from reference_model.bases.pipeline_folder import class_in, hub_folder, is_pipeline_folder
from reference_model.bases.tiny import TinyBase
from reference_model.bases.tiny_folder import local_folder
from reference_model.freed_memory import keep_freed_memory

TABLE = {
    "tiny": "reference_model.bases.tiny:TinyBase",
    "flux-kontext": "reference_model.bases.flux_kontext:FluxKontext",
    "flux2-klein": "reference_model.bases.flux2:Flux2Klein",
    "flux2": "reference_model.bases.flux2:Flux2",
    "qwen-image-edit-plus": "reference_model.bases.qwen_image_edit:QwenImageEditPlus",
}
GROUP = "lorweb_bench.bases"  # of entry points, for bases of other packages
REPOSITORY = re.compile(r"[\w-]+/[\w.-]+")


def kinds() -> dict[str, type[Base]]:
    """All kinds of bases by name: those that ship, then those of installed packages."""
    names = [*TABLE, *installed(GROUP, reserved=TABLE)]
    return {name: find(name, "base", TABLE, GROUP) for name in names}


def known_names() -> list[str]:
    """What a config may call a base, besides a folder or another repository."""
    names = list(kinds())
    for kind in kinds().values():
        names += kind.published
    return names


def repository_of(name: str) -> str | None:
    """The repository on the hub that a name stands for; None for the tiny base and for folders."""
    if name in TABLE or name in installed(GROUP):
        return next(iter(find(name, "base", TABLE, GROUP).published), None)
    return name if REPOSITORY.fullmatch(name) else None


def base_folder(name: str) -> Path:
    """The folder of a base; what has a repository is had from the hub, where no such folder is.

    Raises InputError that says what to download where it cannot be had.
    """
    folder = local_folder(name)
    repository = repository_of(name)
    if folder.exists() or repository is None:
        check_name(name)
        return folder
    return hub_folder(repository)


def check_name(name: str) -> None:
    """InputError for a word that is neither a base nor a folder: it names the nearest one."""
    is_known = name in TABLE or name in installed(GROUP)
    if is_known or local_folder(name).exists() or re.search(r"[/\\.]", name):
        return
    names = known_names()
    hint = did_you_mean(name, names, f"there are {', '.join(names)}.")
    raise InputError(
        f"There is no base {name!r}, and no folder of that name that `lorweb-bench pretrain-tiny` "
        f"wrote or that is in diffusers' layout; {hint}"
    )


def base_kind(name: str, folder: Path | None = None) -> type[Base]:
    """The kind of a base, by its name or by what its folder holds; nothing is downloaded.

    Args:
        name: as a config calls it.
        folder: where it is, if it is known already.

    Raises:
        InputError: it is not known, or the folder holds a pipeline of another class.
    """
    if name in TABLE or name in installed(GROUP):
        kind: type[Base] = find(name, "base", TABLE, GROUP)
        return kind
    folder = folder or local_folder(name)
    if is_pipeline_folder(folder):
        return _kind_in(folder, kinds().values())
    if folder.exists():
        return TinyBase
    for kind in kinds().values():
        if name in kind.published:
            return kind
    check_name(name)
    if REPOSITORY.fullmatch(name):
        raise InputError(
            f"base `{name}`: neither a folder of a base nor one of {', '.join(known_names())}; "
            f"run `hf download {name} --local-dir FOLDER` and set `base: FOLDER`"
        )
    return TinyBase


def present_kind(name: str) -> type[Base]:
    """The kind of a base whose files are used next: what is not here is downloaded."""
    return base_kind(name, base_folder(name))


def _kind_in(folder: Path, known: Iterable[type[Base]]) -> type[Base]:
    """The kind of a pipeline folder: by the pipeline's class, else by its transformer's."""
    pipeline = class_in(folder / "model_index.json")
    transformer = class_in(folder / "transformer" / "config.json")
    full = [kind for kind in known if kind.pipeline_class is not None]
    for kind in full:
        if pipeline == kind.pipeline_class.__name__:
            return kind
    for kind in full:
        if not pipeline and transformer == kind.transformer_class.__name__:
            return kind
    classes = ", ".join(kind.pipeline_class.__name__ for kind in full)
    held = pipeline or transformer or "pipeline without a class name in model_index.json"
    raise InputError(f"{folder}: holds a {held}; a base is one of {classes}")


def load_base(name: str, dtype: torch.dtype = torch.float32) -> Base:
    """The frozen base of a name, in a folder, or on the hub; weights as `dtype`.

    The process keeps the memory that it frees from then on (`reference_model/freed_memory.py`).

    Raises InputError when the folder is missing, incomplete or cut, holds a pipeline of another
    class, or its files belong to different bases.
    """
    keep_freed_memory()
    folder = base_folder(name)
    base = base_kind(name, folder).load(folder, dtype)
    base.name = name
    return base.freeze()


def load_encoders(name: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The codec and the text encoder of a base, without its transformer."""
    folder = base_folder(name)
    return base_kind(name, folder).load_encoders(folder, dtype)


def published_as(name: str) -> Published | None:
    """What the hub holds under a name; None where its folder is here, and for the tiny base."""
    repository = repository_of(name)
    if repository is None or local_folder(name).exists():
        return None
    return base_kind(name).published.get(repository)


def transformer_config(name: str) -> dict[str, Any]:
    """The transformer's settings of a base that is known by name or lies in a folder.

    Raises:
        InputError: it is neither.
    """
    published = published_as(name)
    if published is not None:
        return dict(published.transformer)
    try:
        return base_kind(name).transformer_config(local_folder(name))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"base `{name}`: neither a folder of a base nor one of {', '.join(known_names())} "
            f"({error})"
        ) from error


def shaped_transformer(name: str) -> Any:
    """The transformer of a base, on the device of the context; no weight is read."""
    return base_kind(name).new_transformer(transformer_config(name))
