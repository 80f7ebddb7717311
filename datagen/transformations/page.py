"""The page of the docs on the library, made from the declarations that recipes are checked with."""

from __future__ import annotations

from datagen.transformations.arrays import COLOURS, NAMED_COLOUR
from datagen.transformations.catalogue import Library
from datagen.transformations.declaration import Family

INTRODUCTION = f"""# The transformation library

This page is made by `lorweb-bench datagen transformations --page` from the declarations of the \
families. A recipe takes a family by its name, and values of its parameters within these limits \
(`transformations.presets`, `tiers.new_parameters`); others are refused. A named colour is one of \
{", ".join(COLOURS)}. Pixels at a short side of 64 grow with the picture; instructions tell them \
in percent of the short side. [datasets.md](datasets.md) tells how to declare a family of your own.
"""


def page(library: Library) -> str:
    """The whole page, as Markdown: a table of families for each kind."""
    kinds: dict[str, list[Family]] = {}
    for family in library.families.values():
        kinds.setdefault(family.kind, []).append(family)
    return INTRODUCTION + "".join(_table(library, *item) for item in kinds.items())


def _table(library: Library, kind: str, families: list[Family]) -> str:
    rows = "\n".join(_row(library, family) for family in families)
    head = "| family | presets | parameters | instruction of the first preset |\n|---|---|---|---|"
    return f"\n## {kind.capitalize()}\n\n{head}\n{rows}\n"


def _row(library: Library, family: Family) -> str:
    parameters = [
        f"`{name}`: {NAMED_COLOUR.meaning if parameter == NAMED_COLOUR else parameter}"
        for name, parameter in family.parameters.items()
    ]
    rules = [f"`{rule}`" for rule in family.rules]
    fresh = "" if family.deterministic else " (not deterministic)"
    words = library.describe(family.name, family.presets[0])["instruction"]
    parameter_words = "<br>".join([*parameters, *rules])
    return f"| `{family.name}`{fresh} | {len(family.presets)} | {parameter_words} | {words} |"
