"""Settings that people write: YAML files with `--set key=value` overrides, checked by a model.

Recipes, training configs, cards, and options of methods are all read here. What is wrong in them is
said in one sentence: the file and the line (or `--set`), the key, its value, and what could stand
there.
"""

import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from lorweb_bench.errors import InputError, did_you_mean
from lorweb_bench.runtime.yaml_files import line_of, parse_yaml, read_yaml

if TYPE_CHECKING:
    from ruamel.yaml.nodes import Node

Model = TypeVar("Model", bound=BaseModel)

SHOWN = 80  # characters of a value in a sentence
SHORT = reprlib.Repr()  # aliases can make a value longer than any memory
SHORT.maxlevel, SHORT.maxstring = 3, SHOWN
# Parts that pydantic adds to a location for the alternatives of a type, functions and keys.
NOT_KEYS = re.compile(r"^(function-|tuple\[|list\[|literal\[|dict\[|\[key\]$|int$|str$|float$)")
EXPECTED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "bool_parsing": lambda _: "true or false",
    "bool_type": lambda _: "true or false",
    "dict_type": lambda _: "a mapping of keys to values",
    "float_parsing": lambda _: "a number",
    "float_type": lambda _: "a number",
    "finite_number": lambda _: "a finite number",
    "greater_than": lambda context: f"more than {context['gt']:g}",
    "greater_than_equal": lambda context: f"{context['ge']:g} or more",
    "int_from_float": lambda _: "a whole number",
    "int_parsing": lambda _: "a whole number",
    "int_type": lambda _: "a whole number",
    "less_than": lambda context: f"less than {context['lt']:g}",
    "less_than_equal": lambda context: f"{context['le']:g} or less",
    "list_type": lambda _: "a list, such as [one, two]",
    "literal_error": lambda context: str(context["expected"]),
    "path_type": lambda _: "the path of a file or a folder",
    "string_too_long": lambda context: f"text of at most {context['max_length']} characters",
    "string_too_short": lambda _: "text that is not empty",
    "too_long": lambda context: f"a list of at most {context['max_length']} entries",
    "too_short": lambda context: f"a list of {context['min_length']} or more entries",
    "tuple_type": lambda _: "a list, such as [one, two]",
}


@dataclass
class Settings(Generic[Model]):
    """What stands in a settings file with its overrides, not checked yet.

    Attributes:
        model: The model that the content has to satisfy.
        what: What the file is, for errors: "recipe".
        path: The file.
        content: Its mapping, with the overrides in it; it may be changed before `checked`.
        overrides: The overrides `key.subkey=YAML value`.
    """

    model: type[Model]
    what: str
    path: Path
    content: dict[str, Any]
    overrides: Sequence[str]
    _tree: "Node | None" = None

    def checked(self) -> Model:
        """The settings as a model; InputError says the first thing that is wrong with them."""
        return checked(
            self.model, self.content, str(self.path), self.what, self._tree, self.overrides
        )


def open_settings(
    path: Path,
    model: type[Model],
    overrides: Sequence[str] = (),
    what: str = "settings file",
    *,
    limit: int | None = None,
    hint: str = "",
) -> Settings[Model]:
    """Read a settings file and put the overrides in, without checking them by the model yet.

    Args:
        path: A YAML file that holds one mapping.
        model: The model that its content has to satisfy.
        overrides: `key.subkey=YAML value`, later ones over earlier ones.
        what: What the file is, for errors: "recipe".
        limit: The most bytes that such a file may have.
        hint: What to do where the file is not there.

    Raises:
        InputError: The file is not one YAML mapping, or an override is not of the form key=value.
    """
    content, tree = read_yaml(path, what, limit, hint)
    if not isinstance(content, dict):
        needed = [name for name, field in model.model_fields.items() if field.is_required()]
        raise InputError(f"{path} is no {what}: it needs the keys {', '.join(needed)}.")
    for setting in overrides:
        override(content, setting)
    return Settings(model, what, path, content, tuple(overrides), tree)


def read_settings(
    path: Path,
    model: type[Model],
    overrides: Sequence[str] = (),
    what: str = "settings file",
    *,
    limit: int | None = None,
    hint: str = "",
) -> Model:
    """Read and check a settings file; arguments and errors as `open_settings` and `checked`."""
    return open_settings(path, model, overrides, what, limit=limit, hint=hint).checked()


