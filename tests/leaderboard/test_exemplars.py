"""Methods that are shown several pairs stand on a board of their own: ranks never mix them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from leaderboard.board.board import boards
from leaderboard.store.store import Store
from leaderboard.submission.submission import open_submission, pack, sizes_of
from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.errors import InputError
from lorweb_bench.scoring.evaluate import predict

WriteCard = Callable[..., Path]


@pytest.fixture(scope="module")
def suite_of_two(small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The small suite with a second exemplar pair for each item."""
    folder = tmp_path_factory.mktemp("suites") / "two"
    for split in small_suite.splits:
        with ShardWriter(folder, split, 0) as shard:
            for sample in small_suite.samples(split):
                images = {role: (data, sample.ext) for role, data in sample.images.items()}
                images |= {"a_2": images["a"], "a_2_prime": images["a_prime"]}
                record = {**sample.record, "further_sources": [f"{sample.key}-2"]}
                shard.add(sample.key, images, record)
    fields = small_suite.manifest.model_dump(mode="json")
    kept = ("recipe", "version", "view", "transformations", "transformation_library")
    about = {name: fields[name] for name in (*kept, "tiers_relative_to")}
    finish_dataset(folder, {**about, "name": "two"})
    return open_suite(folder)


@pytest.fixture(scope="module")
def shown_two(suite_of_two: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of a method that was shown two pairs an item."""
    folder = tmp_path_factory.mktemp("predictions") / "two"
    predict("color-transfer", suite_of_two, folder, exemplars=2)
    return folder


def test_a_submission_says_how_many_pairs_its_method_was_shown(
    suite_of_two: Dataset, shown_two: Path, write_card: WriteCard, tmp_path: Path
) -> None:
    card = write_card(method="color-transfer", exemplars=2)
    archive = pack(shown_two, suite_of_two, card, tmp_path / "two.zip")
    opened = open_submission(archive, suite_of_two, sizes_of(suite_of_two))
    assert opened.card.exemplars == opened.manifest.exemplars == 2


def test_a_card_that_says_otherwise_is_refused(
    suite_of_two: Dataset, shown_two: Path, write_card: WriteCard, tmp_path: Path
) -> None:
    card = write_card(method="color-transfer")
    with pytest.raises(InputError, match="exemplars is 1, the predictions say 2"):
        pack(shown_two, suite_of_two, card, tmp_path / "two.zip")


def test_ranks_are_among_methods_that_were_shown_as_many(
    suite_of_two: Dataset, shown_two: Path, write_card: WriteCard, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store", create=True)
    one = tmp_path / "one"
    predict("color-transfer", suite_of_two, one)
    for exemplars, predictions in ((1, one), (2, shown_two)):
        named = {"method": "my-method", "version": "1", "exemplars": exemplars}
        manifest = predictions / "predictions.json"
        text = manifest.read_text().replace('"color-transfer"', '"my-method"')
        manifest.write_text(text)
        card = write_card(**named)
        archive = pack(predictions, suite_of_two, card, tmp_path / f"{exemplars}.zip")
        store.add(archive, suite_of_two)
    (board,) = boards(store.entries())
    assert [table.exemplars for table in board.tables] == [1, 2]
    assert [row.rank for table in board.tables for row in table.rows] == [(1, 1), (1, 1)]
