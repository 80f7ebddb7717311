"""How a recipe is read: from a file, or a ready one by name, with what it extends and overrides."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from datagen.planning.seeding import SECRET, secret_seed
from datagen.recipe.schema import Recipe
from lorweb_bench.errors import InputError, did_you_mean
from lorweb_bench.runtime.settings import open_settings, override

NOT_INHERITED = ("name", "supersedes")


def ready_recipes() -> dict[str, Path]:
    """The recipes that come with the project, by name."""
    folder = Path(__file__).parents[1] / "recipes"
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def find_recipe(path: str | Path) -> Path:
    """Find the file of a recipe: the path itself, or the ready recipe of that name.

    Raises:
        InputError: There is neither.
    """
    path = Path(path)
    ready = ready_recipes()
    there = f"the ready ones are {', '.join(ready)}."
    if path.is_dir() and str(path) not in ready:  # `build photos -o photos` may be started again
        raise InputError(
            f"{path} is a folder; a recipe is a YAML file, or the name of a ready one: "
            f"{', '.join(ready)}."
        )
    if path.is_file():
        return path
    if path.name != str(path):
        raise InputError(f"There is no recipe {path}; {there}")
    if path.stem not in ready:
        raise InputError(f"There is no recipe {path}; {did_you_mean(path.stem, ready, there)}")
    return ready[path.stem]


def read_recipe(
    path: str | Path, settings: Sequence[str] = (), output: Path | None = None
) -> Recipe:
    """Read and check a recipe.

    Args:
        path: A YAML file, or the name of a ready recipe.
        settings: Overrides `key.subkey=YAML value`.
        output: The folder that it is built in: a seed that is `secret` is the one of the dataset
            there, or a new one.

    Raises:
        InputError: It names file, line and key: the file is not YAML, a key is unknown (the nearest
            known one is given), or a value is wrong.
    """
    return read_content(path, settings, output)[0]


def read_content(
    path: str | Path, settings: Sequence[str] = (), output: Path | None = None
) -> tuple[Recipe, dict[str, Any]]:
    """Read and check a recipe; arguments and errors as `read_recipe`.

    Returns:
        The recipe, and its content without defaults: what stands in its file and in those that it
        extends, with the overrides.
    """
    return _read_content(find_recipe(path), settings, (), output)


def _read_content(
    path: Path, settings: Sequence[str], extending: Sequence[Path], output: Path | None
) -> tuple[Recipe, dict[str, Any]]:
    """Read a recipe that the recipes `extending`, the last one directly, extend."""
    read = open_settings(path, Recipe, (), "recipe")
    chain = (*extending, path.resolve())
    extends = _setting_of("extends", settings) or read.content.get("extends")
    content = read.content
    if extends is not None:
        base = _find_extended(path, extends)
        if base.resolve() in chain:
            raise InputError(f"{path} extends {extends}, which extends it in turn; end the circle.")
        inherited = _read_content(base, (), chain, output)[1]
        _drop_assignment(inherited, content.get("source"))
        for key in NOT_INHERITED:
            inherited.pop(key, None)
        content = _merge(inherited, {**content, "extends": None}, Recipe)
        del content["extends"]
    for setting in settings:
        if not setting.startswith("extends="):
            override(content, setting)
    if _setting_of("source.path", settings) and not _setting_of("source.assign", settings):
        _drop_assignment(content, {"path": True})
    if output is not None and content.get("seed") == SECRET:
        content["seed"] = secret_seed(output)
    return replace(read, content=content, overrides=tuple(settings)).checked(), content


def _setting_of(key: str, settings: Sequence[str]) -> str | None:
    """The text that the last override of a key gives it."""
    text: str | None = None
    for setting in settings:
        name, _, value = setting.partition("=")
        if name == key:
            text = value
    return text


def _find_extended(path: Path, extends: object) -> Path:
    """The file of the recipe that another one extends."""
    if not isinstance(extends, str) or not extends:
        raise InputError(
            f"{path}: extends is {extends!r}, and it must be text: the name of a ready recipe, "
            "or of a file."
        )
    beside = path.parent / extends
    if beside.is_file():
        return beside
    if extends in ready_recipes():
        return ready_recipes()[extends]
    hint = did_you_mean(
        extends, ready_recipes(), f"name a ready recipe, or a file in {path.parent}."
    )
    raise InputError(f"{path} extends {extends!r}, and there is no such recipe; {hint}")


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """A section with changes: sections in it are merged in turn, other values are replaced."""
    merged = dict(base)
    for key, value in changes.items():
        field = model.model_fields.get(key)
        section = field.annotation if field else None
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        if both and isinstance(section, type) and issubclass(section, BaseModel):
            value = _merge(base[key], value, section)
        merged[key] = value
    return merged


def _drop_assignment(content: Mapping[str, Any], changes: Any) -> None:
    """Drop the photographs that a recipe assigns to roles where `changes` give another source.path.

    They are those of the old path, unless they are pinned or `changes` assign photographs too.
    """
    source = content.get("source")
    if not isinstance(source, dict) or not isinstance(changes, dict):
        return
    if "path" in changes and "assign" not in changes and not source.get("sha256"):
        source.pop("assign", None)
