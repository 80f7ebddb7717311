"""A public view gives nothing away, is the same every time, and has the suite's fingerprint."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import read_json
from lorweb_bench.suites.publish import publish


def members(folder: Path) -> dict[str, dict[str, bytes]]:
    """{key: {role: bytes}} by plain tar, independent of the package's reader."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.rglob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, rest = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                found.setdefault(key, {})[rest.split(".")[0]] = file.read()
    return found


def pixels(data: bytes) -> str:
    return hashlib.sha256(Image.open(io.BytesIO(data)).convert("RGB").tobytes()).hexdigest()


def test_it_holds_the_same_triplets_and_nothing_else(
    small_suite: Dataset, small_public: Dataset
) -> None:
    full, public = members(small_suite.path), members(small_public.path)
    assert set(full) == set(public)
    for key, sample in public.items():
        assert set(sample) == {"a", "a_prime", "b", "json"}
        assert all(
            sample[role] == full[key][role] for role in ("a", "a_prime", "b")
        )  # byte for byte
        assert set(json.loads(sample["json"])) == {"id", "width", "height"}
    answers = {pixels(sample["b_prime"]) for sample in full.values()}
    assert not answers & {
        pixels(sample[role]) for sample in public.values() for role in ("a", "a_prime", "b")
    }


def test_the_manifest_and_every_other_file_give_nothing_away(
    small_suite: Dataset, small_public: Dataset
) -> None:
    manifest = read_json(small_public.path / "dataset.json")
    assert set(manifest) == {
        "format",
        "format_version",
        "name",
        "version",
        "view",
        "splits",
        "fingerprint",
        "canary",
    }
    assert manifest["fingerprint"] == small_suite.fingerprint
    text = "".join(
        p.read_text() for p in small_public.path.rglob("*") if p.is_file() and p.suffix != ".tar"
    )
    words = set(small_suite.manifest.transformations) | {
        "unseen",
        "new_family",
        str(small_suite.manifest.targets_fingerprint),
    }
    assert not [word for word in words if word in text]


def test_the_order_says_nothing(small_suite: Dataset, small_public: Dataset) -> None:
    of = {
        record.id: record
        for split in small_suite.scored_splits
        for record in small_suite.records(split)
    }
    order = [of[record.id] for record in small_public.records("test")]
    together = sum(
        x.transformation == y.transformation for x, y in zip(order, order[1:], strict=False)
    )
    assert together <= 0.25 * len(order)
    assert [record.id for record in order] != sorted(of)


def test_it_is_the_same_every_time_and_started_again(
    small_suite: Dataset, small_public: Dataset, tmp_path: Path
) -> None:
    for _ in range(2):
        publish(small_suite.path, tmp_path / "again")
    files = {
        p.relative_to(tmp_path / "again"): p.read_bytes()
        for p in (tmp_path / "again").rglob("*")
        if p.is_file()
    }
    assert files == {
        p.relative_to(small_public.path): p.read_bytes()
        for p in small_public.path.rglob("*")
        if p.is_file()
    }
    with pytest.raises(InputError, match="holds another dataset"):
        publish(small_suite.path, tmp_path / "again", prompt="instruction")


def test_the_instruction_goes_along_only_where_asked_for(
    small_suite: Dataset, tmp_path: Path
) -> None:
    public = publish(small_suite.path, tmp_path / "prompted", prompt="instruction")
    of = {
        record.id: record.instruction
        for split in small_suite.scored_splits
        for record in small_suite.records(split)
    }
    assert {record.id: record.prompt for record in public.records("test")} == of
    assert public.fingerprint == small_suite.fingerprint
    with pytest.raises(InputError, match="no prompt 'task'"):
        publish(small_suite.path, tmp_path / "x", prompt="task")


def test_only_whole_full_suites_are_published(
    small_public: Dataset, tiny: Dataset, small_suite: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="public view already"):
        publish(small_public.path, tmp_path / "x")
    with pytest.raises(InputError, match="no suite"):
        publish(tiny.path, tmp_path / "x")
    with pytest.raises(InputError, match="holds another dataset"):
        publish(small_suite.path, tiny.path)
    assert not (tmp_path / "x").exists()


def test_a_suite_that_shows_an_answer_is_not_published(
    small_suite: Dataset, tmp_path: Path
) -> None:
    for split in small_suite.scored_splits:
        samples = list(small_suite.samples(split))
        with ShardWriter(tmp_path / "suite", split, 0) as shard:
            for i, sample in enumerate(samples):
                images = {role: (data, sample.ext) for role, data in sample.images.items()}
                if split == "unseen" and i == 0:
                    images["a_prime"] = (samples[1].images["b_prime"], sample.ext)
                shard.add(sample.key, images, sample.record)
    fields = small_suite.manifest.model_dump(
        mode="json", include={"name", "version", "view", "transformations"}
    )
    finish_dataset(tmp_path / "suite", fields)
    with pytest.raises(InputError, match="the answer of"):
        publish(tmp_path / "suite", tmp_path / "public")
    assert not (tmp_path / "public").exists()


def test_an_unfinished_view_is_finished(small_suite: Dataset, tmp_path: Path) -> None:
    whole = publish(small_suite.path, tmp_path / "public")
    before = {p: p.read_bytes() for p in whole.path.rglob("*.tar")}
    (whole.path / "dataset.json").unlink()
    next(iter(before)).with_suffix(".json").unlink()
    for name in ("README.md", "croissant.json", "eval.yaml"):
        (whole.path / name).unlink()
    for path in (whole.path / "test").iterdir():
        path.unlink()
    (whole.path / "test").rmdir()
    assert publish(small_suite.path, tmp_path / "public").fingerprint == whole.fingerprint
    assert {p: p.read_bytes() for p in whole.path.rglob("*.tar")} == before
    assert open_dataset(whole.path).public