def parse_options(settings: Iterable[str]) -> dict[str, Any]:
    """Options `KEY=VALUE` as a mapping; dots in a key make mappings in it, values are YAML.

    >>> parse_options(["fit.steps=20", "name=plain"])
    {'fit': {'steps': 20}, 'name': 'plain'}
    """
    options: dict[str, Any] = {}
    for setting in settings:
        override(options, setting)
    return options


def override(content: dict[str, Any], setting: str) -> None:
    """Put one `key.subkey=YAML value` into a mapping; InputError says what is wrong with it."""
    key, equals, value = setting.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise InputError(
            f"--set {setting!r} is not of the form key=value, "
            "for instance --set source.path=photos."
        )
    for part in parts[:-1]:
        inner = content.get(part)
        if inner is None:
            inner = content[part] = {}
        if not isinstance(inner, dict):
            held = _short(inner)
            raise InputError(f"--set {setting!r}: {part} holds the value {held} and no keys.")
        content = inner
    try:
        content[parts[-1]] = parse_yaml(value)
    except InputError as e:
        raise InputError(f"--set {setting!r}: {e}") from None


def checked(
    model: type[Model],
    content: Any,
    name: str,
    what: str = "settings file",
    tree: "Node | None" = None,
    overrides: Sequence[str] = (),
) -> Model:
    """A mapping as a model.

    Args:
        model: The pydantic model.
        content: The mapping.
        name: The file that the mapping came from, for errors.
        what: What the file is, for errors: "recipe".
        tree: The file's YAML nodes, for lines.
        overrides: The overrides that are in the content.

    Raises:
        InputError: One sentence says the first thing that is wrong.
    """
    if not isinstance(content, dict):
        raise InputError(f"{name} is no {what}: it is not a mapping of keys to values.")
    try:
        return model.model_validate(content)
    except ValidationError as e:
        raise InputError(_Explanation(model, name, what, tree, overrides).of(e)) from None
    except RecursionError:
        raise InputError(f"{name} is nested too deeply.") from None


@dataclass(frozen=True)
class _Explanation:
    """Puts what pydantic found wrong into one sentence."""

    model: type[BaseModel]
    name: str
    what: str
    tree: "Node | None"
    overrides: Sequence[str]

    def of(self, error: ValidationError) -> str:
        """The sentence; an unknown key comes first, since it explains a missing one."""
        errors: list[Any] = error.errors(include_url=False)
        first = sorted(errors, key=lambda e: e["type"] != "extra_forbidden")[0]
        problem, alternatives = _deepest(first, errors)
        keys = _keys(problem["loc"])
        key = _shown_key(keys)
        message = problem["msg"].removeprefix("Value error, ")
        where = self._where(_named_key(problem, message) or keys)
        if problem["type"] == "missing":
            meaning = _description(self.model, keys)
            where = "--set" if where == "--set" else self.name
            return f"{where}: the key '{key}' is missing{f' ({meaning})' if meaning else ''}."
        if problem["type"] == "extra_forbidden":
            return f"{where}: there is no key '{key}' in a {self.what}; {self._nearest(keys)}"
        if problem["loc"] and problem["loc"][-1] == "[key]":
            allowed = re.findall(r"[a-z_]+", problem["ctx"]["expected"])
            holder = ".".join(keys[:-1])
            return f"{where}: {holder} has no {_short(keys[-1])}; {_hint(keys[-1], allowed)}"
        if problem["type"] == "value_error":
            held = problem["input"]
            value = "" if isinstance(held, dict | BaseModel) else f" is {_short(held)}"
            return f"{where}: {key}{value}: {message}." if key else f"{where}: {message}."
        requirements = [_wanted(e, self.model, keys) for e in (problem, *alternatives)]
        must = " or ".join(dict.fromkeys(requirements))
        end = _nearest_choice(problem)
        held = _short(problem["input"])
        if (
            problem["type"] == "string_pattern_mismatch"
        ):  # which may come of letters that look alike
            held = ascii(problem["input"][:SHOWN])
        return f"{where}: {key} is {held}, and it must be {must}{end}"

    def _where(self, keys: Sequence[str]) -> str:
        dotted = ".".join(keys)
        if any(_gives(setting, dotted) for setting in self.overrides):
            return "--set"
        return self.name if self.tree is None else f"{self.name}, line {line_of(self.tree, keys)}"

    def _nearest(self, keys: Sequence[str]) -> str:
        """The known key nearest to an unknown one: a namesake in another section, or a sibling."""
        for dotted in _all_keys(self.model):
            if dotted.rpartition(".")[2] == keys[-1]:
                return f"did you mean {dotted!r}?"
        return _hint(keys[-1], _fields(self.model, keys[:-1]))


