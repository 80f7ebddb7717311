"""Photographs out of Debian packages: the right files, whole, with the licence stated for them."""

import csv
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datagen.sources.debian_photographs import (
    ACTIVITIES,
    PACKAGES,
    THEMES,
    credit,
    gather,
    read_copyright,
    read_resources,
)
from datagen.sources.scenes.compose import scene
from lorweb_bench.errors import InputError


def encoded(seed: int, side: int = 300, form: str = "png") -> bytes:
    """A scene as a file."""
    file = io.BytesIO()
    Image.fromarray(scene(seed, side, side + 20)).save(file, form)
    return file.getvalue()


def resources(activity: str, files: dict[str, bytes]) -> bytes:
    """A Qt collection, version 1, that holds `activity/resource/` with files; some compressed."""
    names, contents, tree = bytearray(), bytearray(), bytearray()

    def add_name(text: str) -> int:
        at = len(names)
        names.extend(struct.pack(">HI", len(text), 0) + text.encode("utf-16-be"))
        return at

    def add_folder(name: str, children: int, first: int) -> None:
        tree.extend(struct.pack(">IHII", add_name(name), 2, children, first))

    add_folder("", 1, 1)
    add_folder(activity, 1, 2)
    add_folder("resource", len(files), 3)
    for number, (name, file) in enumerate(files.items()):
        packed = struct.pack(">I", len(file)) + zlib.compress(file) if number % 2 else file
        tree.extend(struct.pack(">IHHHI", add_name(name), number % 2, 0, 0, len(contents)))
        contents.extend(struct.pack(">I", len(packed)) + packed)
    at_tree = 20
    at_contents = at_tree + len(tree)
    at_names = at_contents + len(contents)
    header = b"qres" + struct.pack(">IIII", 1, at_tree, at_contents, at_names)
    return bytes(header + tree + contents + names)


COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2020, Somebody
License: GPL-3+

Files: src/activities/details/resource/view*
       nature/Dune.jpg
Copyright: 2021, A. Painter
License: GFDL-1.2
 The licence's whole text.

Files: src/activities/clickgame/*
Copyright: 2021, B. Painter
License: CC-BY-4.0
"""


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """All packages, with a picture or two each."""
    for package in PACKAGES:
        about = tmp_path / package / "usr/share/doc" / package
        about.mkdir(parents=True)
        (about / "copyright").write_text(COPYRIGHT)
    collections = tmp_path / "gcompris-qt-data/usr/share/gcompris-qt/rcc"
    collections.mkdir(parents=True)
    for activity in ACTIVITIES:
        files = {"view.webp": encoded(1), "old.png": encoded(2), "icon.png": encoded(3, 40)}
        (collections / f"{activity}.rcc").write_bytes(resources(activity, files))
    for package in PACKAGES:
        folder = tmp_path / package / "usr/share/backgrounds/mate/nature"
        folder.mkdir(parents=True)
        (folder / "Dune.jpg").write_bytes(encoded(4, 1000, "jpeg"))
        (folder.parents[1] / "Lake.jpg").write_bytes(encoded(5, 300, "jpeg"))
    for theme in THEMES:
        folder = tmp_path / f"plasma-workspace-wallpapers/usr/share/wallpapers/{theme}"
        (folder / "contents/images").mkdir(parents=True)
        (folder / "contents/images/small.jpg").write_bytes(encoded(6, 260, "jpeg"))
        (folder / "contents/images/large.jpg").write_bytes(encoded(6, 600, "jpeg"))
    return tmp_path


def test_a_collection_gives_its_files_back_whole() -> None:
    files = {"one.png": encoded(1), "two.webp": encoded(2), "three.txt": b"words"}
    read = dict(read_resources(resources("details", files)))
    assert {path.rpartition("/")[2]: file for path, file in read.items()} == files
    assert all("details/resource/" in path for path in read)


def test_photographs_come_with_the_licence_that_is_stated_for_them(
    unpacked: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    count = gather(unpacked, output)
    rows = list(csv.DictReader((output / "credits.csv").open()))
    assert count == len(rows) == len(list(output.glob("*.png")))
    licences = {row["file"]: row["licence"] for row in rows}
    assert licences["gcompris-details-view.png"] == "GFDL-1.2"
    assert licences["gcompris-details-old.png"] == "GPL-3+"
    assert licences["mate-backgrounds-dune.png"] == "GFDL-1.2"
    assert "gcompris-details-icon.png" not in licences
    assert not any("clickgame" in name for name in licences)  # free enough to ship, for suites
    attributions = {row["file"]: row["attribution"] for row in rows}
    assert "A. Painter" in attributions["mate-backgrounds-dune.png"]
    assert "authors of the package" in attributions["plasma-kite.png"]
    view = np.asarray(Image.open(output / "gcompris-details-view.png"))
    assert np.array_equal(view, scene(1, 300, 320))
    assert max(Image.open(output / "mate-backgrounds-dune.png").size) == 900
    assert Image.open(output / "plasma-kite.png").size == (620, 600)


def test_the_last_paragraph_that_matches_counts(unpacked: Path) -> None:
    paragraphs = read_copyright(unpacked / "mate-backgrounds")
    assert credit("nature/Dune.jpg", paragraphs)[0] == "GFDL-1.2"
    assert credit("nature/Else.jpg", paragraphs)[0] == "GPL-3+"
    assert credit("nature/Else.jpg", paragraphs[1:])[0] == "not stated"


def test_a_missing_package_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="apt-get download gcompris-qt-data"):
        gather(tmp_path, tmp_path / "out")


def test_another_folder_than_a_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gcompris-qt-data").mkdir()
    with pytest.raises(InputError, match="is not the package gcompris-qt-data"):
        gather(tmp_path, tmp_path / "out")
