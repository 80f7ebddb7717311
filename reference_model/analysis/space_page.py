"""The page of `inspect-model`.

HeatMap maps of the coefficients, the map of transformations, the effect of each element.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lorweb_bench.data.dataset import open_suite
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import SEEN_TIERS
from lorweb_bench.reports.html import write_page
from reference_model.analysis.inspecting import (
    ElementEffect,
    MeanMix,
    effective_elements,
    element_effects,
    mean_mixes,
    nearest_neighbours,
    open_model,
    principal_plane,
    spread_items,
)
from reference_model.analysis.space import open_space

MAP = (720.0, 440.0)  # of the drawing, in its own units
MARGIN = 16.0
# Drawn around (0, 0); with six colours there are 24 signs for kinds.
SHAPES = (
    "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0z",
    "M-4.6,-4.6h9.2v9.2h-9.2z",
    "M0,-6l5.6,10h-11.2z",
    "M0,-6.4l6.4,6.4l-6.4,6.4l-6.4,-6.4z",
)
COLOURS = 6


@dataclass(frozen=True)
class HeatMap:
    """A heat map: rows of values in [0, 1] of `greatest`, the layers' names, and the size of a cell
    in the drawing's units.
    """

    title: str
    note: str
    greatest: float
    cells: list[list[float]]
    names: list[str]
    labels: dict[int, str]
    width: float
    height: float


def short(layer: str) -> str:
    """`transformer_blocks.0.attn.to_q` as `double 0 · attn.to_q`, for a narrow column."""
    if "transformer_blocks." not in layer:
        return f"outside · {layer}"
    kind, number, rest = layer.split(".", 2)
    return f"{'single' if kind.startswith('single') else 'double'} {number} · {rest}"


def heat_map(title: str, note: str, values: np.ndarray, layers: Sequence[str]) -> HeatMap:
    """A heat map of values (layers, elements), none negative.

    Where the layers are many, only the first of a block is named.
    """
    greatest = float(values.max())
    cells = (values / (greatest or 1.0)).round(2).tolist()
    height = min(16.0, max(4.0, 640.0 / len(layers)))
    blocks = [short(layer).partition(" · ")[0] for layer in layers]
    firsts = {i: name for i, name in enumerate(blocks) if i == 0 or blocks[i - 1] != name}
    labels = {i: short(layer) for i, layer in enumerate(layers)} if height >= 12 else firsts
    return HeatMap(
        title,
        note,
        greatest,
        cells,
        list(layers),
        labels,
        max(10.0, 320.0 / values.shape[1]),
        height,
    )


@dataclass(frozen=True)
class MapPoint:
    """A transformation on the map.

    Where, by which sign, and whether it is hollow because it was not trained on.
    """

    mix: MeanMix
    x: float
    y: float
    colour: int
    shape: str
    hollow: bool


def map_points(found: Sequence[MeanMix], positions: np.ndarray) -> list[MapPoint]:
    """The transformations on the map; each kind has a sign of its own."""
    names = sorted({mix.kind for mix in found})
    kinds = {kind: i for i, kind in enumerate(names)}
    low, span = positions.min(0), np.ptp(positions, axis=0)
    drawn = MARGIN + (positions - low) / np.where(span > 0, span, 1.0) * (
        np.array(MAP) - 2 * MARGIN
    )
    points = []
    for mix, (x, y) in zip(found, drawn, strict=True):
        shape, colour = divmod(kinds[mix.kind], COLOURS)
        hollow = bool(mix.tier) and mix.tier not in SEEN_TIERS
        points.append(
            MapPoint(
                mix,
                round(float(x), 1),
                round(MAP[1] - float(y), 1),
                colour + 1,
                SHAPES[shape % len(SHAPES)],
                hollow,
            )
        )
    return points


def layer_rows(layers: Sequence[str], coefficients: np.ndarray) -> list[dict[str, object]]:
    """Per layer the effective elements of one mix and of the mean mix, and the most used element.

    The coefficients are (transformations, layers, elements).
    """
    each, mean = effective_elements(coefficients).mean(0), np.abs(coefficients).mean(0)
    together = effective_elements(mean)
    return [
        {
            "name": name,
            "each": float(each[i]),
            "together": float(together[i]),
            "element": int(mean[i].argmax()),
            "most": float(mean[i].max()),
        }
        for i, name in enumerate(layers)
    ]


def write_space_page(
    model: Path, suite_path: Path, out: Path, items: int, effect_items: int
) -> str:
    """Write the page of a checkpoint on a suite.

    Coefficients over `items` items, effects on `effect_items`; returns a line for the user.

    InputError where the checkpoint has no router. With no item for effects, the base is not needed
    and not loaded.
    """
    space = open_space(model)
    if space.router is None:
        raise InputError(
            f"{model}: has no router, so no coefficients to look at; name a checkpoint of kind "
            "lorweb"
        )
    suite = open_suite(suite_path)
    mixes = mean_mixes(space, spread_items(suite, items))
    effect: list[ElementEffect] = []
    if effect_items:
        adapter, method = open_model(model)
        effect = element_effects(adapter, method, suite, spread_items(suite, effect_items))
    coefficients = np.stack([p.coefficients for p in mixes])
    count, rank = coefficients.shape[2], space.config.adapter.rank
    on = f"{suite.name} {suite.version}"
    write_page(
        out,
        "space.html.j2",
        package="reference_model",
        folder="analysis/page",
        title=space.config.name,
        kicker="The space of LoRAs",
        lead=f"{count} elements of rank {rank} in {len(space.basis)} layers, seen on {on}",
        footer=f"lorweb-bench inspect-model on {on}, fingerprint {suite.fingerprint[:12]}. "
        "This page needs no network.",
        effects=sorted(effect, key=lambda e: -(e.change if e.loss is None else e.loss)),
        **_context(list(space.basis), mixes, coefficients),
    )
    each = effective_elements(coefficients).mean()
    return (
        f"{out}: {len(mixes)} transformations; "
        f"one analogy uses {each:.1f} of {count} elements in a layer"
    )


def _context(
    layers: Sequence[str], found: Sequence[MeanMix], coefficients: np.ndarray
) -> dict[str, Any]:
    """What the template shows of the coefficients (transformations, layers, elements)."""
    positions, shares = principal_plane(found)
    drawn = map_points(found, positions)
    mean = np.abs(coefficients).mean(0)
    return {
        "heats": [
            heat_map("How much each element is used", "mean size of its coefficient", mean, layers),
            heat_map(
                "How much that depends on the analogy",
                "standard deviation between transformations",
                coefficients.std(0),
                layers,
            ),
        ],
        "each": float(effective_elements(coefficients).mean()),
        "together": float(effective_elements(mean).mean()),
        "elements": coefficients.shape[2],
        "items": sum(p.items for p in found),
        "rows": layer_rows(layers, coefficients),
        "points": drawn,
        "legend": {p.mix.kind: p for p in sorted(drawn, key=lambda p: p.mix.kind)},
        "nearest": nearest_neighbours(found),
        "shares": shares,
        "size": MAP,
        "used": mean.mean(0).tolist(),
        "short": short,
    }
