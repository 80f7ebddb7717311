"""The grammar of compositions: ids, families and parameters of transformations that run in turn.

A composition of `rotate-degrees_90` and `invert` has the id `rotate-degrees_90__invert`, the family
`rotate+invert`, and as its parameters `{"steps": [{"family": …, "parameters": …}, …]}`. No family
may hold a `+`, and no id of a single transformation a `__`. Its instruction joins theirs:
`rotate the picture …, then invert the colours`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

BETWEEN_FAMILIES = "+"
BETWEEN_IDS = "__"
BETWEEN_INSTRUCTIONS = ", then "


def joined_family(families: Iterable[str]) -> str:
    """The family of a composition of single transformations, in their order.

    >>> joined_family(["rotate", "invert"])
    'rotate+invert'
    """
    return BETWEEN_FAMILIES.join(families)


def joined_id(ids: Iterable[str]) -> str:
    """The id of a composition of single transformations, in their order.

    >>> joined_id(["rotate-degrees_90", "invert"])
    'rotate-degrees_90__invert'
    """
    return BETWEEN_IDS.join(ids)


def joined_instruction(instructions: Iterable[str]) -> str:
    """The instruction of a composition of single transformations, in their order.

    >>> joined_instruction(["grayscale the picture", "invert the colours"])
    'grayscale the picture, then invert the colours'
    """
    return BETWEEN_INSTRUCTIONS.join(instructions)


def instruction_steps(instruction: str) -> list[str]:
    """The instructions of the single transformations behind one; a single one is itself.

    >>> instruction_steps("grayscale the picture, then invert the colours")
    ['grayscale the picture', 'invert the colours']
    """
    return instruction.split(BETWEEN_INSTRUCTIONS)


def is_composed_family(family: str) -> bool:
    """Whether a family, as manifests spell it, is that of a composition.

    >>> is_composed_family("rotate+invert"), is_composed_family("rotate")
    (True, False)
    """
    return BETWEEN_FAMILIES in family


def is_composed_id(transformation: str) -> bool:
    """Whether the id of a transformation is that of a composition."""
    return BETWEEN_IDS in transformation


def families_of(family: str) -> list[str]:
    """The families of the single transformations behind a family, in order; a single one is itself.

    >>> families_of("rotate+invert")
    ['rotate', 'invert']
    """
    return family.split(BETWEEN_FAMILIES)


def family_pairs(family: str) -> set[frozenset[str]]:
    """Every two families that stand together in a composition; none for a single transformation."""
    return {frozenset(pair) for pair in itertools.combinations(families_of(family), 2)}


def steps_of(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The single transformations behind a transformation, in order; a single one is itself.

    Args:
        spec: A mapping with `family` and `parameters`, as a manifest and a library describe it.

    Returns:
        Mappings with `family` and `parameters`.
    """
    parameters = spec.get("parameters") or {}
    if is_composed_family(spec["family"]) and parameters.get("steps"):
        return list(parameters["steps"])
    return [{"family": spec["family"], "parameters": parameters}]
