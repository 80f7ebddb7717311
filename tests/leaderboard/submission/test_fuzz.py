"""Archives made at random, spoilt or honest.

Never a crash, a hang, a stray file, or a wrong verdict.

`make test` tries a few hundred. The long run tries 10,000: `pytest tests/leaderboard/test_fuzz.py
-m slow`.
"""

import io
import json
import struct
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from leaderboard.submission.submission import CARD, open_submission, sizes_of
from leaderboard.submission.verify import verify
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import decode
from lorweb_bench.predictions.format import MANIFEST
from lorweb_bench.scoring.evaluate import score

A_HANG = 60.0  # seconds; an honest archive of this suite takes one
LONG = 10_000
HEADLINE = "edit_recovery"
Members = list[tuple[str, bytes]]


@dataclass
class Made:
    """An archive as it was made.

    Its members, how they are stored, whether it is still honest, and what was done to it.
    """

    members: Members
    method: int = zipfile.ZIP_STORED
    honest: bool = True
    steps: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w", self.method) as archive:
            warnings.simplefilter("ignore")  # a name that is there twice is the point
            for name, data in self.members:
                archive.writestr(name, data)

    def replace(self, at: int, name: str | None = None, data: bytes | None = None) -> None:
        old = self.members[at]
        self.members[at] = (old[0] if name is None else name, old[1] if data is None else data)


class Place:
    """A suite, a good archive for it, and an empty folder in which everything happens."""

    def __init__(self, suite: Dataset, good: Path, folder: Path) -> None:
        self.suite, self.folder = suite, folder
        self.bytes = good.read_bytes()
        with zipfile.ZipFile(good) as archive:
            self.members = [(name, archive.read(name)) for name in archive.namelist()]
        self.sizes = sizes_of(suite)
        self.submission = open_submission(good, suite, self.sizes)
        self.images = {key: image.read() for key, image in self.submission.images.items()}

    def judge(self, write: Callable[[Path], object]) -> tuple[bool, str, dict[str, Any]]:
        """Whether an archive is accepted, the first reason, and the scores on unseen.

        It left nothing and took no time to speak of.
        """
        path = self.folder / "in.zip"
        write(path)
        started = time.monotonic()
        verdict = verify(path, self.suite)
        assert time.monotonic() - started < A_HANG
        assert verdict.reasons and all(reason.isprintable() for reason in verdict.reasons)
        assert verdict.accepted == (verdict.report is not None) == (verdict.level is not None)
        assert [p.name for p in self.folder.rglob("*")] == ["in.zip"], "a stray file"
        return (
            verdict.accepted,
            verdict.reasons[0],
            verdict.report.scores["unseen"] if verdict.report else {},
        )


@pytest.fixture(scope="module")
def place(
    small_suite: Dataset, good_zip: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """The small suite, copy-b packed for it, and a folder that is also where temporary files would
    go.
    """
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.chdir(folder)
        yield Place(small_suite, good_zip, folder)


def spoilt_bytes(draw: Any, original: bytes) -> bytes:
    """The archive with some bytes changed, cut, doubled, moved or made of other parts."""
    spoilt = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        if not spoilt:
            break
        tail = draw(st.booleans())  # the directory is where an archive is most easily turned
        at = draw(st.integers(max(len(spoilt) - 6000, 0) if tail else 0, len(spoilt) - 1))
        kind = draw(st.sampled_from(["byte", "field", "cut", "insert", "remove", "copy"]))
        if kind == "byte":
            spoilt[at] = draw(st.integers(0, 255))
        elif kind == "field":
            spoilt[at : at + 4] = draw(
                st.sampled_from(
                    [b"\0\0\0\0", b"\xff\xff\xff\xff", b"PK\x05\x06", b"PK\x01\x02", b"\x01\0\0\0"]
                )
            )
        elif kind == "cut":
            del spoilt[at:]
        elif kind == "insert":
            spoilt[at:at] = draw(st.binary(min_size=1, max_size=40))
        elif kind == "remove":
            del spoilt[at : at + draw(st.integers(1, 200))]
        else:
            spoilt[at:at] = spoilt[max(at - 200, 0) : at]
    return bytes(spoilt)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)
NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30
)  # zipfile cuts at a null
TRICKS = [
    "../../evil",
    "/etc/passwd",
    "images\\x.png",
    "C:evil.png",
    "images/",
    "card.json/",
    "CARD.json",
    "c\u0430rd.json",
    "report.json",
]
CLAIMS = {
    "scores": {"unseen": {HEADLINE: 1.0}},
    "rank": 1,
    "level": "reproduced",
    "report": {},
    HEADLINE: 1,
}
LOOKALIKE = str.maketrans("aceiox0", "\u0430\u0441\u0435\u0456\u043e\u04450")


