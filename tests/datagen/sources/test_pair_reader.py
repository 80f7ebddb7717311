"""Pairs and quadruplets: every layout on disk, and why some are left out."""

import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datagen.sources.crops import Panel, cut_pair
from datagen.sources.pair_reader import pairs
from datagen.sources.quadruplets import quadruplets
from datagen.sources.source import Pair
from lorweb_bench.errors import InputError

REAL = (
    Path(os.environ.get("LORWEB_BENCH_SAMPLES", "samples")) / "quadruplets"
)  # real data, where a developer has some


def save(path: Path, level: int, height: int = 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, 30, 3), level, np.uint8)).save(path)


def levels(pair: Pair) -> tuple[int, int]:
    return int(pair.before()[0, 0, 0]), int(pair.after()[0, 0, 0])


def test_names_that_end_in_their_role(tmp_path: Path) -> None:
    for name, level in (("dot.v2", 10), ("snow day", 20)):
        save(tmp_path / "winter" / f"{name}.before.png", level)
        save(tmp_path / "winter" / f"{name}.after.bmp", level + 100)
    (tmp_path / "winter" / "instruction.txt").write_text("make it winter\n")
    save(tmp_path / "winter" / "stray.png", 0)
    found, skipped = pairs(tmp_path, licence="CC0-1.0", attribution="me")
    assert [levels(pair) for pair in found] == [(10, 110), (20, 120)]
    assert [(p.task, p.name, p.photograph) for p in found] == [
        ("winter", "winter-dot-v2", "dot-v2"),
        ("winter", "winter-snow-day", "snow-day"),
    ]
    assert {(p.instruction, p.licence, p.attribution) for p in found} == {
        ("make it winter", "CC0-1.0", "me")
    }
    assert skipped == ["1 image was not used, its name tells no role: winter/stray.png"]


def test_folders_of_before_and_after(tmp_path: Path) -> None:
    home = tmp_path / "Toon Look"
    for place in ("", "ink"):
        for number in (1, 2):
            save(home / place / "before" / f"{number}.png", number)
            save(home / place / "After" / f"{number}.png", number + 50)
    found, _ = pairs(home)
    assert [(p.task, levels(p)) for p in found] == [
        ("toon-look", (1, 51)),
        ("toon-look", (2, 52)),
        ("ink", (1, 51)),
        ("ink", (2, 52)),
    ]
    assert [p.photograph for p in found] == ["1", "2", "1", "2"]
    assert len({p.name for p in found}) == 4


def test_a_folder_for_each_pair(tmp_path: Path) -> None:
    save(tmp_path / "cats" / "tom" / "before.png", 1)
    save(tmp_path / "cats" / "tom" / "after.png", 2)
    (pair,) = pairs(tmp_path)[0]
    assert (pair.task, pair.name, pair.photograph, levels(pair)) == (
        "cats",
        "cats-tom",
        "tom",
        (1, 2),
    )


def test_json_lines(tmp_path: Path) -> None:
    for level in (1, 2, 3, 4):
        save(tmp_path / "images" / f"{level}.png", level)
    rows = [
        {
            "before": "images/1.png",
            "after": "images/2.png",
            "task": "Add Snow",
            "instruction": "add snow",
            "licence": "CC0-1.0",
        },
        {"before": "images/3.png", "after": "images/4.png", "task": "Add Snow", "name": "three"},
        {"before": "images/1.png", "after": "images/4.png"},
    ]
    listing = tmp_path / "edits.jsonl"
    listing.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    found, skipped = pairs(listing, licence="unknown")
    assert [(p.task, p.name, p.instruction, p.licence, levels(p)) for p in found] == [
        ("add-snow", "images-1", "add snow", "CC0-1.0", (1, 2)),
        ("add-snow", "three", "", "unknown", (3, 4)),
        ("edits", "images-1-3", "", "unknown", (1, 4)),
    ]
    assert not skipped


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    save(tmp_path / "good.before.png", 1)
    save(tmp_path / "good.after.png", 2)
    save(tmp_path / "alone.before.png", 3)
    save(tmp_path / "broken.before.png", 4)
    (tmp_path / "broken.after.png").write_bytes(b"")
    for suffix in ("png", "bmp"):
        save(tmp_path / f"double.before.{suffix}", 5)
    save(tmp_path / "double.after.png", 6)
    found, skipped = pairs(tmp_path)
    assert [pair.name for pair in found] == ["good"]
    reasons = {one.name: one.reason for one in skipped}
    assert set(reasons) == {"alone", "broken", "double"}
    assert "no image for after" in reasons["alone"]
    assert "is empty" in reasons["broken"]
    assert "two images for before" in reasons["double"]
    with pytest.raises(InputError, match="alone: no image for after"):
        pairs(tmp_path, "fail")


def test_bad_lines_are_named(tmp_path: Path) -> None:
    save(tmp_path / "1.png", 1)
    listing = tmp_path / "edits.jsonl"
    lines = [
        '{"before": "1.png", "after": "1.png"}',
        "{",
        "[]",
        '{"before": "1.png"}',
        '{"before": 5, "after": "1.png"}',
    ]
    listing.write_text("\n".join([*lines, '{"before": "1.png", "after": "gone.png", "name": "g"}']))
    found, skipped = pairs(listing)
    assert len(found) == 1
    assert [one.name for one in skipped] == ["line 2", "line 3", "line 4", "line 5", "g"]
    words = ("JSON", "object", "no after", "not text", "exist")
    for word, one in zip(words, skipped, strict=True):
        assert word in one.reason


