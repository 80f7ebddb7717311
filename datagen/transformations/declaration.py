"""How a family of transformations is declared: by a decorator, with typed parameters."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np

from lorweb_bench.errors import InputError, did_you_mean

Function = TypeVar("Function", bound=Callable[..., np.ndarray])
Presets = Sequence[Mapping[str, Any]]
REFERENCE = 64  # pixels of the short side at which lengths are meant; they grow with the image
PIXELS = f"pixels at a short side of {REFERENCE}"  # the unit of such lengths
Lengths = Literal["shares", "pixels"]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a family: what it means, and which values it takes.

    It is a number between two limits, one of a list of choices, or a short text.

    Args:
        meaning: What it stands for, in a few words without a unit or a range.
        low: The least number, which is allowed itself.
        high: The greatest number, which is allowed itself.
        choices: All values that there are, where it is no number.
        unit: What a number counts, for example `degrees` or `of the width`.
        whole: Whether a number has to be whole.
        step: Of a whole number: it is `low` plus a multiple of this.
        longest: The greatest length of a text, which makes the parameter a text.
        length: How many such values it holds, where it is a list of them.

    Raises:
        ValueError: When it is declared as none or as several of the three.

    >>> str(Parameter("turn around the hue circle", 0, 360, unit="degrees"))
    'turn around the hue circle, 0 to 360 degrees'
    >>> str(Parameter("side that stays", choices=("left", "right")))
    'side that stays: left or right'
    """

    meaning: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    unit: str = ""
    whole: bool = False
    step: int = 1
    longest: int | None = None
    length: int | None = None

    def __post_init__(self) -> None:
        """Check that this is a number, a choice or a text, and only one of these."""
        limited = self.low is not None and self.high is not None
        if [limited, bool(self.choices), self.longest is not None].count(True) != 1:
            raise ValueError(
                f"the parameter {self.meaning!r} needs both low and high, or choices, or longest"
            )
        if limited and not self.low <= self.high:  # type: ignore[operator]
            raise ValueError(
                f"the parameter {self.meaning!r} has low {self.low} above high {self.high}"
            )

    def __str__(self) -> str:
        """Meaning, allowed values and unit in words, for errors and pages."""
        if self.choices:
            *others, last = map(str, self.choices)
            return f"{self.meaning}: {', '.join(others)}{' or ' if others else ''}{last}"
        if self.longest is not None:
            return f"{self.meaning}, 1 to {self.longest} characters"
        sort = {1: "whole, ", 2: "in steps of 2, "}[self.step] if self.whole else ""
        lists = f"{self.length} numbers, each " if self.length else ""
        return f"{self.meaning}, {lists}{sort}{self.low:g} to {self.high:g} {self.unit}".rstrip()

    def read(self, value: Any) -> Any:
        """The value as the family's function takes it: plain Python, whole numbers as int.

        Raises:
            ValueError: When the parameter does not take it; the text asks for the nearest choice.
        """
        if self.length is None:
            return self._read_one(value)
        if not isinstance(value, (list, tuple)) or len(value) != self.length:
            raise ValueError
        return [self._read_one(item) for item in value]

    def _read_one(self, value: Any) -> Any:
        value = value.item() if isinstance(value, np.generic) else value
        if self.choices:
            if isinstance(value, bool) or value not in self.choices:
                raise ValueError(did_you_mean(str(value), map(str, self.choices)))
            return self.choices[self.choices.index(value)]
        if self.longest is not None:
            if not isinstance(value, str) or not 1 <= len(value) <= self.longest:
                raise ValueError
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError
        if not math.isfinite(value) or not self.low <= value <= self.high:  # type: ignore[operator]
            raise ValueError
        if not self.whole:
            return value
        steps_above_low = int(value) - int(self.low)  # type: ignore[arg-type]
        if value != int(value) or steps_above_low % self.step:
            raise ValueError
        return int(value)


SEED = Parameter("seed of the random pattern", 0, 2**63 - 1, whole=True)


