"""The folder of a tiny base, read without its weights: where it is, its digest, what it knows."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeGuard

from lorweb_bench.data.composition import BETWEEN_IDS
from lorweb_bench.data.declared_base import DeclaredBase
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import read_json, sha256_file

ASSETS = Path(__file__).parents[1] / "assets"
SHIPPED = ("tiny",)  # the bases that come with the package
WAY_OUT = "name `tiny` or a folder written by `lorweb-bench pretrain-tiny`"


def local_folder(name: str) -> Path:
    """The folder of a base on this machine.

    Those of `SHIPPED` come with the package, anything else is a path.
    """
    return ASSETS / name if name in SHIPPED else Path(name)


def tiny_digest(folder: Path, part: str) -> str:
    """sha256 of the weights of a tiny base (`base`) or of its pair encoder (`encoder`).

    InputError when they are not there.
    """
    try:
        return sha256_file(folder / f"{part}.safetensors")
    except OSError as error:
        raise InputError(f"{folder}: no whole base there ({error}); {WAY_OUT}") from error


def declared_base(name: str) -> DeclaredBase:
    """A tiny base as datasets declare it, by its own `config.json`.

    Args:
        name: One of `SHIPPED`, or a folder written by `pretrain-tiny`.

    Raises:
        InputError: There is no such base, or its `config.json` does not say what it knows.
    """
    folder = local_folder(name).expanduser()
    if not (folder / "config.json").is_file():
        raise InputError(f"{name}: no base there; {WAY_OUT}.")
    families = _known_families(read_json(folder / "config.json"))
    if families is None:
        raise InputError(
            f"{folder / 'config.json'} does not say which families this base knows; {WAY_OUT}."
        )
    called = name if folder != Path(name).expanduser() else folder.resolve().name
    return DeclaredBase(called, tiny_digest(folder, "base"), frozenset(families))


def _known_families(config: Any) -> Iterable[str] | None:
    """The families in a base's `config.json`; None where it names none.

    A base of a world lists them. One of a training dataset lists transformations, whose ids begin
    with the family.
    """
    if not isinstance(config, dict):
        return None
    families = config.get("known_families")
    if _are_names(families):
        return families
    trained = config.get("trained_transformations")
    if not _are_names(trained):
        return None
    steps: list[str] = []
    for transformation in trained:
        steps += transformation.split(BETWEEN_IDS)
    return {step.partition("-")[0] for step in steps}


def _are_names(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)
