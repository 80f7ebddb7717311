"""Quadruplets that somebody made: a, a_prime, b, b_prime in a folder, or a list of them in JSON lines."""

from pathlib import Path
from typing import Literal

from datagen.sources import Pair, Skipped
from datagen.sources.image_files import ImageFile, slugs
from datagen.sources.image_sets import is_list, role_sets
from lorweb_bench.data.images import MAX_PIXELS
from lorweb_bench.protocol import ROLES

# As RelationAdapter publishes them, and as words. The longer endings come first: `.b_prime` before `.b`.
ENDINGS = {
    "-cond1": "a",
    "-cond2": "a_prime",
    "-src1": "b",
    "-target": "b_prime",
    **{
        f"{joint}{role}": role
        for role in sorted(ROLES, key=len, reverse=True)
        for joint in (".", "-", "_")
    },
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
) -> tuple[list[Pair], list[Skipped]]:
    """The quadruplets in a folder or a .jsonl file as two pairs each, (a, a_prime) then (b, b_prime), and what was left out.

    In a folder, at any depth: `x-cond1`, `x-cond2`, `x-src1`, `x-target`; `x.a`, `x.a_prime`, `x.b`, `x.b_prime`; folders `a`,
    `a_prime`, `b`, `b_prime` with files of one name; or a folder `x` with files of these names. In JSON lines: a path for
    each role, and optionally `task`, `instruction`, `name`, `licence`, `attribution`. A quadruplet without a task is a task of its own,
    so its two pairs make analogies with each other alone. Names end in `-a` and `-b`. InputError as in `pairs`.
    """
    sets, skipped = role_sets(
        path,
        ROLES,
        ENDINGS,
        on_bad=on_bad,
        min_side=min_side,
        max_pixels=max_pixels,
        workers=workers,
    )
    names = slugs([one.name for one in sets])
    given = list(dict.fromkeys(one.task for one in sets if one.task and is_list(Path(path))))
    by_task = dict(zip(given, slugs(given), strict=True))
    found = [
        Pair(
            task=by_task.get(one.task, name),
            name=f"{name}-{before}",
            before=ImageFile(str(one.files[before].absolute()), max_pixels),
            after=ImageFile(str(one.files[after].absolute()), max_pixels),
            instruction=one.instruction,
            licence=one.licence or licence,
            attribution=one.attribution or attribution,
            photograph=f"{name}-{before}",
            pixels=" ".join(one.digests),
        )
        for one, name in zip(sets, names, strict=True)
        for before, after in (("a", "a_prime"), ("b", "b_prime"))
    ]
    return found, skipped
