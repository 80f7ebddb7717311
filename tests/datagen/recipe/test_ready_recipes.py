"""The ready recipes: each is built from small local data, inspected and verified."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datagen.build import build
from datagen.planning.pair_roles import held_out
from datagen.recipe.page import summaries
from datagen.recipe.reading import read_recipe, ready_recipes
from datagen.sources.scenes.compose import scene
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import encode
from lorweb_bench.errors import InputError
from lorweb_bench.scoring.evaluate import evaluate
from lorweb_bench.suites.overview import count, write_page, write_sheet
from lorweb_bench.suites.verify import verify

EDITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "101-Negative": lambda x: 255 - x,
    "9-Mirror_Image": lambda x: x[:, ::-1],
    "Turned over": lambda x: x[::-1],
    "115-Red Filter": lambda x: x // np.array([1, 4, 4], np.uint8),
}
SMALL = ["panel.long_edge=64", "filters={minimum_side: 48, near_duplicates: true}"]
Seen = tuple[Dataset, list[str]]


def checked(name: str, folder: Path, settings: Sequence[str]) -> Dataset:
    """The dataset of a ready recipe, built, looked at and verified."""
    dataset = build(read_recipe(name, settings), folder).dataset
    for split in dataset.splits:
        assert count(dataset.records(split)).samples == dataset.split(split).samples > 0
    write_sheet(dataset, folder.with_suffix(".png"), 2)
    write_page(dataset, folder.with_suffix(".html"), 2)
    assert folder.with_suffix(".html").stat().st_size > 1000
    assert verify(dataset.path).problems == []
    return dataset


def photographs(folder: Path, number: int, first: int = 3000) -> list[np.ndarray]:
    folder.mkdir(parents=True)
    pictures = [scene(first + i, 60 + 4 * (i % 3), 80) for i in range(number)]
    for i, picture in enumerate(pictures):
        (folder / f"photo {i:02d}.png").write_bytes(encode(picture))
    return pictures


def test_every_ready_recipe_says_in_a_line_what_it_builds() -> None:
    assert (
        set(summaries())
        == set(ready_recipes())
        >= {"photos", "relation252k", "pairs", "quadruplets", "hub", "lorweb-evalset"}
    )
    assert all(about.endswith(".") and 40 < len(about) < 140 for about in summaries().values())
    assert [name for name in ready_recipes() if read_recipe(name).name != name] == []


def test_photos_and_its_training_data(tmp_path: Path) -> None:
    photographs(tmp_path / "photos", 40)
    few = {"hue_shift", "oil", "contrast", "polaroid"}
    small = [
        *SMALL,
        f"source.path={tmp_path / 'photos'}",
        "tiers.minimum_distance=4",
        f"tiers.new_family={json.dumps(sorted(few))}",
    ]
    some = [
        "transformations={families: [tint, rotate, border, saturation, gaussian_blur, letter], "
        "compositions: {count: 12}}"
    ]
    held = [
        "tiers.new_parameters={tint: [{colour_name: green, strength: 0.45}], rotate: [{degrees: "
        "180}]}",
        "tiers.new_composition.family_pairs=4",
    ]
    train = checked(
        "photos-train", tmp_path / "train", [*small, *some, *held, "splits={train: 24, dev: 4}"]
    )
    suite = checked(
        "photos",
        tmp_path / "suite",
        [*small, *held, "splits={seen: 8, unseen: 12}", f"tiers.relative_to={train.path}"],
    )
    tiers = {r.tier for r in suite.records("unseen")}
    assert tiers == {"new_family", "new_parameters", "new_composition"}
    assert suite.manifest.tiers_relative_to == train.fingerprint


def test_photos_names_real_families_and_more_than_a_hundred_transformations() -> None:
    from datagen.planning.tiers import held_out_parameters, trained_families
    from datagen.transformations import library

    train, suite = read_recipe("photos-train"), read_recipe("photos")
    assert (train.seed, train.source, train.filters) == (suite.seed, suite.source, suite.filters)
    assert [
        getattr(train.tiers, k) for k in ("new_family", "new_parameters", "new_composition")
    ] == [getattr(suite.tiers, k) for k in ("new_family", "new_parameters", "new_composition")]
    singles, held = library().singles(), held_out_parameters(suite, library())
    assert set(held) <= set(singles)  # presets of the library: training leaves them out
    assert len({s["kind"] for s in singles.values() if s["family"] in suite.tiers.new_family}) == 14
    unseen = len(held), sum(s["family"] in suite.tiers.new_family for s in singles.values())
    assert (
        sum(min(suite.tiers.transformations, n) for n in (*unseen, 400)) >= 90
    )  # and as many seen singles and compositions
    assert len(trained_families(train, library())) > 100
    assert suite.panel.long_edge == 512


def relation(folder: Path, photos: int) -> Path:
    for task, edit in EDITS.items():
        group = folder / task / "Group1"
        group.mkdir(parents=True)
        rows = []
        for i in range(photos):
            picture = scene(4000 + i, 60, 60)
            Image.fromarray(np.hstack([picture, edit(picture)])).save(group / f"{i:03d}.png")
            rows.append({"img_name": f"{i:03d}.png", "edit_instruction": f"do {task}"})
        (group / "labels.json").write_text(json.dumps(rows))
    return folder


def test_relation252k_puts_everything_into_train(tmp_path: Path) -> None:
    source = f"source.path={relation(tmp_path / 'relation', 5)}"
    whole = checked("relation252k", tmp_path / "whole", [source, "analogies_per_pair=all"])
    assert (whole.splits, whole.split("train").samples) == (("train",), 4 * 5 * 4)
    held = checked(
        "relation252k",
        tmp_path / "held",
        [source, 'tiers.new_task=["115-Red Filter", 9 mirror image]'],
    )
    assert set(held.manifest.transformations) == {"101-negative", "turned-over"}
    with pytest.raises(InputError, match="did you mean '115-red-filter'"):
        build(
            read_recipe("relation252k", [source, "tiers.new_task=[115-Rd Filter]"]),
            tmp_path / "typo",
        )
    recipe = read_recipe(
        "relation252k", [source, "tiers.new_task=[mirror image, Red filter]"]
    )  # as a paper would call them
    assert held_out(recipe, ["9-mirror-image", "115-red-filter", "116-mirror"]) == {
        "9-mirror-image",
        "115-red-filter",
    }
    with pytest.raises(InputError, match="red filter"):  # two of them without their numbers
        held_out(
            read_recipe("relation252k", [source, "tiers.new_task=[red filter]"]),
            ["1-red-filter", "2-red-filter"],
        )


def test_relation252k_with_tasks_for_a_suite_that_is_scored(tmp_path: Path, tower: str) -> None:
    shares = "source.shares={train: 0.5, a: 0.25, b: 0.25}"
    source = [f"source.path={relation(tmp_path / 'relation', 12)}", shares, "tiers.new_task=1"]
    train = checked("relation252k-train", tmp_path / "train", source)
    splits = ["splits={seen: 8, unseen: 6}", f"tiers.relative_to={train.path}"]
    suite = checked("relation252k-suite", tmp_path / "suite", [*source, *splits])
    assert len(train.manifest.transformations) == 3
    assert {r.transformation for r in suite.records("unseen")} == set(
        suite.manifest.transformations
    ) - set(train.manifest.transformations)
    assert {r.tier for r in suite.records("unseen")} == {"new_task"}
    # Of an edit that somebody made there is no single right answer: metrics with weights serve it,
    # the others say why they do not.
    with pytest.raises(InputError, match="no single right answer"):
        evaluate("copy-b", suite, ["edit_recovery"])
    report = evaluate("copy-b", suite, [f"clip_image[{tower}]", f"clip_direction[{tower}]"])
    image, direction = report.metrics
    scores = {
        group: report.scores[group] for group in ("seen", "seen_single", "unseen", "new_task")
    }
    assert all(
        score[direction].mean == 0.0 and 0 < (score[image].mean or 0) < 1
        for score in scores.values()
    )
    assert scores["new_task"][image].samples == suite.split("unseen").samples and not report.missing


def test_pairs_from_a_folder_and_from_a_list(tmp_path: Path) -> None:
    rows = []
    for task, edit in EDITS.items():
        (tmp_path / "pairs" / task).mkdir(parents=True)
        for i in range(4):
            picture = scene(5000 + i, 60, 80)
            for side, image in (
                ("before", picture),
                ("after", np.ascontiguousarray(edit(picture))),
            ):
                (tmp_path / "pairs" / task / f"{i}.{side}.png").write_bytes(encode(image))
            rows.append(
                {side: f"pairs/{task}/{i}.{side}.png" for side in ("before", "after")}
                | {"task": task}
            )
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    folder = checked("pairs", tmp_path / "out", [*SMALL, f"source.path={tmp_path / 'pairs'}"])
    listed = checked(
        "pairs", tmp_path / "listed", [*SMALL, f"source.path={tmp_path / 'pairs.jsonl'}"]
    )
    assert folder.split("train").samples == listed.split("train").samples == 4 * 4 * 3
    assert set(folder.manifest.transformations) == set(listed.manifest.transformations)


def test_quadruplets(tmp_path: Path) -> None:
    (tmp_path / "quadruplets").mkdir()
    for i in range(3):
        for number, role in enumerate(("a", "b")):
            picture = scene(6000 + 2 * i + number, 60, 80)
            (tmp_path / "quadruplets" / f"q{i}.{role}.png").write_bytes(encode(picture))
            (tmp_path / "quadruplets" / f"q{i}.{role}_prime.png").write_bytes(encode(255 - picture))
    dataset = checked(
        "quadruplets", tmp_path / "out", [*SMALL, f"source.path={tmp_path / 'quadruplets'}"]
    )
    assert dataset.split("train").samples == 3


def test_hub_from_parquet(tmp_path: Path) -> None:
    import datasets

    def png(array: np.ndarray) -> dict[str, bytes | None]:
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(array)).save(buffer, "PNG")
        return {"bytes": buffer.getvalue(), "path": None}

    rows = [(scene(7000 + i, 60, 80), name, edit) for i in range(3) for name, edit in EDITS.items()]
    images = datasets.Image()
    table = datasets.Dataset.from_dict(
        {
            "original_image": [png(picture) for picture, _, _ in rows],
            "edit_prompt": [name for _, name, _ in rows],
            "edited_image": [png(edit(picture)) for picture, _, edit in rows],
        },
        datasets.Features(
            {
                "original_image": images,
                "edit_prompt": datasets.Value("string"),
                "edited_image": images,
            }
        ),
    )
    table.to_parquet(str(tmp_path / "edits.parquet"))
    settings = [
        *SMALL,
        f"source.path={tmp_path / 'edits.parquet'}",
        f"source.keep={tmp_path / 'kept'}",
    ]
    dataset = checked("hub", tmp_path / "out", settings)
    assert dataset.split("train").samples == 4 * 3 * 2