def _deepest(problem: Any, errors: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Of the errors of one value that may have several types: the one that tells most.

    The others of the same place come second.
    """
    keys = _keys(problem["loc"])
    alike = [e for e in errors if e is not problem and _keys(e["loc"])[: len(keys)] == keys]
    best = max([problem, *alike], key=lambda e: len(_keys(e["loc"])))
    best_keys = _keys(best["loc"])
    others = [e for e in (problem, *alike) if e is not best and _keys(e["loc"]) == best_keys]
    return best, others


def _keys(location: Sequence[int | str]) -> list[str]:
    return [str(part) for part in location if not NOT_KEYS.match(str(part))]


def _named_key(problem: Any, message: str) -> list[str] | None:
    """The key that a rule between several keys names in backticks, from the section it is of."""
    named = re.search(r"`([a-z_0-9.]+)", message)
    if problem["type"] != "value_error" or not named:
        return None
    return [*_keys(problem["loc"]), *named[1].split(".")]


def _shown_key(keys: Sequence[str]) -> str:
    """A key with dots; one that nobody would write is shown escaped and cut."""
    dotted = ".".join(keys)
    return (
        dotted
        if re.fullmatch(r"[\w.+ -]{0,120}", dotted, re.ASCII)
        else ascii(dotted[:SHOWN])[1:-1]
    )


def _gives(setting: str, dotted: str) -> bool:
    """Whether an override gave a key, one around it or one in it."""
    key = setting.partition("=")[0].strip()
    around = dotted == key or dotted.startswith(f"{key}.")
    return around or bool(dotted and key.startswith(f"{dotted}."))


def _wanted(problem: Any, model: type[BaseModel], keys: Sequence[str]) -> str:
    kind, held = problem["type"], problem["input"]
    if kind == "string_type":
        quoted = isinstance(held, int | float | date) and not isinstance(held, bool)
        return f'text: in quotes, "{held}"' if quoted else "text, in quotes"
    fields = _fields(model, keys)
    if kind in ("model_type", "model_attributes_type", "dict_type") and fields:
        return f"a section with keys of {', '.join(fields)}"
    if kind == "string_pattern_mismatch":
        meaning = _description(model, keys)
        return f"like {problem['ctx']['pattern']}{f': {meaning}' if meaning else ''}"
    words = EXPECTED.get(kind)
    if words is not None:
        return words(problem.get("ctx", {}))
    message = str(problem["msg"])
    return message[:1].lower() + message[1:]


def _nearest_choice(problem: Any) -> str:
    """The end of the sentence: which of the choices is near to what was given."""
    if problem["type"] != "literal_error":
        return "."
    choices = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
    near = did_you_mean(str(problem["input"])[:SHOWN], choices)
    return f"; {near}" if near else "."


def _short(value: Any) -> str:
    """A value as it stands in YAML, cut where it is long."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value) if isinstance(value, date) else SHORT.repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _hint(name: str, known: Sequence[str]) -> str:
    return did_you_mean(name, known, f"known are {', '.join(known)}.")


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The models in a type, however deep in its alternatives and containers."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _sections(inner)]


def _section(model: type[BaseModel], keys: Sequence[str]) -> type[BaseModel] | None:
    """The model that stands at a place; numbers of entries in lists are passed over."""
    here: type[BaseModel] | None = model
    for key in keys:
        if key.isdigit() and here is not model:
            continue
        field = here.model_fields.get(key) if here else None
        here = next(iter(_sections(field.annotation)), None) if field else None
    return here


def _fields(model: type[BaseModel], keys: Sequence[str]) -> list[str]:
    section = _section(model, keys)
    return list(section.model_fields) if section else []


def _all_keys(model: type[BaseModel], above: str = "") -> list[str]:
    """Every key of a model and of its sections, with dots."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(above + name)
        for section in _sections(field.annotation):
            keys += _all_keys(section, f"{above}{name}.")
    return keys


def _description(model: type[BaseModel], keys: Sequence[str]) -> str:
    section = _section(model, keys[:-1])
    field = section.model_fields.get(keys[-1]) if section and keys else None
    return (field.description or "").rstrip(".") if field else ""
