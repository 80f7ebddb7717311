"""Panels without edits, for pretraining that draws its own edits: an array, and whose they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datagen.making.build_notes import Note
from datagen.sources.bundled import bundled
from datagen.sources.crops import Panel, cut_panel
from datagen.sources.photographs import folder
from datagen.sources.scenes.compose import scenes
from datagen.sources.source import Source
from lorweb_bench.errors import InputError, unknown_name
from lorweb_bench.runtime.files import write_json

PANELS, SOURCES = "panels.npy", "sources.json"


@dataclass(frozen=True)
class LoosePanels:
    """What the panels are cut from.

    Args:
        photographs: A folder of photographs, or None.
        credits: A CSV file of `file`, `licence`, `attribution` for them, or None.
        bundled: Names of photographs that come with the project's dependencies.
        crops: Panels of each photograph, at seeded places and of seeded sizes.
        scenes: How many procedural scenes, a panel each.
        first_scene: The seed of the first one.
        side: Of a panel, in pixels.
        seed: Of the crops.
    """

    photographs: Path | None = None
    credits: Path | None = None
    bundled: Sequence[str] = ()
    crops: int = 28
    scenes: int = 0
    first_scene: int = 0
    side: int = 128
    seed: int = 0

    def sources(self) -> tuple[list[Source], list[Note]]:
        """The photographs, and the files that are none or too small.

        Raises:
            InputError: For an unknown bundled photograph, or a folder without photographs.
        """
        chosen = named(self.bundled)
        if self.photographs is None:
            return chosen, []
        found, skipped = folder(self.photographs, credits=self.credits, min_side=self.side)
        return [*found, *chosen], skipped


def named(names: Sequence[str]) -> list[Source]:
    """Bundled photographs by name; an unknown one is an InputError with the nearest name."""
    there = {source.name: source for source in bundled()}
    for name in names:
        if name not in there:
            raise unknown_name("bundled photograph", name, there)
    return [there[name] for name in names]


def write_panels(settings: LoosePanels, output: Path) -> tuple[int, list[Note]]:
    """Write `panels.npy` (n, side, side, 3) uint8 and `sources.json` to a folder.

    Panels stand in the order of the sources, those of a photograph one after the other.

    Returns:
        How many panels there are, and the files that were left out.
    """
    photographs, skipped = settings.sources()
    size = Panel(square=settings.side)
    drawn = scenes(
        range(settings.first_scene, settings.first_scene + settings.scenes),
        settings.side,
        settings.side,
    )
    if not photographs and not drawn:
        raise InputError("panels: neither photographs nor scenes were asked for")
    panels, about = [], []
    for source, count in [*((s, settings.crops) for s in photographs), *((s, 1) for s in drawn)]:
        panels += [cut_panel(source, size, settings.seed + number) for number in range(count)]
        about.append(
            {
                "name": source.name,
                "licence": source.licence,
                "attribution": source.attribution,
                "panels": count,
            }
        )
    output.mkdir(parents=True, exist_ok=True)
    np.save(output / PANELS, np.stack(panels))
    write_json(output / SOURCES, {"side": settings.side, "sources": about})
    return len(panels), skipped