def image_at(draw: Any, made: Made) -> int:
    return draw(
        st.sampled_from(
            [i for i, (name, _) in enumerate(made.members) if name.startswith("images/")]
        )
    )


def pixels_of(seed: int) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    )


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def edit_json(made: Made, name: str, fields: dict[str, Any]) -> None:
    made.members = [
        (n, json.dumps(json.loads(d) | fields).encode() if n == name else d)
        for n, d in made.members
    ]


def harmless(draw: Any, made: Made, truths: dict[str, bytes]) -> None:
    """One thing that an honest packer might do otherwise.

    `truths` are the images that are scored.
    """
    kind = draw(st.sampled_from(["order", "deflate", "compression", "pixels", "prose"]))
    made.steps.append(kind)
    if kind == "order":
        made.members = draw(st.permutations(made.members))
    elif kind == "deflate":
        made.method = zipfile.ZIP_DEFLATED
    elif kind == "prose":
        edit_json(
            made,
            CARD,
            {
                "description": draw(
                    st.sampled_from(["<b>bold</b>", "\u674e", "x" * 4000, "{{ 7*7 }}"])
                )
            },
        )
    else:
        at = image_at(draw, made)
        image = (
            decode(made.members[at][1], "x")
            if kind == "compression"
            else pixels_of(draw(st.integers(0, 99)))
        )
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=draw(st.integers(0, 9)))
        made.replace(at, data=buffer.getvalue())
        truths[made.members[at][0].removeprefix("images/").removesuffix(".png")] = buffer.getvalue()


def bad_image(draw: Any, data: bytes) -> bytes:
    """An image that no submission may hold.

    Another size, mode or format, damaged, or more than an image.
    """
    kind = draw(
        st.sampled_from(
            [
                "size",
                "mode",
                "format",
                "bomb",
                "chunk",
                "behind",
                "before",
                "cut",
                "flip",
                "rows",
                "huge",
            ]
        )
    )
    if kind in ("size", "mode", "format"):
        image = (
            Image.new("L", (32, 32))
            if kind == "mode"
            else Image.new("RGB", (32, 31) if kind == "size" else (32, 32))
        )
        buffer = io.BytesIO()
        image.save(
            buffer,
            draw(st.sampled_from(["JPEG", "GIF", "BMP", "WEBP", "TIFF"]))
            if kind == "format"
            else "PNG",
        )
        return buffer.getvalue()
    if kind == "bomb":
        return data[:33] + chunk(b"IDAT", zlib.compress(bytes(50_000_000), 9)) + chunk(b"IEND", b"")
    if kind == "chunk":
        body = draw(st.sampled_from([b"Comment\0<script>", b"\0" * 20, b""]))
        return (
            data[:33]
            + chunk(draw(st.sampled_from([b"tEXt", b"iCCP", b"acTL", b"IHDR", b"PLTE"])), body)
            + data[33:]
        )
    if kind == "behind":
        return data + draw(st.sampled_from([b"PK\x05\x06" + bytes(18), b"<script>", b"\0", data]))
    if kind == "before":
        return (
            draw(st.sampled_from([b"GIF89a", b"%PDF-1.7", b"\x80\x04cos\nsystem\n", b"<svg>"]))
            + data
        )
    if kind == "cut":
        return data[: draw(st.integers(0, len(data) - 1))]
    if kind == "flip":
        at = draw(st.integers(0, len(data) - 1))
        return data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
    if kind == "rows":
        return (
            data[:33]
            + chunk(b"IDAT", zlib.compress(bytes(draw(st.sampled_from([0, 97, 97 * 31, 97 * 33])))))
            + chunk(b"IEND", b"")
        )
    head = struct.pack(
        ">IIBBBBB",
        *draw(st.sampled_from([(60_000, 60_000), (2**31 - 1, 1), (0, 0)])),
        8,
        2,
        0,
        0,
        0,
    )
    return data[:8] + chunk(b"IHDR", head) + data[33:]


