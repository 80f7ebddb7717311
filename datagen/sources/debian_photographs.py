"""The photographs that the tiny world is made of, and their licences, from Debian packages.

The packages are named in `PACKAGES`. Each is unpacked into a folder of its name, and a file's
licence is the one that the package's own `copyright` file states for it.
"""

import csv
import fnmatch
import gzip
import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from PIL import Image

from lorweb_bench.errors import InputError

LONGEST = 900  # pixels
SMALLEST = 256  # of a picture in a collection of GCompris; smaller ones are icons
ACTIVITIES = (
    "clickgame",
    "details",
    "explore_farm_animals",
    "explore_monuments",
    "explore_world_animals",
    "explore_world_music",
)
THEMES = (
    *("Altai", "Autumn", "BytheWater", "ColdRipple", "ColorfulCups", "DarkestHour", "EveningGlow"),
    *("FallenLeaf", "Grey", "Kite", "OneStandsOut", "Path", "summer_1am"),
)
# Photographs under these licences may come with lorweb-bench, so they are left to suites.
LEFT_TO_SUITES = ("CC", "public-domain")
Found = tuple[str, str, bytes]  # name, path within the package's sources, file


def gcompris(root: Path) -> Iterator[Found]:
    """Photographs in GCompris' collections of resources."""
    for activity in ACTIVITIES:
        collection = root / f"usr/share/gcompris-qt/rcc/{activity}.rcc"
        for path, file in sorted(read_resources(collection.read_bytes())):
            tail = path.partition("resource/")[2]
            if tail and path.endswith((".jpg", ".png", ".webp")) and is_photograph(file):
                stem = PurePosixPath(tail).with_suffix("").as_posix().replace("/", "_").lower()
                source = f"src/activities/{activity}/resource/{tail}"
                yield f"gcompris-{activity}-{stem}", source, file


def lomiri(root: Path) -> Iterator[Found]:
    """The wallpapers of Lomiri."""
    for path in sorted((root / "usr/share/backgrounds").glob("*.jpg")):
        folder = root.name.rpartition("-")[2]
        name = f"{root.name.replace('.', '-')}-{path.stem.lower()}"
        yield name, f"{folder}/{path.name}", path.read_bytes()


def mate(root: Path) -> Iterator[Found]:
    """The photographs of nature among MATE's backgrounds."""
    for path in sorted((root / "usr/share/backgrounds/mate/nature").glob("*.jpg")):
        yield f"mate-backgrounds-{path.stem.lower()}", f"nature/{path.name}", path.read_bytes()


def plasma(root: Path) -> Iterator[Found]:
    """The photographs among Plasma's wallpapers, each in its largest file."""
    for theme in THEMES:
        images = (root / f"usr/share/wallpapers/{theme}/contents/images").glob("*")
        largest = max(images, key=lambda path: path.stat().st_size)
        yield f"plasma-{theme.lower()}", f"{theme}/{largest.name}", largest.read_bytes()


PACKAGES: dict[str, Callable[[Path], Iterator[Found]]] = {
    "gcompris-qt-data": gcompris,
    "lomiri-wallpapers-16.04": lomiri,
    "lomiri-wallpapers-20.04": lomiri,
    "mate-backgrounds": mate,
    "plasma-workspace-wallpapers": plasma,
}


def is_photograph(file: bytes) -> bool:
    """Whether it is an opaque picture that is no icon."""
    picture = Image.open(io.BytesIO(file))
    return min(picture.size) >= SMALLEST and picture.mode == "RGB"


def read_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Path and content of each file in a binary resource collection of Qt."""
    version, tree, contents, names = struct.unpack(">IIII", data[4:20])
    entry = 14 if version == 1 else 22
    open_nodes = [(0, "")]
    while open_nodes:
        node, folder = open_nodes.pop()
        start = tree + node * entry
        name_at, flags = struct.unpack(">IH", data[start : start + 6])
        length = struct.unpack(">H", data[names + name_at : names + name_at + 2])[0]
        text = data[names + name_at + 6 : names + name_at + 6 + 2 * length].decode("utf-16-be")
        path = f"{folder}/{text}" if node else ""
        if flags & 2:
            count, first = struct.unpack(">II", data[start + 6 : start + 14])
            open_nodes += [(first + child, path) for child in range(count)]
            continue
        at = contents + struct.unpack(">I", data[start + 10 : start + 14])[0]
        content = data[at + 4 : at + 4 + struct.unpack(">I", data[at : at + 4])[0]]
        yield path, zlib.decompress(content[4:]) if flags & 1 else content


def read_copyright(root: Path) -> list[tuple[list[str], str, str]]:
    """Patterns, licence and holders of each paragraph on files in a package's copyright file."""
    file = next((root / "usr/share/doc").glob("*/copyright*"))
    content = file.read_bytes()
    text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode()
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^(\w+):((?:.|\n(?=[ \t]))*)", paragraph, re.MULTILINE))
        if "Files" in fields and "License" in fields:
            licence = fields["License"].strip().splitlines()[0]
            holders = " ".join(fields.get("Copyright", "").split())
            paragraphs.append((fields["Files"].split(), licence, holders))
    return paragraphs


def credit(source: str, paragraphs: list[tuple[list[str], str, str]]) -> tuple[str, str]:
    """Licence and holders of a file: of the last paragraph that matches it, suffixes aside."""
    stem = PurePosixPath(source).with_suffix("").as_posix()
    found = ("not stated", "")
    for patterns, licence, holders in paragraphs:
        for pattern in patterns:
            bare = re.sub(r"\.(jpg|jpeg|png|webp)$", "", pattern)
            if fnmatch.fnmatchcase(stem, bare) or fnmatch.fnmatchcase(stem, f"*/{bare}"):
                found = (licence, "authors of the package" if bare == "*" else holders)
    return found


def gather(unpacked: Path, output: Path) -> int:
    """Write the photographs as PNG files, and their licences as `credits.csv`.

    Args:
        unpacked: A folder with a folder for each package, as `dpkg -x` makes it.
        output: Where the pictures go, at most 900 pixels a side.

    Returns:
        How many photographs there are.

    Raises:
        InputError: A package is not there, or lacks a file that is needed of it.
    """
    rows = []
    for package, read in PACKAGES.items():
        root = unpacked / package
        if not root.is_dir():
            raise InputError(
                f"{root} is missing; `apt-get download {package}`, then "
                f"`dpkg -x {package}_*.deb {root}`"
            )
        try:
            paragraphs = read_copyright(root)
            for name, source, file in read(root):
                licence, holders = credit(source, paragraphs)
                if licence.startswith(LEFT_TO_SUITES):
                    continue
                output.mkdir(parents=True, exist_ok=True)
                shrunk(file).save(output / f"{name}.png", compress_level=1)
                rows.append([f"{name}.png", licence, f"{holders} (Debian package {package})"])
        except (OSError, StopIteration, ValueError) as error:
            raise InputError(f"{root} is not the package {package} ({error!r})") from error
    with (output / "credits.csv").open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(["file", "licence", "attribution"])
        writer.writerows(sorted(rows))
    return len(rows)


def shrunk(file: bytes) -> Image.Image:
    """The picture in a file, with at most 900 pixels a side."""
    opened = Image.open(io.BytesIO(file))
    opened.draft("RGB", (1024, 1024))
    picture = opened.convert("RGB")
    share = LONGEST / max(picture.size)
    if share >= 1:
        return picture
    width, height = (max(1, round(side * share)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)