@dataclass(frozen=True)
class Below:
    """A rule between two parameters: the value of `lower` is less than that of `upper`."""

    lower: str
    upper: str

    def __str__(self) -> str:
        """The rule as it is written in errors and pages: `low < high`."""
        return f"{self.lower} < {self.upper}"

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether values keep the rule; where one of the two is left out, nothing is broken."""
        if self.lower not in values or self.upper not in values:
            return True
        return bool(values[self.lower] < values[self.upper])


@dataclass(frozen=True)
class Family:
    """Transformations of one sort, told apart by the values of their parameters.

    The decorator `family` makes one of a function; see there for what the fields mean.

    Raises:
        InputError: When a field has the wrong type, when parameters and the function's arguments
            differ, or when a preset lies outside of what the parameters take.
    """

    name: str
    kind: str
    deterministic: bool
    parameters: Mapping[str, Parameter]
    presets: Presets
    apply: Callable[..., np.ndarray]
    instruct: Callable[..., str]
    rules: tuple[Below, ...] = ()
    instruct_in_pixels: Callable[..., str] | None = None

    def __post_init__(self) -> None:
        """Refuse a wrong declaration where it is made."""
        self._check_fields()
        self._check_signature()
        for preset in self.presets:
            self.read(preset)

    @cached_property
    def required(self) -> frozenset[str]:
        """The parameters that have no default in the function."""
        arguments = inspect.signature(self.apply).parameters
        return frozenset(
            n for n in self.parameters if arguments[n].default is inspect.Parameter.empty
        )

    @property
    def meanings(self) -> str:
        """All parameters and rules in words, for errors and pages."""
        named = [f"{name} ({parameter})" for name, parameter in self.parameters.items()]
        rules = "".join(f", with {rule}" for rule in self.rules)
        return (", ".join(named) or "no parameters") + rules

    def read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of the family's parameters as its function takes them.

        Raises:
            InputError: For a parameter that there is not or that is missing, and for values that
                the parameters do not take or that break a rule between them.
        """
        if not self.required <= values.keys() <= self.parameters.keys():
            values_text = ", ".join(map(str, values)) or "no parameters"
            raise self._refused(f"given were {values_text}")
        read = {}
        for name, value in values.items():
            try:
                read[name] = self.parameters[name].read(value)
            except ValueError as error:
                raise self._refused(f"{name} was {_one_line(repr(value))}", str(error)) from None
        for rule in self.rules:
            if not rule.holds(read):
                values_text = " and ".join(f"{n} {read[n]!r}" for n in (rule.lower, rule.upper))
                raise self._refused(f"{values_text} were given")
        return read

    def words(self, values: Mapping[str, Any], lengths: Lengths) -> Any:
        """What the instruction says of values that `read` gave.

        Lengths that grow with the image are told in percent of its short side, which is what is
        seen at every size, or in pixels at a short side of 64.
        """
        if lengths == "pixels" and self.instruct_in_pixels is not None:
            return self.instruct_in_pixels(**values)
        readable = {
            name: f"{100 * value / REFERENCE:.3g} %"
            if self.parameters[name].unit == PIXELS
            else value
            for name, value in values.items()
        }
        return self.instruct(**readable)

    def _refused(self, what: str, hint: str = "") -> InputError:
        end = f"; {hint}" if hint else "."
        return InputError(f"The family {self.name!r} takes {self.meanings}; {what}{end}")

    def _check_fields(self) -> None:
        wrong = {
            "name": not isinstance(self.name, str),
            "kind": not isinstance(self.kind, str) or not self.kind,
            "deterministic": not isinstance(self.deterministic, bool),
            "parameters": not _mapping_of(self.parameters, Parameter),
            "presets": not isinstance(self.presets, (list, tuple))
            or not all(isinstance(values, Mapping) for values in self.presets),
            "apply": not callable(self.apply),
            "instruction": not callable(self.instruct)
            or not (self.instruct_in_pixels is None or callable(self.instruct_in_pixels)),
            "rules": not all(isinstance(rule, Below) for rule in self.rules),
        }
        if field := next((name for name, bad in wrong.items() if bad), None):
            value = getattr(self, "instruct" if field == "instruction" else field)
            raise InputError(
                f"The family {self.name!r} has a wrong {field}, {_one_line(repr(value))}: name and "
                "kind are text, deterministic is True or False, parameters are Parameter(…), "
                "presets are mappings, rules are Below(…), the instruction is text or a function."
            )

    def _check_signature(self) -> None:
        image, *arguments = inspect.signature(self.apply).parameters.values()
        named = {argument.name for argument in arguments}
        ruled = {name for rule in self.rules for name in (rule.lower, rule.upper)}
        if named != set(self.parameters) or not ruled <= named:
            raise InputError(
                f"The family {self.name!r} declares the parameters {sorted(self.parameters)}"
                f"{f' and rules for {sorted(ruled)}' if ruled else ''}, and its function takes "
                f"{sorted(named)} beside {image.name!r}; they must be the same."
            )


