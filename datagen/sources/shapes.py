"""Pairs whose after has another shape than its before: what the two show in common, and where.

An editor may give a square back for a wide photograph, having cropped it, filled it up or squeezed
it; a program may turn a photograph by its EXIF data and drop the data, or not. Which of these it
was is found by laying the edges in one picture over those in the other.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from datagen.making.build_notes import LeftOut, Note
from datagen.sources.source import Load, Pair

Option = Literal["crop", "pad", "leave_out", "stretch"]
Box = tuple[float, float, float, float]  # left, top, right, bottom, in shares of the sides

SAME_SHAPE = 0.03  # the greatest difference of width / height, as a share: editors round sizes
EDGE = 128  # pixels of the long edge at which pictures are compared
SCALES = np.linspace(1.0, 0.55, 19)  # how much smaller the inner picture may be than it could be
ENOUGH = 0.45  # the least correlation of edges: unrelated photographs reach 0.44
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
WORDS = {
    "turned": "turned as their before",
    "cropped": "cropped to what both show",
    "squeezed": "stretched back to the shape of their before",
    "padded": "padded to the shape of their before",
}


@dataclass(frozen=True)
class Fit:
    """How an after is laid over its before.

    Attributes:
        how: `turned`, `cropped` or `squeezed`; `padded` where nothing was looked for.
        before: The part of the before that both show.
        after: The part of the after, once turned, that both show.
        turns: Quarter turns of the after, against the clock.
    """

    how: str
    before: Box = WHOLE
    after: Box = WHOLE
    turns: int = 0


@dataclass(frozen=True)
class FittedLoad:
    """Loads a picture, turns it, and cuts out or pads: uint8 H x W x 3.

    Attributes:
        load: Loads the picture.
        box: The part that is cut out.
        turns: Quarter turns against the clock, first of all.
        aspect: Width / height that the picture is padded to in white; None: it is not padded.
    """

    load: Load
    box: Box = WHOLE
    turns: int = 0
    aspect: float | None = None

    def __call__(self) -> np.ndarray:
        image = np.rot90(self.load(), self.turns)
        height, width = image.shape[:2]
        left, top, right, bottom = self.box
        rows = slice(round(top * height), max(round(bottom * height), round(top * height) + 1))
        columns = slice(round(left * width), max(round(right * width), round(left * width) + 1))
        part = np.ascontiguousarray(image[rows, columns])
        return part if self.aspect is None else _pad(part, self.aspect)


def _pad(image: np.ndarray, aspect: float) -> np.ndarray:
    height, width = image.shape[:2]
    more_width = max(0, round(height * aspect) - width)
    more_height = max(0, round(width / aspect) - height) if not more_width else 0
    sides = [(more // 2, more - more // 2) for more in (more_height, more_width)]
    return np.pad(image, (*sides, (0, 0)), constant_values=255)


def fit_shapes(
    pairs: Sequence[Pair], option: Option, workers: int = 1
) -> tuple[list[Pair], list[Note]]:
    """Fit every after of another shape to its before, or leave the pair out.

    Args:
        pairs: Pairs; those without `sizes` are taken as they are.
        option: `crop`: both are cropped to what they have in common, and the pair is left out where
            nothing in common is found. `pad`: the after is padded. `leave_out`: the pair is left
            out. `stretch`: the after is stretched. One that is its before turned is always turned.
        workers: Processes that compare the pictures.

    Returns:
        The pairs that remain, in their order, and what there is to say.
    """
    from lorweb_bench.runtime.workers import run_pieces

    odd = [pair for pair in pairs if _other_shape(pair)]
    if not odd or option == "stretch":
        return list(pairs), []
    fits = run_pieces(find_fit, odd, workers, describe="fitting shapes")
    fit_by_pair = {id(pair): fit for pair, fit in zip(odd, fits, strict=True)}
    chosen: list[Pair] = []
    notes: list[Note] = []
    counts: Counter[str] = Counter()
    for pair in pairs:
        fit = fit_by_pair.get(id(pair))
        if id(pair) in fit_by_pair and (fit is None or fit.how != "turned"):
            fit = {"pad": Fit("padded"), "leave_out": None}.get(option, fit)
        if id(pair) in fit_by_pair and fit is None:
            (height, width), (rows, columns) = pair.sizes or ((0, 0), (0, 0))
            reason = (
                f"its after has {columns} x {rows} pixels, another shape than {width} x {height}"
            )
            notes.append(LeftOut(pair.name, reason, "shape"))
            continue
        chosen.append(pair if fit is None else _fitted(pair, fit))
        counts.update([fit.how] if fit else [])
    if counts:
        parts = ", ".join(f"{count} {WORDS[how]}" for how, count in sorted(counts.items()))
        notes.append(f"{sum(counts.values())} afters have another shape than their before: {parts}")
    return chosen, notes


def _other_shape(pair: Pair) -> bool:
    if pair.sizes is None:
        return False
    (height, width), (rows, columns) = pair.sizes
    return abs((columns * height) / (rows * width) - 1) > SAME_SHAPE


def _fitted(pair: Pair, fit: Fit) -> Pair:
    assert pair.sizes is not None and pair.after is not None
    (height, width), _ = pair.sizes
    aspect = width / height if fit.how == "padded" else None
    before = pair.before if fit.before == WHOLE else FittedLoad(pair.before, fit.before)
    after = FittedLoad(pair.after, fit.after, fit.turns, aspect)
    return replace(pair, before=before, after=after)


def find_fit(pair: Pair) -> Fit | None:
    """How a pair's after lies over its before; None where nothing in common is found."""
    assert pair.after is not None
    before, after = pair.before(), pair.after()
    tries = [_squeezed(before, after), *_turned(before, after), *_inner(before, after)]
    score, fit = max(tries, key=lambda attempt: attempt[0])
    return fit if score >= ENOUGH else None


