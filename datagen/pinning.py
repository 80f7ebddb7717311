"""Pinning: a recipe that names every photograph by its sha256.

Two labs with the same files then build one dataset.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datagen.making.build_notes import Note
from datagen.planning.source_roles import read_photographs
from datagen.recipe.reading import read_content
from datagen.sources.image_files import ImageFile, file_sha256, image_files
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import write_atomic
from lorweb_bench.runtime.yaml_files import to_yaml


def pin(
    recipe: str | Path, output: Path, settings: Sequence[str] = (), workers: int = 1
) -> tuple[int, tuple[Note, ...]]:
    """Write a recipe with the sha256 of each photograph that its filters let pass.

    The new recipe uses exactly these files, whatever else lies in the folder.

    Args:
        recipe: The recipe's file, or the name of a ready one.
        output: The pinned recipe.
        settings: Overrides `key.subkey=YAML value`.
        workers: Processes that decode the files.

    Returns:
        How many photographs are pinned, and what was left out.

    Raises:
        InputError: The recipe's photographs are not files in a folder.
    """
    read, content = read_content(recipe, settings)
    section = read.source
    if section.kind not in ("photographs", "editor") or section.path in (None, "bundled"):
        raise InputError(
            f"{recipe}: only photographs in a folder can be pinned, and this recipe's source is "
            f"{section.path or section.kind}."
        )
    photographs, notes = read_photographs(read, workers)
    root = image_files(str(section.path))[0].absolute()
    files = [Path(source.load.path) for source in photographs if isinstance(source.load, ImageFile)]
    pins = {file.relative_to(root).as_posix(): file_sha256(file, section.recheck) for file in files}
    path = str(root) if any(sign in str(section.path) for sign in "*?[") else section.path
    source = {**content["source"], "path": path, "sha256": pins}
    pinned: dict[str, Any] = {**content, "source": source}
    head = (
        f"# Pinned by `lorweb-bench datagen pin {recipe}`: exactly these files, at source.path, "
        "which may be another folder.\n"
    )
    write_atomic(output, head + to_yaml(pinned))
    return len(pins), notes
