"""Verdicts.

What a stranger sends is scored from its images or refused for the right reason, never anything
else.
"""

import io
import json
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from leaderboard.submission.submission import read_object
from leaderboard.submission.verify import read_verdict, verify
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import encode
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import write_json
from lorweb_bench.scoring.evaluate import evaluate, score

EXAMPLE = Path(__file__).parents[3] / "docs/example-card.yaml"
Members = list[tuple[str, bytes]]


def members_of(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def write_zip(path: Path, members: Members, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as archive:
        warnings.simplefilter("ignore")  # a name that is there twice is the point
        for name, data in members:
            archive.writestr(name, data)
    return path


def edited(members: Members, name: str, **fields: Any) -> Members:
    """The members with fields of a JSON member replaced."""
    return [
        (n, json.dumps(json.loads(d) | fields).encode() if n == name else d) for n, d in members
    ]


def huge() -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (8000, 8000)).save(buffer, "PNG")
    return buffer.getvalue()


def claims_60000(data: bytes) -> bytes:
    import zlib

    head = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


def test_a_good_submission_gets_the_scores_that_its_images_have(
    good_zip: Path, copies: Path, small_suite: Dataset, tmp_path: Path
) -> None:
    verdict = verify(good_zip, small_suite)
    assert (verdict.accepted, verdict.level, verdict.suite.name) == (True, "re-scored", "small")
    assert verdict.report is not None and verdict.card is not None
    own = score(copies, small_suite)
    assert verdict.report.scores == own.scores
    assert verdict.report.scores["unseen"]["edit_recovery"].mean == 0.0
    write_json(tmp_path / "verdict.json", verdict.model_dump(mode="json"))
    again = read_verdict(tmp_path / "verdict.json")
    assert (
        again.report is not None
        and again.report.scores == own.scores
        and again.sha256 == verdict.sha256
    )


def test_an_honest_archive_made_otherwise_is_scored_too(
    good_zip: Path, small_suite: Dataset, tmp_path: Path
) -> None:
    """Other order, deflated: still every byte accounted for."""
    again = write_zip(tmp_path / "other.zip", members_of(good_zip)[::-1])
    assert verify(again, small_suite).accepted


class Unpickled:
    """Whoever loads it raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('a pickle of the archive was loaded')",)


PICKLE = pickle.dumps(Unpickled())
FORGERIES: dict[str, tuple[Callable[[Members], Members], str]] = {
    "traversal": (lambda m: [m[0], ("../../evil.png", b"x"), *m[1:]], "leads out"),
    "bomb": (lambda m: [*m[:2], (m[2][0], huge()), *m[3:]], "it may have"),
    "60,000 pixels": (
        lambda m: [*m[:2], (m[2][0], claims_60000(m[2][1])), *m[3:]],
        "is 60000x60000 pixels; the suite's item is 32x32",
    ),
    "cut": (lambda m: [*m[:2], (m[2][0], m[2][1][: len(m[2][1]) // 2]), *m[3:]], "is cut"),
    "missing": (lambda m: [*m[:2], *m[3:]], "lacks 1 of 50 files"),
    "twice": (lambda m: [*m[:3], m[2], *m[3:]], "two entries named"),
    "other size": (
        lambda m: [*m[:2], (m[2][0], encode(Image.new("RGB", (31, 32)))), *m[3:]],
        "is 31x32 pixels",
    ),
    "jpeg": (
        lambda m: [*m[:2], (m[2][0], encode(Image.new("RGB", (32, 32)), "jpg")), *m[3:]],
        "is no PNG",
    ),
    "polyglot image": (
        lambda m: [*m[:2], (m[2][0], m[2][1] + b"PK\x03\x04"), *m[3:]],
        "after its end",
    ),
    "Cyrillic name": (
        lambda m: [
            *m[:2],
            (m[2][0].replace("a", "\u0430").replace("e", "\u0435"), m[2][1]),
            *m[3:],
        ],
        "not those of a key",
    ),
    "score in the card": (
        lambda m: edited(m, "card.json", scores={"unseen": {"edit_recovery": 0.99}}),
        "card.json: 'scores' is a claimed",
    ),
    "score in the manifest": (
        lambda m: edited(m, "predictions.json", scores={"unseen": 0.99}),
        "predictions.json: 'scores' is a claimed",
    ),
    "score as a file": (
        lambda m: [*m, ("report.json", b'{"unseen": 1}')],
        "the board computes them",
    ),
    "unknown field": (
        lambda m: edited(m, "card.json", team="us"),
        "card.json: there is no key 'team' in a card",
    ),
    "other suite": (
        lambda m: edited(
            m, "predictions.json", suite={"name": "x", "version": "1", "fingerprint": "0" * 64}
        ),
        "for the suite",
    ),
    "other name in the card": (
        lambda m: edited(m, "card.json", method="lorweb"),
        "method is 'lorweb', the predictions say 'copy-b'",
    ),
    "other track in the card": (
        lambda m: edited(m, "card.json", track="open"),
        "track is 'open', the predictions say 'closed'",
    ),
    "partial": (lambda m: edited(m, "predictions.json", partial=True), "partial"),
    "fewer samples": (lambda m: edited(m, "predictions.json", samples=3), "whole runs of 48"),
    "markup as a name": (
        lambda m: edited(m, "card.json", method="<b>x</b>"),
        "card.json: method is '<b>x</b>', and it must be like",
    ),
    "card that is a list": (
        lambda m: [m[0], ("card.json", b"[]"), *m[2:]],
        "card.json is not a mapping",
    ),
    "deep card": (lambda m: [m[0], ("card.json", b'{"a":' + b"[" * 100_000), *m[2:]], "card.json"),
    "no number": (
        lambda m: [m[0], ("card.json", b'{"seeds": [NaN]}'), *m[2:]],
        "not readable JSON",
    ),
    "device of two lines": (
        lambda m: edited(m, "predictions.json", cost={"device": "a\u202eb"}),
        "the device in the predictions",
    ),
    "pickle as an image": (lambda m: [*m[:2], (m[2][0], PICKLE), *m[3:]], "is no PNG"),
    "pickle as the card": (lambda m: [m[0], ("card.json", PICKLE), *m[2:]], "card.json"),
    "pickle besides": (
        lambda m: [*m, ("images/weights.pkl", PICKLE)],
        "no submission to this suite has",
    ),
    "nested archive": (
        lambda m: [*m, ("images/more.zip", b"PK\x05\x06" + bytes(18))],
        "no submission to this suite has",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forgeries_are_refused_with_the_reason(
    good_zip: Path, small_suite: Dataset, tmp_path: Path, name: str
) -> None:
    forge, reason = FORGERIES[name]
    folder = tmp_path / "in"
    folder.mkdir()
    forged = write_zip(folder / "forged.zip", forge(members_of(good_zip)))
    verdict = verify(forged, small_suite)
    assert not verdict.accepted and verdict.level is None and verdict.report is None
    assert reason in verdict.reasons[0]
    assert verdict.reasons[0].isprintable()
    assert verdict.sha256 is not None and verdict.bytes == forged.stat().st_size
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "forged.zip"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b'{"a": 1, "a": 2}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": "\\u0000"}',
        b'{"a": "\\ud800"}',
        b'{"a": %s}' % (b"9" * 5000),
        b"[" * 200_000,
        b'"text"',
    ],
)
def test_json_that_no_one_writes_in_earnest(text: bytes) -> None:
    with pytest.raises(InputError, match="x.json") as refused:
        read_object(text, "x.json")
    assert str(refused.value).isprintable()


def test_what_says_nothing_of_the_submission_is_no_verdict(
    good_zip: Path, small_public: Dataset, small_suite: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="public view"):
        verify(good_zip, small_public)
    with pytest.raises(InputError, match=r"absent\.zip"):
        verify(tmp_path / "absent.zip", small_suite)
    with pytest.raises(InputError, match="is no file"):
        verify(tmp_path, small_suite)


def test_another_suite_refuses_it(
    good_zip: Path, copies: Path, small_suite: Dataset, tmp_path: Path
) -> None:
    """A suite with the same keys and sizes, but another fingerprint."""
    other = Dataset(
        small_suite.path,
        small_suite.manifest.model_copy(update={"fingerprint": "f" * 64, "name": "other"}),
    )
    verdict = verify(good_zip, other)
    assert not verdict.accepted and "not for other 1 (ffffffffffff)" in verdict.reasons[0]


def test_reproduced_is_what_the_keeper_ran_too(good_zip: Path, small_suite: Dataset) -> None:
    own = evaluate("copy-b", small_suite)
    verdict = verify(good_zip, small_suite, own)
    assert (verdict.accepted, verdict.level) == (True, "reproduced")
    other = evaluate("copy-a-prime", small_suite)
    assert "is of copy-a-prime" in verify(good_zip, small_suite, other).reasons[0]
    forged = other.model_copy(update={"method": own.method})
    verdict = verify(good_zip, small_suite, forged)
    assert not verdict.accepted and "The keeper's run has" in verdict.reasons[0]
