"""Pairs that somebody edited: folders of images before and after, or a list of them in JSON lines."""

from pathlib import Path
from typing import Literal

from datagen.sources import Pair, Skipped
from datagen.sources.edit_chains import chained
from datagen.sources.image_files import ImageFile, slugs
from datagen.sources.image_sets import role_sets
from lorweb_bench.data.images import MAX_PIXELS

ROLES = ("before", "after")
ENDINGS = {f"{joint}{role}": role for role in ROLES for joint in (".", "-", "_")}


def pairs(
    path: str | Path,
    on_bad: Literal["skip", "fail"] = "skip",
    *,
    licence: str = "unknown",
    attribution: str = "",
    min_side: int = 1,
    max_pixels: int = MAX_PIXELS,
    workers: int = 1,
) -> tuple[list[Pair], list[Skipped]]:
    """The pairs in a folder or a .jsonl file, and what was left out, with the reason.

    In a folder, at any depth: `cat.before.jpg` and `cat.after.png`; `before/cat.jpg` and `after/cat.jpg`; or `cat/before.jpg` and
    `cat/after.jpg`. The task is the folder that they stand in, and a file `instruction.txt` there says the edit in words. In JSON
    lines: `before`, `after`, and optionally `task`, `instruction`, `name`, `licence`, `attribution`. Where nothing names a task
    it is the name of the folder or file given. `licence` and `attribution` hold where a line gives none. InputError when there is no
    pair, and with on_bad="fail" at the first thing wrong.
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
    home = Path(path).expanduser().resolve().stem
    tasks = [one.task or home for one in sets]
    by_task = dict(zip(dict.fromkeys(tasks), slugs(list(dict.fromkeys(tasks))), strict=True))
    names = slugs([one.name for one in sets])
    photographs = _photographs([one.files["before"] for one in sets])
    found = [
        Pair(
            task=by_task[task],
            name=name,
            before=ImageFile(str(one.files["before"].absolute()), max_pixels),
            after=ImageFile(str(one.files["after"].absolute()), max_pixels),
            instruction=one.instruction,
            licence=one.licence or licence,
            attribution=one.attribution or attribution,
            photograph=photograph,
            pixels=" ".join(one.digests),
        )
        for one, task, name, photograph in zip(sets, tasks, names, photographs, strict=True)
    ]
    return chained(found, [(one.digests[0], one.digests[1]) for one in sets]), skipped


def _photographs(files: list[Path]) -> list[str]:
    """Names of the pictures that the pairs start from: equal where the files' names, less the role, are."""
    stems = []
    for file in files:
        stem = file.stem
        for ending in ENDINGS:
            if stem.lower().endswith(ending):
                stem = stem[: -len(ending)]
        stems.append(file.parent.name if stem.lower() in ROLES else stem)
    unique = list(dict.fromkeys(stems))
    by_stem = dict(zip(unique, slugs(unique), strict=True))
    return [by_stem[stem] for stem in stems]
