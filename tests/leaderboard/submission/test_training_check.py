"""Declared training data.

What it shares with the suite's new tiers is found, counted and said, and has its consequence.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leaderboard.board.board import boards
from leaderboard.store.store import Store
from leaderboard.submission.submission import pack
from leaderboard.submission.verify import verify
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.errors import InputError
from lorweb_bench.predictions.format import MANIFEST
from lorweb_bench.scoring.evaluate import predict

Cards = Callable[..., Path]


def training_data(folder: Path, suite: Dataset, tiers: set[str]) -> Dataset:
    """A training dataset of the suite's own items of some tiers: as bad as it can be."""
    used = set()
    with ShardWriter(folder, "train", 0) as shard:
        for split in suite.scored_splits:
            for sample in suite.samples(split):
                if sample.record["tier"] in tiers:
                    shard.add(
                        sample.key,
                        {role: (data, "png") for role, data in sample.images.items()},
                        sample.record,
                    )
                    used.add(sample.record["transformation"])
    described = {
        name: suite.manifest.transformations[name].model_dump(mode="json") | {"trained": True}
        for name in used
    }
    return finish_dataset(
        folder,
        {
            "name": folder.name,
            "version": "1",
            "view": "full",
            "recipe": {},
            "transformations": described,
        },
    )


@pytest.fixture(scope="module")
def leaking(small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Trained on the items of the tier of new families."""
    return training_data(
        tmp_path_factory.mktemp("training") / "web-edits", small_suite, {"new_family"}
    )


@pytest.fixture(scope="module")
def harmless(small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A manifest alone, of seen transformations."""
    whole = training_data(
        tmp_path_factory.mktemp("training") / "seen-edits", small_suite, {"seen_single"}
    )
    folder = tmp_path_factory.mktemp("manifest")
    shutil.copy(whole.path / "dataset.json", folder)
    return Dataset(folder, whole.manifest)


def packed(copies: Path, suite: Dataset, card: Path, folder: Path, track: str) -> Path:
    """The copies as a submission to a track."""
    shutil.copytree(copies, folder / "predictions")
    manifest = folder / "predictions" / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"track": track}))
    return pack(folder / "predictions", suite, card, folder / "packed.zip")


def declared(*datasets: Dataset) -> list[dict[str, Any]]:
    return [{"name": d.name, "fingerprint": d.fingerprint} for d in datasets]


def test_on_the_open_track_it_is_said_and_the_row_has_no_rank(
    copies: Path, small_suite: Dataset, leaking: Dataset, write_card: Cards, tmp_path: Path
) -> None:
    card = write_card(track="open", training_data=declared(leaking))
    archive = packed(copies, small_suite, card, tmp_path, "open")
    verdict = verify(archive, small_suite, training=[leaking.path])
    (found,) = verdict.training
    assert verdict.accepted and found.leaks and found.by_tier["new_family"] == 4
    assert found.images is not None and found.images > 20 and found.sources
    assert (
        "shares 4 of new_family" in verdict.reasons[1]
        and "its labels and images" in verdict.reasons[1]
    )
    named = {record.transformation for record in small_suite.records("unseen")}
    assert not [name for name in named if name in str(verdict.training)], (
        "a private suite gives no name away"
    )
    store = Store(tmp_path / "store")
    store.add(archive, small_suite)
    assert store.add(archive, small_suite, training=[leaking.path]).new, "a second verdict"
    assert (
        not store.add(archive, small_suite).new
        and not store.add(archive, small_suite, training=[leaking.path]).new
    )
    (board,) = boards(store.entries())
    assert board.rows[0].leaks and board.rows[0].rank is None


def test_the_manifest_alone_is_enough_for_the_transformations(
    copies: Path,
    small_suite: Dataset,
    leaking: Dataset,
    harmless: Dataset,
    write_card: Cards,
    tmp_path: Path,
) -> None:
    (tmp_path / "alone").mkdir()
    shutil.copy(leaking.path / "dataset.json", tmp_path / "alone")
    card = write_card(track="open", training_data=declared(leaking, harmless))
    archive = packed(copies, small_suite, card, tmp_path, "open")
    verdict = verify(
        archive, small_suite, training=[tmp_path / "alone" / "dataset.json", harmless.path]
    )
    bad, good = verdict.training
    assert (
        bad.leaks
        and bad.by_tier["new_family"] == 4
        and bad.images is None
        and "its manifest alone" in bad.sentence
    )
    assert not good.leaks and "shares nothing new" in good.sentence


def test_the_closed_track_is_for_the_suites_own_training_data(
    copies: Path, small_suite: Dataset, leaking: Dataset, write_card: Cards, tmp_path: Path
) -> None:
    card = write_card(training_data=[{"name": leaking.name}])  # by name alone, so the card passes
    archive = packed(copies, small_suite, card, tmp_path, "closed")
    assert verify(archive, small_suite).accepted
    verdict = verify(archive, small_suite, training=[leaking.path])
    assert not verdict.accepted and "is not the suite's own training dataset" in verdict.reasons[0]
    own = Dataset(
        small_suite.path,
        small_suite.manifest.model_copy(update={"tiers_relative_to": leaking.fingerprint}),
    )  # a suite that its own training data leaks into: no submission is to blame
    verdict = verify(archive, own, training=[leaking.path])
    assert verdict.accepted and verdict.training[0].own and not verdict.training[0].leaks


def test_training_data_that_nobody_declared_says_nothing_of_the_submission(
    good_zip: Path, small_suite: Dataset, leaking: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="which the card does not declare; it declares none"):
        verify(good_zip, small_suite, training=[leaking.path])
    with pytest.raises(InputError, match=r"dataset\.json"):
        verify(good_zip, small_suite, training=[tmp_path])


def test_families_that_are_new_to_the_base_may_not_be_trained_on_either(
    suite_with_base: Dataset, write_card: Cards, tmp_path: Path
) -> None:
    predict("copy-b", suite_with_base, tmp_path / "copies")
    trained = training_data(tmp_path / "beside", suite_with_base, {"new_to_base"})
    card = write_card(training_data=[{"name": trained.name}])  # by name alone, so the card passes
    archive = packed(tmp_path / "copies", suite_with_base, card, tmp_path, "closed")
    verdict = verify(archive, suite_with_base, training=[trained.path])
    (found,) = verdict.training
    assert not verdict.accepted
    assert found.leaks and found.by_tier["new_to_base"] == 2
    assert "new_family" not in found.by_tier
