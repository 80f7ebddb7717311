"""Relation252K: every group and irregular name, halves, and a count of what is there and what is
not.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from datagen.sources.relation252k import relation252k
from lorweb_bench.cli.main import main
from lorweb_bench.errors import InputError

SAMPLE = (
    Path(os.environ.get("LORWEB_BENCH_SAMPLES", "samples")) / "relation_sample"
)  # real data, where a developer has some


def sheet(path: Path, left: int, right: int, width: int = 40) -> None:
    pixels = np.full((20, width, 3), 99, np.uint8)
    pixels[:, : width // 2], pixels[:, width - width // 2 :] = left, right
    Image.fromarray(pixels).save(path)


def label(name: str, instruction: str = "do it") -> dict[str, str]:
    return {
        "img_name": name,
        "left_image_description": "l",
        "right_image_description": "r",
        "edit_instruction": instruction,
    }


def group(
    root: Path,
    place: str,
    images: dict[str, tuple[int, int]],
    labels: object = None,
    width: int = 40,
) -> Path:
    folder = root / place
    folder.mkdir(parents=True)
    for name, (left, right) in images.items():
        sheet(folder / name, left, right, width)
    (folder / "labels.json").write_text(
        json.dumps([label(name) for name in images] if labels is None else labels)
    )
    return folder


def test_every_group_of_irregularly_named_categories(tmp_path: Path) -> None:
    group(tmp_path, "115-Colored Pencil Filter/Group1", {"a.png": (1, 2), "b.png": (3, 4)})
    group(tmp_path, "115-Colored Pencil Filter/Group2", {"a.png": (5, 6)})
    group(tmp_path, "9-Disney_Style/Group1", {"a.png": (7, 8), "Ünïcode 1.v2.png": (9, 10)})
    pairs, census = relation252k(tmp_path)
    assert [(p.task, int(p.before()[0, 0, 0]), int(p.after()[0, 0, 0])) for p in pairs] == [
        ("115-colored-pencil-filter", 1, 2),
        ("115-colored-pencil-filter", 3, 4),
        ("115-colored-pencil-filter", 5, 6),
        ("9-disney_style", 7, 8),
        ("9-disney_style", 9, 10),
    ]
    assert len({p.name for p in pairs}) == 5
    assert [p.photograph for p in pairs] == ["a", "b", "a", "a", "unicode-1-v2"]
    assert {p.instruction for p in pairs} == {"do it"}
    assert all("not to be redistributed" in p.licence for p in pairs)
    assert (census.tasks, census.groups, census.images, census.entries, census.pairs) == (
        2,
        3,
        5,
        5,
        5,
    )
    assert census.ordered_analogies == 3 * 2 + 2 * 1
    assert census.lines()[0] == "tasks: 2 (advertised 218) in 3 groups"


def test_an_odd_width_loses_its_middle_column(tmp_path: Path) -> None:
    group(tmp_path, "1-x/Group1", {"a.png": (1, 2)}, width=41)
    (pair,) = relation252k(tmp_path)[0]
    assert pair.before().shape == pair.after().shape == (20, 20, 3)
    assert (pair.before() == 1).all()
    assert (pair.after() == 2).all()


def test_what_is_missing_is_named_and_counted(tmp_path: Path) -> None:
    images = {"a.png": (1, 2), "unlisted.png": (3, 4), "broken.png": (5, 6)}
    labels = [
        label("a.png"),
        label("a.png"),
        label("gone.png"),
        label("broken.png"),
        label("../../2-y/Group1/secret.png"),
        {"img_name": 3},
    ]
    folder = group(tmp_path, "1-x/Group1", images, labels)
    (folder / "broken.png").write_bytes(b"")
    group(tmp_path, "2-y/Group1", {"secret.png": (1, 1)}, {"not": "a list"})
    bad = group(tmp_path, "3-z/Group1", {})
    (bad / "labels.json").write_text("[{")
    pairs, census = relation252k(tmp_path)
    assert [pair.name for pair in pairs] == ["1-x-group1-a"]
    reasons = {one.name: one.reason for one in census.left_out}
    assert "named twice" in reasons["1-x/Group1/a.png"]
    assert "no such image" in reasons["1-x/Group1/gone.png"]
    assert "no such image" in reasons["1-x/Group1/../../2-y/Group1/secret.png"]
    assert "no img_name" in reasons["1-x/Group1/labels.json"]
    assert "is empty" in reasons["1-x/Group1/broken.png"]
    assert "not a list" in reasons["2-y/Group1/labels.json"]
    assert "no JSON" in reasons["3-z/Group1/labels.json"]
    assert census.unlisted == ["1-x/Group1/unlisted.png", "2-y/Group1/secret.png"]
    assert (census.images, census.entries, census.pairs, census.tasks) == (4, 6, 1, 1)
    with pytest.raises(InputError, match="1-x/Group1/a.png: named twice"):
        relation252k(tmp_path, "fail")


def test_labels_beside_no_group_and_a_single_category(tmp_path: Path) -> None:
    group(tmp_path, "My Task", {"a.png": (1, 2)})
    assert relation252k(tmp_path)[0][0].task == "my-task"
    assert relation252k(tmp_path / "My Task")[0][0].task == "my-task"


def test_groups_of_all_names_and_what_a_zip_leaves(tmp_path: Path) -> None:
    group(tmp_path, "a/Group 2", {"1.png": (1, 2)})
    group(tmp_path, "a/group", {"2.png": (1, 2)})
    group(tmp_path, "b/GROUP_07", {"3.png": (1, 2)}).joinpath("labels.json").rename(
        tmp_path / "b" / "GROUP_07" / "Labels.JSON"
    )
    group(tmp_path, "Group photo", {"4.png": (1, 2)})  # a category, and no group
    group(tmp_path, "__MACOSX/c/Group1", {"5.png": (1, 2)})
    group(tmp_path, "d/Group1", {"6.png": (1, 2)}).joinpath("labels.json").unlink()
    (tmp_path / "a" / "group" / "._2.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "a" / "group" / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "e" / "Group1" / "labels.json").mkdir(parents=True)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "labels.json").write_text("[" * 100_000)
    pairs, census = relation252k(tmp_path)
    assert [(pair.task, pair.photograph) for pair in pairs] == [
        ("group-photo", "4"),
        ("a", "1"),
        ("a", "2"),
        ("b", "3"),
    ]
    assert (census.images, census.groups, census.unlisted) == (5, 5, ["d/Group1/6.png"])
    assert [(one.name, one.filter) for one in census.left_out] == [
        ("d/Group1", "unlabelled"),
        ("f/labels.json", "unreadable"),
    ]
    assert relation252k(tmp_path / "a" / "Group 2")[0][0].task == "a"


def test_names_that_differ_in_case_or_accents_alone_are_found(tmp_path: Path) -> None:
    listed = [label("photo.png"), label("e\u0301.png"), label("B.png")]
    group(
        tmp_path,
        "1-x/Group1",
        {"Photo.PNG": (1, 2), "é.png": (3, 4), "b.png": (5, 6), "B.PNG": (7, 8)},
        listed,
    )
    pairs, census = relation252k(tmp_path)
    assert [pair.photograph for pair in pairs] == ["photo", "e"]
    assert [one.reason for one in census.left_out] == [
        "named in labels.json, but there is no such image"
    ]  # b or B: nobody knows
    assert census.lines()[2] == "labels: 3, of which 1 were left out"


def test_a_licence_that_the_user_knows_and_halves_that_are_too_small(tmp_path: Path) -> None:
    group(tmp_path, "1-x/Group1", {"a.png": (1, 2)})
    group(tmp_path, "1-x/Group2", {"b.png": (1, 2)}, [label("b.png", "half \ud800")], width=20)
    pairs, census = relation252k(tmp_path, "fail", licence="mine", attribution="me", min_side=16)
    assert [(pair.licence, pair.attribution) for pair in pairs] == [("mine", "me")]
    assert [(one.name, str(one.reason)) for one in census.left_out] == [
        ("1-x/Group2/b.png", "10 x 20 pixels, its short side under 16")
    ]
    assert relation252k(tmp_path)[0][1].instruction == "half ?"


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no labels\.json"):
        relation252k(tmp_path)
    group(tmp_path, "1-x/Group1", {}, [label("gone.png")])
    with pytest.raises(
        InputError, match=r"no pair of Relation252K; the first left out: 1-x/Group1/gone\.png"
    ):
        relation252k(tmp_path)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the sample is not here")
def test_the_sample() -> None:
    pairs, census = relation252k(SAMPLE)
    assert (census.tasks, census.pairs, len(census.left_out), len(census.unlisted)) == (6, 40, 0, 0)
    for pair in pairs[::9]:
        before, after = pair.before(), pair.after()
        assert before.shape == after.shape
        assert max(before.shape) == 512


def test_the_tasks_of_a_copy_are_listed_as_a_recipe_takes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group(tmp_path, "115-Colored Pencil Filter/Group1", {"a.png": (1, 2), "b.png": (3, 4)})
    group(tmp_path, "9-Disney_Style/Group2", {"a.png": (7, 8)})
    with pytest.raises(SystemExit):
        main(["datagen", "tasks", str(tmp_path)])
    listed = yaml.safe_load(capsys.readouterr().out)
    assert listed == {"tiers": {"new_task": ["115-Colored Pencil Filter", "9-Disney_Style"]}}
    with pytest.raises(SystemExit) as ended:
        main(["datagen", "tasks", str(tmp_path / "none")])
    assert ended.value.code == 2
    assert "holds no labels.json" in " ".join(capsys.readouterr().err.split())