def test_lists_as_other_systems_write_them(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "sub/ö 😀.png"):
        save(tmp_path / name, 1)
    rows = [
        {
            "before": "1.png",
            "after": str(tmp_path / "2.png"),
            "task": "a\u2028b",
            "instruction": " make\u2028it\x85 so\n",
        },
        {
            "before": "sub/../sub/ö 😀.png",
            "after": "./2.png",
            "task": "a b",
            "name": "  ",
            "attribution": "Ann\nBob",
        },
    ]
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "L.JSONL").write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n\r\n  \r\n")
    found, skipped = pairs(tmp_path / "L.JSONL")
    assert not skipped
    assert [(p.task, p.instruction, p.attribution) for p in found] == [
        ("a-b", "make it so", ""),
        ("a-b", "", "Ann Bob"),
    ]
    assert found[0].after().shape == (20, 30, 3)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"before": "caf\xe9.png", "after": "1.png"}', "no JSON object in one line of UTF-8"),
        (
            b'{"before": "1.png", "after": "1.png", "more": ' + b"[" * 100_000,
            "no JSON object in one line of UTF-8",
        ),
        (b'{"before": "", "after": "1.png"}', "no before"),
        (b'{"before": ".", "after": "1.png"}', "Is a directory"),
        (b'{"before": "a\\u0000.png", "after": "1.png"}', "null byte"),
        (
            b'{"before": "1.png", "after": "1.png", "instruction": "\\ud800"}',
            "instruction is '\\ud800', which holds half a character",
        ),
        (b'{"before": "\\ud800.png", "after": "1.png"}', "half a character"),
    ],
)
def test_hostile_lines_are_left_out(tmp_path: Path, line: bytes, said: str) -> None:
    save(tmp_path / "1.png", 1)
    (tmp_path / "l.jsonl").write_bytes(b'{"before": "1.png", "after": "1.png"}\n' + line)
    found, (left_out,) = pairs(tmp_path / "l.jsonl")
    reason = left_out.reason
    assert len(found) == 1
    assert said in reason


def test_a_note_beside_the_pairs_is_read_as_one_line(tmp_path: Path) -> None:
    save(tmp_path / "x.before.png", 1)
    save(tmp_path / "x.after.png", 2)
    (tmp_path / "instruction.txt").write_bytes("\ufeffmake it\r\nsnow \n".encode())
    assert pairs(tmp_path)[0][0].instruction == "make it snow"


def test_pairs_smaller_than_a_panel_are_left_out_before_the_build(tmp_path: Path) -> None:
    for name, height in (("small", 10), ("enough", 20)):
        save(tmp_path / f"{name}.before.png", 1, height)
        save(tmp_path / f"{name}.after.png", 2, 5)  # fitted to its before
    found, skipped = pairs(tmp_path, "fail", min_side=16)
    assert [pair.name for pair in found] == ["enough"]
    assert [(one.name, one.filter) for one in skipped] == [("small", "minimum_side")]


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no complete set of before, after"):
        pairs(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        pairs(tmp_path / "gone.jsonl")
    with pytest.raises(InputError, match="not a folder"):
        quadruplets(tmp_path / "gone")
    (tmp_path / "pairs.json").write_text("[]")
    with pytest.raises(InputError, match=r"neither a folder nor a \.jsonl file"):
        pairs(tmp_path / "pairs.json")
    with pytest.raises(InputError, match=r"files are called x\.a\.png and x\.a_prime\.png"):
        quadruplets(tmp_path)


QUADRUPLET = {"a": 10, "a_prime": 20, "b": 30, "b_prime": 40}


@pytest.mark.parametrize(
    "layout",
    [
        {
            "a": "x-1-cond1.png",
            "a_prime": "x-1-cond2.png",
            "b": "x-1-src1.png",
            "b_prime": "x-1-target.png",
        },
        {role: f"x-1.{role}.png" for role in QUADRUPLET},
        {role: f"x-1_{role}.png" for role in QUADRUPLET},
        {role: f"{role}/x-1.png" for role in QUADRUPLET},
        {role: f"x-1/{role}.png" for role in QUADRUPLET},
    ],
)
def test_quadruplets_become_two_pairs_of_a_task_of_their_own(
    tmp_path: Path, layout: dict[str, str]
) -> None:
    for role, name in layout.items():
        save(tmp_path / name, QUADRUPLET[role])
    found, skipped = quadruplets(tmp_path)
    assert [(p.task, p.name, levels(p)) for p in found] == [
        ("x-1", "x-1-a", (10, 20)),
        ("x-1", "x-1-b", (30, 40)),
    ]
    assert pickle.loads(pickle.dumps(found)) == found
    assert not skipped


def test_quadruplets_of_one_task_share_it_where_a_list_says_so(tmp_path: Path) -> None:
    save(tmp_path / "i.png", 1)
    row = {
        **dict.fromkeys(QUADRUPLET, "i.png"),
        "task": "Close one eye",
        "instruction": "close one eye",
    }
    listing = tmp_path / "q.jsonl"
    listing.write_text("\n".join(json.dumps({**row, "name": name}) for name in ("p", "q")))
    found, _ = quadruplets(listing)
    assert [(p.task, p.name, p.instruction) for p in found] == [
        ("close-one-eye", f"{n}-{r}", "close one eye") for n in "pq" for r in "ab"
    ]


@pytest.mark.skipif(not REAL.is_dir(), reason="the published quadruplets are not here")
def test_published_quadruplets() -> None:
    found, skipped = quadruplets(REAL)
    assert [pair.name for pair in found] == [
        "close-eye-a",
        "close-eye-b",
        "close-on-a",
        "close-on-b",
    ]
    assert not skipped
    for pair in found:
        assert re.fullmatch("[a-z0-9_-]+", pair.task)
        first, second = cut_pair(pair, Panel(long_edge=256), 0)
        assert first.shape == second.shape
        assert max(first.shape) == 256
