"""Quadruplets that somebody made: a, a_prime, b, b_prime in a folder, or as JSON lines."""

import itertools
from pathlib import Path
from typing import Literal

from datagen.making.build_notes import Note
from datagen.sources.image_files import ImageFile, slugs
from datagen.sources.image_sets import ImageSet, NamedRoles, is_list, read_image_sets
from datagen.sources.source import Pair
from lorweb_bench.data.images import MAX_PIXELS
from lorweb_bench.protocol import ROLES

HALVES = (("a", "a_prime"), ("b", "b_prime"))
# As RelationAdapter publishes them, and as words; `.b_prime` must come before `.b`.
_LONGEST_FIRST = sorted(ROLES, key=len, reverse=True)
ENDINGS = {
    "-cond1": "a",
    "-cond2": "a_prime",
    "-src1": "b",
    "-target": "b_prime",
    **{f"{sign}{role}": role for sign, role in itertools.product(".-_", _LONGEST_FIRST)},
}


def quadruplets(
    path: str | Path,
    on_bad: Literal["skip", "fail"] = "skip",
    *,
    licence: str = "unknown",
    attribution: str = "",
    min_side: int = 1,
    max_pixels: int = MAX_PIXELS,
    workers: int = 1,
    recheck: bool = False,
) -> tuple[list[Pair], list[Note]]:
    """Read quadruplets as two pairs each, (a, a_prime) and then (b, b_prime).

    Args:
        path: A folder, a pattern, or a .jsonl file. In a folder, at any depth: `x-cond1`,
            `x-cond2`, `x-src1`, `x-target`; `x.a`, `x.a_prime`, `x.b`, `x.b_prime`; folders `a`,
            `a_prime`, `b`, `b_prime` with files of one name; or a folder `x` with files of these
            names. In JSON lines: a path for each role, and optionally `task`, `instruction`,
            `name`, `licence`, `attribution`.
        on_bad: `fail` raises at the first file that is broken.
        licence: Recorded where a line gives none.
        attribution: Recorded where a line gives none.
        min_side: Sets whose a or b has a shorter side than this, in pixels, are left out.
        max_pixels: Larger images are left out.
        workers: Processes that decode the files.
        recheck: Whether files are decoded that an earlier build has checked.

    Returns:
        The pairs, whose names end in `-a` and `-b`, and what was left out. A quadruplet without a
        task is a task of its own, so its two pairs make analogies with each other alone.

    Raises:
        InputError: There is no whole quadruplet, or `on_bad` is `fail` and a file is broken.
    """
    sets, left_out = read_image_sets(
        path,
        ROLES,
        NamedRoles(ENDINGS),
        on_bad=on_bad,
        min_side=min_side,
        max_pixels=max_pixels,
        workers=workers,
        recheck=recheck,
    )
    names = slugs([image_set.name for image_set in sets])
    listed_tasks: list[str] = []
    if is_list(Path(path)):
        listed_tasks = list(dict.fromkeys(image_set.task for image_set in sets if image_set.task))
    by_task = dict(zip(listed_tasks, slugs(listed_tasks), strict=True))
    pairs = []
    for image_set, name in zip(sets, names, strict=True):
        task = by_task.get(image_set.task, name)
        credit = (image_set.licence or licence, image_set.attribution or attribution)
        for half in HALVES:
            pairs.append(_pair_of(image_set, half, name, task, credit, max_pixels))
    return pairs, left_out


def _pair_of(
    image_set: ImageSet,
    half: tuple[str, str],
    name: str,
    task: str,
    credit: tuple[str, str],
    max_pixels: int,
) -> Pair:
    """One of the two pairs of a quadruplet, that of the roles in `half`."""
    before, after = half
    licence, attribution = credit
    first, second = ROLES.index(before), ROLES.index(after)
    return Pair(
        task=task,
        name=f"{name}-{before}",
        before=ImageFile(str(image_set.files[before].absolute()), max_pixels),
        after=ImageFile(str(image_set.files[after].absolute()), max_pixels),
        instruction=image_set.instruction,
        licence=licence,
        attribution=attribution,
        photograph=f"{name}-{before}",
        pixels=" ".join(image_set.digests),
        digest=image_set.sources[first],
        sizes=(image_set.sizes[first], image_set.sizes[second]),
    )
