"""The declared base: the frozen base that a suite names, and the families that it knows.

What reads a base is found by entry point, in the group `lorweb_bench.declared_bases`: a function of
a base's name or folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lorweb_bench.data.composition import families_of
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.plugins import installed, load_entry

GROUP = "lorweb_bench.declared_bases"


@dataclass(frozen=True)
class DeclaredBase:
    """A base, and what its own manifest says that it was pretrained on.

    Attributes:
        name: What datasets call it.
        fingerprint: The sha256 of its weights.
        families: The families of single transformations that it knows.
    """

    name: str
    fingerprint: str
    families: frozenset[str]

    def knows(self, family: str) -> bool:
        """Whether it knows a family; a composition is known when all its families are.

        >>> base = DeclaredBase("tiny", "0f3a", frozenset({"invert", "rotate"}))
        >>> base.knows("rotate+invert"), base.knows("rotate+sobel")
        (True, False)
        """
        return self.families.issuperset(families_of(family))

    def marked(self, transformations: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Transformations as a manifest lists them, each with `known_to_base`."""
        return {
            name: {**info, "known_to_base": self.knows(info["family"])}
            for name, info in transformations.items()
        }


def read_base(name: str) -> DeclaredBase:
    """Read what a base knows.

    Args:
        name: A name such as `tiny`, or a folder.

    Raises:
        InputError: There is no such base, or it does not say what it knows.
    """
    refused = None
    for entry in installed(GROUP).values():
        try:
            base = load_entry(entry)(name)
        except InputError as error:
            refused = refused or error
            continue
        if not isinstance(base, DeclaredBase):
            raise InputError(f"{entry.name!r} ({entry.value}) reads no base; see {GROUP}.")
        return base
    raise refused or InputError(f"Nothing that is installed reads the base {name!r}.")
