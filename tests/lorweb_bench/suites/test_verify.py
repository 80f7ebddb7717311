"""Verify finds whatever is not as the manifest says, and names it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.images import encode, to_array
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import read_json, write_json
from lorweb_bench.suites.verify import label_problems, verify


def edited(dataset: Dataset, *path: str | int, value: Any) -> None:
    content = read_json(dataset.path / "dataset.json")
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    write_json(dataset.path / "dataset.json", content)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_whole_suite_has_no_problem_and_its_answers_are_made_again(
    small_suite: Dataset, workers: int
) -> None:
    found = verify(small_suite.path, workers)
    samples = sum(info.samples for info in small_suite.manifest.splits.values())
    assert (found.problems, len(found.items), found.rerun, found.unpinned) == (
        [],
        samples,
        2 * samples,
        0,
    )


def test_a_public_view_has_no_problem(small_public: Dataset) -> None:
    assert verify(small_public.path).problems == []


def test_a_damaged_shard_and_its_sample_are_named(tiny: Dataset) -> None:
    shard = tiny.path / "train" / "000001.tar"
    data = bytearray(shard.read_bytes())
    data[data.index(b"IDAT") + 40] ^= 255  # in the pixels of the shard's first image
    shard.write_bytes(data)
    problems = verify(tiny.path).problems
    assert "train/000001.tar is damaged" in problems[0]
    assert any("'t4'" in problem for problem in problems)
    assert not any("'t5'" in problem or "000000" in problem for problem in problems)


def test_another_dataset_in_the_same_place_is_verified_as_itself(
    tiny: Dataset, small_public: Dataset
) -> None:
    assert not verify(tiny.path).problems
    shutil.rmtree(tiny.path)
    shutil.copytree(small_public.path, tiny.path)
    assert not verify(tiny.path).problems


def test_every_damaged_shard_is_listed(tiny: Dataset) -> None:
    for name in ("000000", "000002"):
        shard = tiny.path / "train" / f"{name}.tar"
        shard.write_bytes(shard.read_bytes()[:-5000])
    problems = " ".join(verify(tiny.path).problems)
    assert "train/000000.tar" in problems
    assert "train/000002.tar" in problems


def test_a_shard_cut_anywhere_or_with_a_flipped_byte_is_named(tiny: Dataset) -> None:
    shard = tiny.path / "train" / "000001.tar"
    whole = shard.read_bytes()
    damaged = [whole[:length] for length in range(0, len(whole), 512)]
    for place in range(5, len(whole), 401):  # in names, sizes, sums, pixels, records and padding
        damaged.append(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    for data in damaged:
        shard.write_bytes(data)
        problems = verify(tiny.path, rerun=False).problems
        assert problems
        assert "train/000001.tar" in problems[0]
        assert not any("000000" in problem or "000002" in problem for problem in problems)
    shard.write_bytes(whole)
    assert verify(tiny.path).problems == []


def test_missing_and_foreign_files_are_named(tiny: Dataset) -> None:
    shutil.copy(tiny.path / "dev" / "000000.tar", tiny.path / "dev" / "000009.tar")
    (tiny.path / "train" / "000001.json").unlink()
    (tiny.path / "train" / "000002.tar").unlink()
    problems = " ".join(verify(tiny.path).problems)
    for words in (
        "dev/000009.tar is not in the manifest",
        "train/000001.json does not exist",
        "train/000002.tar is missing",
    ):
        assert words in problems


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("fingerprint",), "0" * 64, "the fingerprint is not"),
        (("targets_fingerprint",), "0" * 64, "fingerprint of the targets"),
        (("splits", "train", "samples"), 9, "does not have the samples"),
        (("splits", "train", "shards", 0, "samples"), 5, "holds 4 samples"),
        (("splits", "train", "shards", 0, "sha256"), "0" * 64, "000000.tar is damaged"),
        (("transformations", "invert", "family"), "other", "family or kind"),
        (("transformations", "invert", "tier"), "new_family", "its tier is seen_single"),
    ],
)
def test_a_manifest_that_says_something_else_is_found_out(
    tiny: Dataset, path: tuple[str | int, ...], value: object, words: str
) -> None:
    edited(tiny, *path, value=value)
    assert any(words in problem for problem in verify(tiny.path).problems)


def test_a_sidecar_of_another_shard_is_found_out(tiny: Dataset) -> None:
    sidecar = read_json(tiny.path / "train" / "000000.json")
    sidecar["items"][0]["pixels"]["a"] = "0" * 64
    write_json(tiny.path / "train" / "000000.json", sidecar)
    assert verify(tiny.path).problems == [
        f"{tiny.path}/train/000000.tar: sample 't0' is not what the sidecar says."
    ]


def test_labels_are_held_against_the_manifest(tiny: Dataset) -> None:
    record = next(tiny.records("train"))

    def problems(split: str = "train", **changes: Any) -> str:
        return " ".join(label_problems(tiny.manifest, split, record.model_copy(update=changes)))

    assert problems() == ""
    assert problems("seen") == ""
    assert "does not belong in the split unseen" in problems("unseen")
    assert "does not list its transformation" in problems(transformation="secret")
    assert "does not list the candidate 'secret'" in problems(
        candidates=(record.transformation, "secret")
    )
    assert "truth among them" in problems(
        candidates=("invert" if record.transformation != "invert" else "hue_shift-degrees_60",)
    )


def suite_with(
    folder: Path,
    sample: Callable[..., Any],
    change: Callable[[dict[str, Any], dict[str, Any]], None],
) -> Path:
    """A suite of four samples, the last changed."""
    described = {
        name: {"family": name, "kind": "colour", "instruction": "do it", "tier": tier}
        for name, tier in (("invert", "seen_single"), ("other", "new_family"))
    }
    for split, name, keys in (("seen", "invert", "ab"), ("unseen", "other", "cd")):
        with ShardWriter(folder, split, 0) as shard:
            for key in keys:
                key, images, record = sample(
                    key, transformation=name, family=name, tier=described[name]["tier"]
                )
                if key == "d":
                    change(images, record)
                shard.add(key, images, record)
    return finish_dataset(
        folder, {"name": "n", "version": "1", "view": "full", "transformations": described}
    ).path


def test_what_a_suite_may_not_do_is_found(tmp_path: Path, sample: Callable[..., Any]) -> None:
    cases: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
        "source of an a and of a b": lambda images, record: record.update(a_source="b-c"),
        "is the a of 'a'": lambda images, record: images.update(b=sample("a")[1]["a"]),
        "the answer of 'd' is shown in 'c'": lambda images, record: images.update(
            b_prime=sample("c")[1]["a_prime"]
        ),
    }
    for words, change in cases.items():
        problems = verify(suite_with(tmp_path / words[:8], sample, change)).problems
        assert len(problems) == 1
        assert words in problems[0]
    assert verify(suite_with(tmp_path / "good", sample, lambda images, record: None)).problems == []


def relabelled(suite: Dataset, folder: Path, levels: int) -> Path:
    """The suite with every b_prime brighter by some levels where there is room."""
    for split in suite.scored_splits:
        with ShardWriter(folder, split, 0) as shard:
            for sample in suite.samples(split):
                images = {role: (data, sample.ext) for role, data in sample.images.items()}
                b_prime = to_array(suite.decode(sample).b_prime).astype(int) + levels
                images["b_prime"] = (encode(np.clip(b_prime, 0, 255).astype(np.uint8)), "png")
                shard.add(sample.key, images, sample.record)
    fields = suite.manifest.model_dump(
        mode="json",
        include={"name", "version", "view", "transformations", "transformation_library"},
    )
    return finish_dataset(folder, fields).path


def test_other_vector_instructions_are_told_from_wrong_answers(
    small_suite: Dataset, tmp_path: Path
) -> None:
    found = verify(relabelled(small_suite, tmp_path / "near", 2))
    assert found.problems == []
    assert 0 < found.unpinned <= found.rerun / 2
    problems = verify(relabelled(small_suite, tmp_path / "far", 3)).problems
    assert "b_prime is up to 3 levels" in problems[0]
    assert verify(tmp_path / "far", rerun=False).problems == []


def test_a_public_view_that_tells_too_much_is_found_out(
    tmp_path: Path, sample: Callable[..., Any]
) -> None:
    key, images, record = sample("k")
    with ShardWriter(tmp_path, "test", 0) as shard:
        shard.add(key, {role: image for role, image in images.items() if role != "b_prime"}, record)
    finish_dataset(tmp_path, {"name": "n", "version": "1", "view": "public", "recipe": {"seed": 3}})
    problems = " ".join(verify(tmp_path).problems)
    assert "gives away a_source" in problems
    assert "how the suite was made" in problems


def test_where_there_is_nothing_to_check_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no dataset\.json"):
        verify(tmp_path)