def harmful(draw: Any, made: Made) -> None:
    """One thing after which the archive is no submission."""
    made.honest = False
    kind = draw(
        st.sampled_from(
            [
                "name",
                "trick",
                "lookalike",
                "image",
                "content",
                "claim",
                "field",
                "drop",
                "double",
                "extra",
                "swap",
                "link",
            ]
        )
    )
    made.steps.append(kind)
    at = draw(st.integers(0, len(made.members) - 1))
    if kind == "name":
        made.replace(at, name=draw(NAMES.filter(lambda text: text not in dict(made.members))))
    elif kind == "trick":
        made.members.insert(at, (draw(st.sampled_from(TRICKS)), b"x"))
    elif kind == "lookalike":
        made.replace(at, name=made.members[at][0].translate(LOOKALIKE) + "\u200b")
    elif kind == "image":
        at = image_at(draw, made)
        made.replace(at, data=bad_image(draw, made.members[at][1]))
    elif kind == "content":
        made.replace(at, data=draw(st.binary(max_size=300)))
    elif kind == "claim":
        name = draw(st.sampled_from(sorted(CLAIMS)))
        edit_json(made, draw(st.sampled_from([CARD, MANIFEST])), {name: CLAIMS[name]})
    elif kind == "field":
        fields = draw(
            st.dictionaries(
                st.sampled_from(["method", "track", "suite", "samples", "seed", "x", "y"]),
                JSON,
                min_size=1,
            )
        )
        edit_json(made, MANIFEST, fields | {"pairs": "shuffled"})
    elif kind == "drop":
        del made.members[at]
    elif kind == "double":
        made.members.append(made.members[at])
    elif kind == "extra":
        made.members.append(
            (
                draw(st.sampled_from(["images/more.zip", "x.pkl", ".git/config"])),
                b"PK\x05\x06" + bytes(18),
            )
        )
    elif kind == "swap":
        edit_json(made, CARD, {"method": "lorweb"})
    else:
        made.members.insert(at, ("images/", b""))


def check_bytes(draw: Any, place: Place) -> None:
    """Whatever is done to the bytes.

    The archive is refused, or it is the same submission still, and gets its scores.
    """
    spoilt = spoilt_bytes(draw, place.bytes)
    accepted, _, scores = place.judge(lambda path: path.write_bytes(spoilt))
    if accepted:
        again = open_submission(place.folder / "in.zip", place.suite, place.sizes)
        assert (again.card, again.manifest) == (place.submission.card, place.submission.manifest)
        assert {key: image.read() for key, image in again.images.items()} == place.images
        assert scores[HEADLINE].mean == 0.0, "copy-b"


def check_members(draw: Any, place: Place) -> None:
    """Well-formed archives of right and wrong things.

    The honest are accepted with the scores of their images, no other one is.
    """
    made, truths = Made(list(place.members)), dict(place.images)
    for _ in range(draw(st.integers(0, 2))):
        harmless(draw, made, truths)
    as_it_should_be = sorted(made.members)
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 1, 1, 1, 2, 3, 3]))):
        if made.members:
            try:
                harmful(draw, made)
            except (
                IndexError,
                ValueError,
                TypeError,
            ):  # what was to be spoilt is gone or no JSON already
                assert not made.honest
    made.honest = sorted(made.members) == as_it_should_be  # one step may undo another
    try:
        accepted, reason, scores = place.judge(made.write)
    except (UnicodeEncodeError, struct.error):  # the zip writer refuses this name
        assert not made.honest
        (place.folder / "in.zip").unlink(missing_ok=True)
        return
    assert accepted == made.honest, f"{made.steps}: {reason}"
    if accepted:
        expected = score(
            {key: decode(data, key) for key, data in truths.items()}, place.suite, name="copy-b"
        ).scores["unseen"]
        assert scores == expected


QUICK = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
FULL = settings(max_examples=LONG // 2, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(data=st.data())
def test_spoilt_bytes(data: st.DataObject, place: Place) -> None:
    check_bytes(data.draw, place)


@QUICK
@given(data=st.data())
def test_right_and_wrong_members(data: st.DataObject, place: Place) -> None:
    check_members(data.draw, place)


@pytest.mark.slow
@FULL
@given(data=st.data())
def test_five_thousand_archives_of_spoilt_bytes(data: st.DataObject, place: Place) -> None:
    check_bytes(data.draw, place)


@pytest.mark.slow
@FULL
@given(data=st.data())
def test_five_thousand_archives_of_right_and_wrong_members(
    data: st.DataObject, place: Place
) -> None:
    check_members(data.draw, place)


def test_what_is_made_is_honest_at_times_and_mostly_not(place: Place) -> None:
    """A guard of the tests above.

    Both verdicts come up, so neither is passed by refusing everything.
    """
    good = Made(list(place.members))
    assert place.judge(good.write)[0]
    edit_json(good, CARD, {"rank": 1})
    assert not place.judge(good.write)[0]
