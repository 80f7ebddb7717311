"""What is wrong with a recipe, in one sentence: where it stands, what stands there, and what could."""

import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from datagen.recipe.sources import KINDS
from datagen.recipe.yaml_reader import line_of
from lorweb_bench.runtime.plugins import did_you_mean

SHOWN = 80  # characters of a value
SHORT = reprlib.Repr()  # aliases can make a value longer than any memory
SHORT.maxlevel, SHORT.maxstring = 3, SHOWN
# The parts of a place that pydantic adds for the alternatives of a type, for functions and for keys: no keys of a recipe.
ADDED = re.compile(r"^(function-|tuple\[|literal\[|dict\[|\[key\]$|int$|str$|float$)")
EXPECTED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "bool_parsing": lambda _: "true or false",
    "bool_type": lambda _: "true or false",
    "dict_type": lambda _: "a mapping of keys to values",
    "float_parsing": lambda _: "a number",
    "float_type": lambda _: "a number",
    "finite_number": lambda _: "a finite number",
    "greater_than": lambda known: f"more than {known['gt']:g}",
    "greater_than_equal": lambda known: f"{known['ge']:g} or more",
    "int_from_float": lambda _: "a whole number",
    "int_parsing": lambda _: "a whole number",
    "int_type": lambda _: "a whole number",
    "less_than_equal": lambda known: f"{known['le']:g} or less",
    "literal_error": lambda known: str(known["expected"]),
    "string_too_long": lambda known: f"text of at most {known['max_length']} characters",
    "string_too_short": lambda _: "text that is not empty",
    "tuple_type": lambda _: "a list, such as [one, two]",
}


def explain(
    error: ValidationError,
    recipe: type[BaseModel],
    path: Path,
    tree: yaml.Node | None,
    settings: Sequence[str],
) -> str:
    """The first thing that is wrong with a recipe, in one sentence; unknown keys first, they explain missing ones."""
    errors: list[Any] = error.errors()
    found, others = _deepest(
        sorted(errors, key=lambda one: one["type"] != "extra_forbidden")[0], errors
    )
    keys = _keys(found["loc"])
    dotted = ".".join(keys)
    message = found["msg"].removeprefix("Value error, ")
    named = re.search(r"`([a-z_0-9.]+)", message)
    place = [*keys, *named[1].split(".")] if found["type"] == "value_error" and named else keys
    by_setting = any(_set(setting, ".".join(place)) for setting in settings)
    where = "--set" if by_setting else f"{path}, line {line_of(tree, place)}"
    if found["type"] == "extra_forbidden":
        return f"{where}: there is no key {_short(dotted)} in a recipe; {_nearest(keys[-1], _known(recipe, keys[:-1]))}"
    if found["type"] == "missing":
        return f"{path}: the key {dotted!r} is missing ({_description(recipe, keys)})."
    if found["loc"] and found["loc"][-1] == "[key]":
        return f"{where}: {'.'.join(keys[:-1])} has no {keys[-1]!r}; {_nearest(keys[-1], re.findall(r'[a-z_]+', found['ctx']['expected']))}"
    if found["loc"] == ("source", "kind"):
        hint = did_you_mean(str(found["input"]), KINDS, "")
        return f"{where}: source.kind is {_short(found['input'])}{f' ({hint})' if hint else ''}; the kinds there are: {', '.join(KINDS)}."
    if found["type"] == "value_error":
        value = (
            "" if isinstance(found["input"], (dict, BaseModel)) else f" is {_short(found['input'])}"
        )
        return f"{where}: {dotted}{value}: {message}." if dotted else f"{where}: {message}."
    wanted = " or ".join(dict.fromkeys(_wanted(one, recipe, keys) for one in [found, *others]))
    return f"{where}: {dotted} is {_short(found['input'])}, and it must be {wanted}."


def _deepest(
    found: Mapping[str, Any], errors: Sequence[Any]
) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """Of the errors of one value with several types: the one that tells most, and the others of the same place."""
    keys = _keys(found["loc"])
    alike = [one for one in errors if one is not found and _keys(one["loc"])[: len(keys)] == keys]
    best = max([found, *alike], key=lambda one: len(_keys(one["loc"])))
    return best, [
        one
        for one in [found, *alike]
        if one is not best and _keys(one["loc"]) == _keys(best["loc"])
    ]


def _keys(place: Sequence[int | str]) -> list[str]:
    return [str(part) for part in place if not ADDED.match(str(part))]


def _set(setting: str, dotted: str) -> bool:
    """Whether an override gave a key, one around it or one in it."""
    key = setting.partition("=")[0].strip()
    return (
        dotted == key
        or dotted.startswith(f"{key}.")
        or bool(dotted and key.startswith(f"{dotted}."))
    )


def _wanted(found: Mapping[str, Any], recipe: type[BaseModel], keys: Sequence[str]) -> str:
    if found["type"] == "string_type":
        return (
            f'text: in quotes, "{found["input"]}"'
            if isinstance(found["input"], (int, float, date))
            else "text, in quotes"
        )
    if found["type"] in ("model_type", "model_attributes_type", "dict_type") and (
        known := _known(recipe, keys)
    ):
        return f"a section with keys of {', '.join(known)}"
    if found["type"] == "string_pattern_mismatch":
        return f"like {found['ctx']['pattern']}: {_description(recipe, keys)}"
    words = EXPECTED.get(found["type"])
    return words(found.get("ctx", {})) if words else str(found["msg"])


def _short(value: Any) -> str:
    """A value as it stands in YAML, cut where it is long."""
    named = {None: "empty", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return named[value]
    text = str(value) if isinstance(value, date) else SHORT.repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _nearest(name: str, known: Sequence[str]) -> str:
    return did_you_mean(name, known, f"known are {', '.join(known)}.")


def _model(recipe: type[BaseModel], keys: Sequence[str]) -> type[BaseModel] | None:
    """The section that stands at a place; entries of lists are passed through by their numbers."""
    model: Any = recipe
    for key in keys:
        if key.isdigit() and model is not recipe:
            continue
        field = model.model_fields.get(key)
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        model = next(
            (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None
        )
        if model is None:
            return None
    return model


def _known(recipe: type[BaseModel], keys: Sequence[str]) -> list[str]:
    model = _model(recipe, keys)
    return list(model.model_fields) if model else []


def _description(recipe: type[BaseModel], keys: Sequence[str]) -> str:
    model = _model(recipe, keys[:-1])
    field = model.model_fields.get(keys[-1]) if model else None
    return (field.description or "").rstrip(".") if field else ""
