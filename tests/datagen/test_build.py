"""Building: the same result however it is done, resuming after any death, and honest refusals."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from datagen import build as building
from datagen.build import build
from datagen.recipe.reading import read_recipe
from datagen.sources.bundled import bundled
from datagen.sources.scenes.compose import scene
from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.data.images import decode, encode
from lorweb_bench.data.shard_reader import read_shard
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import ROLES
from lorweb_bench.runtime.files import read_json


@pytest.fixture
def recipe(train: Dataset):  # type: ignore[no-untyped-def]
    return read_recipe(train.path.parent / "train.yaml")


def test_worker_count_and_shard_size_do_not_matter(
    recipe, train: Dataset, tmp_path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(building, "SHARD", 16)
    two = build(recipe, tmp_path / "two", workers=2).dataset
    assert len(two.split("train").shards) == 4
    assert two.fingerprint == train.fingerprint
    assert two.manifest.targets_fingerprint == train.manifest.targets_fingerprint


def test_a_plan_made_by_two_workers_is_that_of_one(
    train: Dataset, suite: Dataset, tmp_path: Path
) -> None:
    recipe = read_recipe(suite.path.parent / "suite.yaml", [f"tiers.relative_to={train.path}"])
    two = build(recipe, tmp_path / "two", workers=2).dataset
    assert two.manifest == suite.manifest


DYING_BUILD = """
import os, signal, sys
from datagen import build
from datagen.recipe.reading import read_recipe

recipe, folder, items = sys.argv[1:]
left = int(items)
add = build.ShardWriter.add

def add_or_die(*sample):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    add(*sample)

