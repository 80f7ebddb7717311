"""The world that a base is pretrained on: which families it knows, and an endless supply of edits.

Unlike a training dataset, which lists transformations, a world draws them: any family that the
base is to know, with the presets' parameters or with others, alone or one after another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lorweb_bench.data.composition import families_of, is_composed_family, steps_of
from lorweb_bench.errors import InputError, unknown_name
from reference_model.config import Strict

Spec = dict[str, Any]
COMPOSED_SHARE = 0.7  # of the steps of compositions that come from the families in `composed`


class WorldLibrary(Protocol):
    """A transformation library that can also draw transformations and say what they displace."""

    @property
    def families(self) -> Any:
        """Families by name, each with `presets`, `kind` and `deterministic`."""

    def apply(self, spec: Spec, image: np.ndarray) -> np.ndarray:
        """The image transformed."""

    def describe(self, family: str, parameters: dict[str, Any]) -> Spec:
        """A transformation with its id and instruction."""

    def compose(self, *specs: Spec) -> Spec:
        """One transformation after another, described as one."""

    def draw_preset(self, family: str, random: np.random.Generator) -> Spec:
        """A preset of a family."""

    def vary(self, family: str, random: np.random.Generator) -> Spec:
        """A transformation of a family with drawn parameters."""

    def displacement(self, spec: Spec | None, side: int) -> tuple[np.ndarray, np.ndarray]:
        """How far pixels have come, and where that is known."""


class WorldConfig(Strict):
    """What the base gets to know, and how often it meets what."""

    known: Literal["all"] | list[str] = Field(
        "all", description="Families that the base knows; `all`: the library's deterministic ones."
    )
    new_to_base: list[str] = Field(
        [], description="Families that are left out of `all`: nobody has seen them."
    )
    emphasised: list[str] = Field([], description="Families that are drawn more often.")
    emphasis: float = Field(
        0.0, ge=0, le=1, description="Share of the draws that are of emphasised families."
    )
    composed: list[str] = Field(
        [], description="Families that most steps of compositions are of; none: as single ones."
    )
    compositions: float = Field(0.3, ge=0, le=1, description="Share of compositions of two.")
    second_turns: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of compositions of which only the second step is asked for, of a panel "
        "that the first has edited.",
    )
    varied: float = Field(
        0.4, ge=0, le=1, description="Share of steps whose parameters are no preset's."
    )
    copies: float = Field(0.03, ge=0, lt=1, description="Share without prompt and edit.")


@dataclass(frozen=True)
class EditBatch:
    """Some edits.

    Originals and edits are uint8 (batch, 3, height, width), an empty prompt and no families say a
    copy, and `displacement` (batch, 2, rows, columns) holds at the nodes where `known` is 1.
    """

    before: Tensor
    after: Tensor
    prompts: list[str]
    families: list[list[str]]
    displacement: Tensor
    known: Tensor


@dataclass(frozen=True)
class World:
    """Draws edits of panels (n, side, side, 3) uint8."""

    config: WorldConfig
    library: WorldLibrary
    families: list[str]
    panels: np.ndarray

    def draw_spec(self, random: np.random.Generator) -> Spec | None:
        """A transformation, or None for a copy."""
        share = random.random()
        if share < self.config.copies:
            return None
        if share < self.config.copies + self.config.compositions:
            first = self._draw_composed(random)
            draws = (self._draw_composed(random) for _ in range(5))
            second = next((family for family in draws if family != first), first)
            if first != second:
                return self.library.compose(
                    self._draw_single(first, random), self._draw_single(second, random)
                )
            return self._draw_single(first, random)
        return self._draw_single(self._draw_family(random), random)

    def draw(self, seed: Sequence[int], count: int) -> EditBatch:
        """`count` edits of panels, half of them mirrored first; equal seeds give equal edits."""
        random = np.random.default_rng(tuple(seed))
        before, after, prompts, families = [], [], [], []
        shifts, known_nodes = [], []
        for index in random.integers(len(self.panels), size=count):
            spec = self.draw_spec(random)
            panel = np.asarray(self.panels[index])
            if random.random() < 0.5:
                panel = np.ascontiguousarray(panel[:, ::-1])
            spec, panel = self._take_turns(spec, panel, random)
            shift, where = self.library.displacement(spec, len(panel))
            before.append(panel)
            after.append(panel if spec is None else self.library.apply(spec, panel))
            prompts.append("" if spec is None else spec["instruction"])
            families.append([] if spec is None else families_of(spec["family"]))
            shifts.append(shift)
            known_nodes.append(where)
        return EditBatch(
            stack_panels(before),
            stack_panels(after),
            prompts,
            families,
            torch.from_numpy(np.stack(shifts)),
            torch.from_numpy(np.stack(known_nodes)),
        )

    def _take_turns(
        self, spec: Spec | None, panel: np.ndarray, random: np.random.Generator
    ) -> tuple[Spec | None, np.ndarray]:
        """What to ask for, and of which picture: of some compositions the second step alone.

        An editor that is told one step after another has to edit what it has edited before.
        """
        if spec is None or not is_composed_family(spec["family"]):
            return spec, panel
        if random.random() >= self.config.second_turns:
            return spec, panel
        first, second = steps_of(spec)
        edited = self.library.apply(dict(first), panel)
        return self.library.describe(second["family"], dict(second["parameters"])), edited

    def _draw_family(self, random: np.random.Generator) -> str:
        emphasised = random.random() < self.config.emphasis and self.config.emphasised
        return draw_name(self.config.emphasised if emphasised else self.families, random)

    def _draw_composed(self, random: np.random.Generator) -> str:
        composed = random.random() < COMPOSED_SHARE and self.config.composed
        return draw_name(self.config.composed, random) if composed else self._draw_family(random)

    def _draw_single(self, family: str, random: np.random.Generator) -> Spec:
        if random.random() < self.config.varied:
            return self.library.vary(family, random)
        return self.library.draw_preset(family, random)


def draw_name(names: Sequence[str], random: np.random.Generator) -> str:
    """One of the names at random."""
    return names[int(random.integers(len(names)))]


def stack_panels(panels: Sequence[np.ndarray]) -> Tensor:
    """uint8 (batch, 3, height, width) of panels (height, width, 3)."""
    return torch.from_numpy(np.stack(panels)).permute(0, 3, 1, 2).contiguous()


def known_families(config: WorldConfig, library: WorldLibrary) -> list[str]:
    """The families that the base knows, in the library's order.

    Raises:
        InputError: For a family that the library lacks, or one that is both drawn and held out.
    """
    held_out = set(config.new_to_base)
    drawn = {*config.emphasised, *config.composed}
    listed = library.families if config.known == "all" else config.known
    for name in [*listed, *config.new_to_base, *drawn]:
        if name not in library.families:
            raise unknown_name("transformation family", name, library.families)
    deterministic = [
        n for n in listed if library.families[n].deterministic or config.known != "all"
    ]
    families = [name for name in deterministic if config.known != "all" or name not in held_out]
    if wrong := sorted(held_out & {*families, *drawn}):
        raise InputError(f"world.new_to_base: {wrong[0]} is held out of the base and drawn as well")
    if wrong := sorted(drawn - set(families)):
        raise InputError(f"world: {wrong[0]} is drawn, and `known` does not list it")
    if not families:
        raise InputError("world.known: the base would know no family")
    return families