def family(
    name: str,
    *,
    kind: str,
    instruction: str | Callable[..., str],
    presets: Presets = ({},),
    deterministic: bool = True,
    rules: Iterable[Below] = (),
    in_pixels: str | None = None,
    **parameters: Parameter,
) -> Callable[[Function], Function]:
    """Declare the decorated function as a family of transformations.

    The function takes an image and the parameters by name, and gives an image: uint8 RGB arrays of
    one height and width. It leaves its input untouched. It stays as it is; `families_in` finds it.

    Args:
        name: The family's name in snake_case; ids begin with it.
        kind: The nature of the transformation, such as `colour` or `geometry`.
        instruction: An imperative fragment without a full stop, with `{parameter}` in braces, or a
            function of the parameters that gives one. A length in `PIXELS` is given to it as text,
            such as `25 %`, to be followed by `of the short side`.
        presets: Values of the parameters, in a natural order (weak to strong, by angle), so that
            some can be held out as new parameters. One empty preset where there are no parameters.
        deterministic: Whether the result is a pure function of image and parameters.
        rules: Rules between parameters.
        in_pixels: The instruction that tells lengths in pixels at a short side of 64, where it
            differs; for recipes that say `transformations.lengths: pixels`.
        **parameters: What each parameter means and which values it takes.

    Raises:
        InputError: When the declaration and the function do not fit together.

    >>> @family("lift", kind="tone", presets=presets("by", 20, 40), instruction="lift by {by}",
    ...         by=Parameter("rise", 0, 255, unit="levels"))
    ... def lift(image, by):
    ...     return np.clip(image.astype(int) + by, 0, 255).astype(np.uint8)
    >>> int(lift(np.zeros((4, 4, 3), np.uint8), by=20).max())
    20
    """

    def declare(function: Function) -> Function:
        """Attach the family to its function."""
        words = instruction.format if isinstance(instruction, str) else instruction
        function.family = Family(  # type: ignore[attr-defined]
            name,
            kind,
            deterministic,
            parameters,
            presets,
            function,
            words,
            tuple(rules),
            None if in_pixels is None else in_pixels.format,
        )
        return function

    return declare


def families_in(namespace: Mapping[str, Any]) -> tuple[Family, ...]:
    """The families that a module declares, in their order, but none that it imports.

    Args:
        namespace: The module's names, as `globals()` gives them inside of it and `vars` outside.
    """
    here = namespace.get("__name__")
    members = (item for item in namespace.values() if getattr(item, "__module__", None) == here)
    declared = (getattr(function, "family", None) for function in members)
    return tuple(item for item in declared if isinstance(item, Family))


def presets(names: str, *rows: Any) -> Presets:
    """Values of parameters as mappings, from rows.

    Args:
        names: The names of the parameters, separated by spaces.
        *rows: One value, or a tuple of as many values as names, for each preset.

    >>> presets("axis count", ("rows", 3), ("columns", 5))
    ({'axis': 'rows', 'count': 3}, {'axis': 'columns', 'count': 5})
    """
    keys = names.split()
    return tuple(dict(zip(keys, row if len(keys) > 1 else (row,), strict=True)) for row in rows)


def transformation_id(family: str, parameters: Mapping[str, Any]) -> str:
    """The id of a family with parameters, of the letters `[a-z0-9_-]`.

    >>> transformation_id("gamma", {"value": -0.5})
    'gamma-value_m0p5'
    """
    spelled = (f"{name}_{spell(value)}" for name, value in sorted(parameters.items()))
    return "-".join([family, *spelled])


def spell(value: Any) -> str:
    """One parameter value in the letters of an id: minus signs as m, decimal points as p."""
    if isinstance(value, (list, tuple)):
        return "_".join(spell(item) for item in value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value).replace("-", "m").replace(".", "p").replace("+", "")
    return re.sub(r"[^a-z0-9_]+", "_", str(value).lower())


def _mapping_of(value: Any, of: type) -> bool:
    return isinstance(value, Mapping) and all(isinstance(item, of) for item in value.values())


def _one_line(text: str) -> str:
    return " ".join(text.split())