def _inner(before: np.ndarray, after: np.ndarray) -> list[tuple[float, Fit]]:
    """The after as a part of the before, and the before as a part of the after."""
    score, box = _find_inside(before, after)
    other_score, other_box = _find_inside(after, before)
    return [(score, Fit("cropped", before=box)), (other_score, Fit("cropped", after=other_box))]


def _turned(before: np.ndarray, after: np.ndarray) -> list[tuple[float, Fit]]:
    aspect = before.shape[1] / before.shape[0] * after.shape[1] / after.shape[0]
    if abs(aspect - 1) > SAME_SHAPE:
        return []
    attempts = []
    for turns in (1, 3):
        score = _squeezed(before, np.rot90(after, turns))[0]
        attempts.append((score, Fit("turned", turns=turns)))
    return attempts


def _squeezed(before: np.ndarray, after: np.ndarray) -> tuple[float, Fit]:
    size = _size(before, 1.0)
    return _correlation(_edges(before, size), _edges(after, size)), Fit("squeezed")


def _find_inside(outer: np.ndarray, inner: np.ndarray) -> tuple[float, Box]:
    """Where one picture, whole and unstretched, lies within another one best.

    Returns:
        The correlation of edges there, and the part of the outer picture.
    """
    import cv2

    width, height = _size(outer, 1.0)
    field = _edges(outer, (width, height))
    largest = min(width / inner.shape[1], height / inner.shape[0])
    best = (-1.0, WHOLE)
    for scale in SCALES * largest:
        size = (round(inner.shape[1] * scale), round(inner.shape[0] * scale))
        if min(size) < 16 or size[0] > width or size[1] > height:
            continue
        scores = cv2.matchTemplate(field, _edges(inner, size), cv2.TM_CCOEFF_NORMED)
        _, score, _, (x, y) = cv2.minMaxLoc(scores)
        if np.isfinite(score) and score > best[0]:
            box = (x / width, y / height, (x + size[0]) / width, (y + size[1]) / height)
            best = (float(score), box)
    return best


def _size(image: np.ndarray, scale: float) -> tuple[int, int]:
    """Width and height with the long edge at `EDGE` times the scale."""
    factor = EDGE * scale / max(image.shape[:2])
    return max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))


def _edges(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """How steep a picture is at each pixel, float32: alike before and after most edits."""
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    across, down = (cv2.Sobel(small, cv2.CV_32F, x, 1 - x) for x in (1, 0))
    return np.sqrt(cv2.magnitude(across, down))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float((x * y).sum()) / lengths if lengths > 1e-6 else 0.0