build.SHARD = 8
build.ShardWriter.add = add_or_die
build.build(read_recipe(recipe), folder)
"""


def test_a_killed_build_goes_on_to_the_same_result(train: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "killed"

    def build_until(items: int) -> int:
        """Build in a process that dies when it has made so many items; returns how it ended."""
        words = (str(train.path.parent / "train.yaml"), str(folder), str(items))
        return subprocess.run([sys.executable, "-c", DYING_BUILD, *words], check=False).returncode

    for items in (12, 20):  # each in the midst of a shard
        assert build_until(items) == -signal.SIGKILL
        assert not (folder / "dataset.json").exists()
    kept = {p: p.stat().st_mtime_ns for p in folder.glob("*/*.json")}
    assert len(kept) == 4  # the two of dev by the first run, two of train by the second
    assert build_until(1000) == 0
    assert open_dataset(folder).fingerprint == train.fingerprint
    assert {p: p.stat().st_mtime_ns for p in kept} == kept  # whole shards were not made again
    assert not [p.name for p in folder.rglob(".*")]


def test_a_finished_dataset_is_left_as_it_is(recipe, train: Dataset) -> None:
    before = {p: p.stat().st_mtime_ns for p in train.path.rglob("*")}
    assert build(recipe, train.path).dataset.fingerprint == train.fingerprint
    assert {p: p.stat().st_mtime_ns for p in train.path.rglob("*")} == before


def test_another_recipe_on_a_folder_is_refused_with_what_differs(
    write, train: Dataset, tmp_path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=r"seed 7 and not 8"):
        build(read_recipe(write(), ["seed=8"]), train.path)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "run_pieces", stop)
    with pytest.raises(KeyboardInterrupt):
        build(read_recipe(write()), tmp_path / "begun")
    with pytest.raises(InputError, match=r"panel.square 32 and not 48"):
        build(read_recipe(write(), ["panel.square=48"]), tmp_path / "begun")


def test_a_folder_with_something_else_is_refused(recipe, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="something else"):
        build(recipe, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_suite_is_relative_to_is_checked(
    write, train: Dataset, suite: Dataset, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    splits = "splits={seen: 4, unseen: 6}"
    for settings, said in (
        ([splits], "tiers.relative_to=FOLDER"),
        ([splits, f"tiers.relative_to={tmp_path / 'none'}"], "none is not a folder"),
        ([splits, f"tiers.relative_to={suite.path}"], "is no training dataset"),
        ([splits, f"tiers.relative_to={train.path}", "seed=8"], "sources that the suite's role"),
        (
            [
                splits,
                f"tiers.relative_to={train.path}",
                "tiers.new_family=[flip]",
                "transformations.families=[tint]",
            ],
            "'flip' is trained on",
        ),
        (
            [
                splits,
                f"tiers.relative_to={train.path}",
                "tiers.new_parameters={hue_shift: [{degrees: 60}]}",
            ],
            "hue_shift-degrees_60 is trained on",
        ),
        ([f"tiers.relative_to={train.path}"], "is for suites"),
    ):
        with pytest.raises(InputError) as error:
            build(read_recipe(write(), settings), tmp_path / "out")
        assert said in str(error.value)
        assert not (tmp_path / "out").exists()


def _photographs(folder: Path, count: int) -> Path:
    folder.mkdir()
    for i in range(count):
        (folder / f"photo{i:02d}.png").write_bytes(encode(scene(1000 + i, 64, 80)))
    return folder


def _source(folder: Path, **more: object) -> list[str]:
    source = {"kind": "photographs", "path": str(folder), **more}
    return [
        f"source={yaml.safe_dump(source, default_flow_style=True)}",
        "splits={train: 6}",
    ]


def test_photographs_of_ones_own(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = _photographs(tmp_path / "photos", 10)
    (folder / "broken.png").write_bytes((folder / "photo00.png").read_bytes()[:500])
    small = ["transformations={families: [invert, flip, tint]}", "tiers={}"]
    built = build(
        read_recipe(write(), [*_source(folder, licence="CC0", attribution="me"), *small]),
        tmp_path / "out",
    )
    assert any("broken.png" in str(note) for note in built.notes)
    assert built.dataset.manifest.left_out["unreadable"] == 1
    assert all((r.licence, r.attribution) == ("CC0", "me") for r in built.dataset.records("train"))
    with pytest.raises(InputError, match="broken.png"):
        build(read_recipe(write(), [*_source(folder, on_bad="fail"), *small]), tmp_path / "other")


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "no usable photographs"),
        (1, "at least 10"),
        (8, "2 for train, 2 for dev, 2 for calibration, 2 for a, 2 for b"),
    ],
)
def test_too_few_photographs(write, tmp_path: Path, count: int, said: str) -> None:
    with pytest.raises(InputError) as error:
        build(
            read_recipe(write(), _source(_photographs(tmp_path / "photos", count))),
            tmp_path / "out",
        )
    assert said in str(error.value)
    assert not (tmp_path / "out").exists()


def test_assigned_photographs_must_be_there(write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="moona; bundled has the photographs"):
        build(
            read_recipe(write(), _source(Path("bundled"), assign={"train": ["moona"]})),
            tmp_path / "out",
        )
    with pytest.raises(InputError, match="gives coffee two roles"):
        read_recipe(
            write(), _source(Path("bundled"), assign={"train": ["coffee"], "a": ["coffee"]})
        )
    with pytest.raises(InputError, match="is not a folder"):
        build(read_recipe(write(), _source(tmp_path / "none")), tmp_path / "out")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("tiers.new_parameters={hue_shift: [{degrees: 400}]}", "degrees was 400"),
        ("transformations.presets={tint: [{strength: 0.4}]}", "given were strength"),
        ("transformations.families=[invertt, flip]", "did you mean 'invert'"),
    ],
)
def test_parameters_are_refused_before_any_photograph_is_read(
    write, tmp_path: Path, setting: str, said: str
) -> None:  # type: ignore[no-untyped-def]
    recipe = read_recipe(write(), [*_source(tmp_path / "none"), setting])
    with pytest.raises(InputError) as error:
        build(recipe, tmp_path / "out")
    assert said in str(error.value)
    assert not (tmp_path / "out").exists()


def test_jpeg_panels_are_transformed_as_decoded(write, tmp_path: Path) -> None:
    from datagen.transformations import library

    settings = [
        "panel.format=jpg",
        "transformations={families: [invert]}",
        "tiers={}",
        "splits={train: 4}",
    ]
    dataset = build(read_recipe(write(), settings), tmp_path / "out").dataset
    for q in dataset.quadruplets("train"):
        spec = dataset.manifest.transformations[q.record.transformation].spec
        exact = decode(encode(library().apply(spec, np.asarray(q.b)), "jpg"), "b_prime")
        assert np.array_equal(np.asarray(exact), np.asarray(q.b_prime))
    with pytest.raises(InputError, match="lossless"):
        read_recipe(write(), ["panel.format=jpg", "splits={seen: 4, unseen: 4}"])


def test_what_each_filter_leaves_out_is_counted_in_the_manifest_and_shown(
    write, tmp_path: Path, monkeypatch, capsys
) -> None:  # type: ignore[no-untyped-def]
    strict = [
        "filters={maximum_change: 60, minimum_change: 2, attempts: 1}",
        "transformations={families: [invert, tint]}",
        "tiers={}",
    ]
    built = build(read_recipe(write(), [*strict, "splits={train: 30}"]), tmp_path / "out")
    left_out = built.dataset.manifest.left_out
    assert left_out["maximum_change"] >= 8
    assert built.dropped["train"] == sum(
        left_out[name] for name in ("maximum_change", "one_source") if name in left_out
    )
    assert built.dataset.manifest.splits["train"].samples == 30 - built.dropped["train"]
    monkeypatch.setattr(building, "SHARD", 4)
    again = build(read_recipe(write(), [*strict, "splits={train: 30}"]), tmp_path / "again")
    assert again.dataset.manifest.left_out == built.dataset.manifest.left_out
    with pytest.raises(SystemExit):
        main(["inspect", str(built.dataset.path)])
    assert f"{left_out['maximum_change']} by maximum_change" in capsys.readouterr().out


def _pairs(folder: Path, tasks: dict[str, int]) -> Path:
    for task, count in tasks.items():
        (folder / task).mkdir(parents=True)
        for i in range(count):
            picture = scene(10 * len(task) + i, 48, 64)
            (folder / task / f"{task[0]}{i}.before.png").write_bytes(encode(picture))
            (folder / task / f"{task[0]}{i}.after.png").write_bytes(
                encode(255 - picture if task == "negative" else picture[:, ::-1].copy())
            )
        (folder / task / "instruction.txt").write_text(f"make it {task}")
    return folder


PAIRS = ["panel={long_edge: 64}", "transformations={}", "tiers={}", "splits={train: all}"]


def test_pairs_make_every_ordered_analogy(write, tmp_path: Path) -> None:
    folder = _pairs(tmp_path / "pairs", {"negative": 4, "mirrored": 3})
    source = f"source={{kind: pairs, path: {folder}}}"
    dataset = build(
        read_recipe(write(), [*PAIRS, source, "analogies_per_pair=all"]), tmp_path / "all"
    ).dataset
    records = list(dataset.records("train"))
    assert len(records) == 4 * 3 + 3 * 2
    assert {(r.family, r.tier, r.instruction) for r in records} == {
        ("negative", "seen_single", "make it negative"),
        ("mirrored", "seen_single", "make it mirrored"),
    }
    assert len({(r.a_source, r.b_source) for r in records}) == len(records)
    for q in dataset.quadruplets("train"):
        if q.record.family == "negative":
            assert np.array_equal(255 - np.asarray(q.b), np.asarray(q.b_prime))
    both = f"source={{kind: pairs, path: {folder}, directions: both}}"
    again = build(
        read_recipe(write(), [*PAIRS, both, "analogies_per_pair=1"]), tmp_path / "both", workers=2
    ).dataset
    assert again.manifest.splits["train"].samples == 2 * (4 + 3)
    assert set(again.manifest.transformations) == {
        "negative",
        "mirrored",
        "negative-reversed",
        "mirrored-reversed",
    }


def test_pairs_show_several_exemplars_of_a_task(write: Any, tmp_path: Path) -> None:
    folder = _pairs(tmp_path / "pairs", {"negative": 5, "mirrored": 3})
    source = f"source={{kind: pairs, path: {folder}}}"
    settings = [*PAIRS, source, "analogies_per_pair=1", "exemplars=3"]
    built = build(read_recipe(write(), settings), tmp_path / "three")
    assert built.dataset.manifest.exemplars == 3
    items = list(built.dataset.quadruplets("train"))
    # Three photographs of `mirrored` are too few for two exemplars beside the first, and b.
    assert {item.record.family for item in items} == {"negative"}
    assert built.dropped == {"train": 3}
    for item in items:
        shown = item.triplet(exemplars=3).pairs
        sources = [item.record.a_source, *item.record.further_sources, item.record.b_source]
        assert len(shown) == 3 and len(set(sources)) == 4
        for before, after in shown:
            assert np.array_equal(255 - np.asarray(before), np.asarray(after))


def test_a_panel_is_made_into_a_file_once(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    source = f"source={{kind: pairs, path: {_pairs(tmp_path / 'pairs', {'negative': 6})}}}"
    files: list[int] = []
    monkeypatch.setattr(
        "lorweb_bench.data.images.encode",
        lambda image, ext: (files.append(1), encode(image, ext))[1],
    )
    built = build(
        read_recipe(write(), [*PAIRS, source, "analogies_per_pair=all", "name=once"]),
        tmp_path / "out",
    )
    assert built.dataset.split("train").samples == 6 * 5
    assert len(files) == 2 * 6


def test_held_out_tasks_make_a_suite(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = _pairs(tmp_path / "pairs", {"negative": 12, "mirrored": 8})
    source = f"source={{kind: pairs, path: {folder}, shares: {{train: 0.5, a: 0.25, b: 0.25}}}}"
    held = "tiers.new_task=[mirrored]"
    train = build(read_recipe(write(), [*PAIRS, source, held]), tmp_path / "train").dataset
    assert set(train.manifest.transformations) == {"negative"}
    settings = [
        *PAIRS,
        source,
        held,
        f"tiers.relative_to={train.path}",
        "splits={seen: 6, unseen: 6}",
        "name=tasks",
    ]
    suite = build(read_recipe(write(), settings), tmp_path / "suite").dataset
    assert {r.tier for r in suite.records("unseen")} == {"new_task"}
    assert {r.family for r in suite.records("seen")} == {"negative"}
    used = {n for r in train.records("train") for n in (r.a_source, r.b_source)}
    a, b = (
        {getattr(r, f"{x}_source") for s in suite.splits for r in suite.records(s)} for x in "ab"
    )
    assert not a & b
    assert not (a | b) & used
    with pytest.raises(InputError, match="did you mean 'mirrored'"):
        build(read_recipe(write(), [*PAIRS, source, "tiers.new_task=[mirored]"]), tmp_path / "typo")


def test_quadruplets_are_kept_as_they_are(write, tmp_path: Path) -> None:
    folder = tmp_path / "quadruplets"
    folder.mkdir()
    for i in range(3):
        for role, number in (("a", 2 * i), ("b", 2 * i + 1)):
            picture = scene(50 + number, 64, 48)
            (folder / f"x{i}.{role}.png").write_bytes(encode(picture))
            (folder / f"x{i}.{role}_prime.png").write_bytes(encode(255 - picture))
    settings = [*PAIRS, f"source={{kind: quadruplets, path: {folder}}}"]
    dataset = build(read_recipe(write(), settings), tmp_path / "out").dataset
    assert dataset.manifest.splits["train"].samples == 3
    found = {
        (np.asarray(q.a).tobytes(), np.asarray(q.b).tobytes()) for q in dataset.quadruplets("train")
    }
    assert found == {
        (scene(50 + 2 * i, 64, 48).tobytes(), scene(51 + 2 * i, 64, 48).tobytes()) for i in range(3)
    }


def test_the_hubs_library_reads_images_and_not_sidecars(
    train: Dataset, suite: Dataset, tmp_path: Path
) -> None:
    import datasets

    for dataset in (train, suite):
        for split in dataset.splits:
            loaded = datasets.load_dataset(
                str(dataset.path), split=split, cache_dir=str(tmp_path / dataset.name)
            )
            assert set(loaded.column_names) == {
                "__key__",
                "__url__",
                "json",
                *(f"{role}.png" for role in ROLES),
            }
            assert [row["__key__"] for row in loaded.select_columns(["__key__"])] == [
                record.id for record in dataset.records(split)
            ]
            first = next(dataset.quadruplets(split))
            assert np.array_equal(np.asarray(loaded[0]["b_prime.png"]), np.asarray(first.b_prime))
            assert loaded[0]["json"]["transformation"] == first.record.transformation


def test_plain_webdataset_reads_every_sample(train: Dataset) -> None:
    import webdataset

    tars = [str(train.path / entry.path) for entry in train.split("train").shards]
    read = {
        sample["__key__"]: sample
        for sample in webdataset.WebDataset(tars, shardshuffle=False).decode("rgb8")
    }
    for q in train.quadruplets("train"):
        assert np.array_equal(read[q.key]["b_prime.png"], np.asarray(q.b_prime))


def test_a_plain_shard_holds_five_members_a_sample(train: Dataset) -> None:
    shard = train.path / train.split("train").shards[0].path
    assert len(list(read_shard(shard))) == 60
    assert set(read_json(shard.with_suffix(".json"))) >= {"sha256", "samples", "bytes"}


def test_the_same_recipe_elsewhere_gives_the_same_bytes(
    recipe, train: Dataset, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    again = build(recipe, tmp_path / "again").dataset
    for split in train.splits:
        for x, y in zip(train.split(split).shards, again.split(split).shards, strict=True):
            assert x.sha256 == y.sha256
    shutil.rmtree(again.path)


def test_bundled_photographs_that_are_too_small_are_left_out(write, tmp_path: Path) -> None:
    settings = [
        "source={kind: photographs, path: bundled, shares: {train: 0.6, calibration: 0.4}}",
        "splits={train: 4}",
        "tiers={}",
    ]
    built = build(
        read_recipe(
            write(), [*settings, "panel.square=320", "transformations={families: [invert]}"]
        ),
        tmp_path / "out",
    )
    assert any(
        "chelsea: 451 x 300 pixels, its short side under 320" in str(note) for note in built.notes
    )
    small = [source.name for source in bundled() if min(source.load().shape[:2]) < 320]
    assert built.dataset.manifest.left_out["minimum_side"] == len(small)
    assert {r.width for r in built.dataset.records("train")} == {320}
