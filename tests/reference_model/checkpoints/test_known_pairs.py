"""What a checkpoint knows of its training data: centroids, words, and a calibrated distance."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.errors import InputError
from reference_model.bases.tiny_folder import ASSETS
from reference_model.checkpoints import known_pairs
from reference_model.checkpoints.known_pairs import (
    FILE,
    KnownPairs,
    learn_known_pairs,
    read_known_pairs,
    write_known_pairs,
)

Trained = Callable[[str], Path]


class MeanChange(nn.Module):
    """An encoder whose features are the mean change of each colour."""

    def forward(self, a: Tensor, a_prime: Tensor, b: Tensor) -> Tensor:
        return (a_prime.float() - a.float()).mean((2, 3))


def test_each_transformation_is_at_the_mean_of_its_items(training_dataset: Path) -> None:
    dataset = open_dataset(training_dataset)
    known = learn_known_pairs(MeanChange(), dataset)
    items = [q for q in dataset.quadruplets("train") if q.record.transformation == known.names[0]]
    changes = [np.asarray(q.a_prime, float) - np.asarray(q.a, float) for q in items]
    expected = np.mean([change.mean((0, 1)) for change in changes], 0)
    np.testing.assert_allclose(known.centroids[0], expected, rtol=1e-3, atol=0.02)
    assert set(known.names) == {record.transformation for record in dataset.records("train")}


def test_a_slow_encoder_looks_at_fewer_items_and_at_every_transformation(
    training_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_pairs, "MOST_FOR_A_BACKBONE", 4)
    looks: list[int] = []

    class Counting(MeanChange):
        def forward(self, a: Tensor, a_prime: Tensor, b: Tensor) -> Tensor:
            looks.append(len(a))
            return super().forward(a, a_prime, b)

    dataset = open_dataset(training_dataset)
    known = learn_known_pairs(Counting(), dataset)
    assert sum(looks) == len(known.names) == 4
    assert dataset.split("train").samples == 9


def test_it_says_nothing_of_novelty_without_a_dev_split(training_dataset: Path) -> None:
    assert learn_known_pairs(MeanChange(), open_dataset(training_dataset)).threshold is None


def test_one_in_twenty_of_dev_is_beyond_the_threshold(
    training_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_pairs, "LEAST_DEV", 2)
    dataset = open_dataset(training_dataset)
    # The training items once more as `dev`: the same folder under another name.
    splits = dataset.manifest.splits
    monkeypatch.setitem(splits, "dev", splits["train"])
    monkeypatch.setattr(Dataset, "splits", property(lambda self: ("train", "dev")))
    known = learn_known_pairs(MeanChange(), dataset)
    changes = []
    for q in dataset.quadruplets("train"):
        change = np.asarray(q.a_prime, float) - np.asarray(q.a, float)
        changes.append(change.mean((0, 1)))
    nearest = known.distances(torch.tensor(np.array(changes))).amin(1)
    assert known.threshold == pytest.approx(np.quantile(nearest, 0.95), abs=0.02)


def test_a_training_stores_it_and_it_is_read_back(trained: Trained) -> None:
    known = read_known_pairs(trained("lorweb"))
    assert known is not None and len(known.names) == len(known.centroids)
    assert known.in_words(0) and known.threshold is None  # nine items, and no dev split
    assert read_known_pairs(trained("single-lora")) is None


def test_a_cut_file_is_refused_by_name(tmp_path: Path) -> None:
    known = KnownPairs(("blur",), ("blur the picture",), torch.zeros(1, 4), None)
    write_known_pairs(tmp_path, known)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match="known-pairs"):
        read_known_pairs(tmp_path)


def test_the_command_refuses_another_dataset(
    trained: Trained, write_panels: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_panels((16, 16), (16, 16), (16, 16), (16, 16))
    with pytest.raises(SystemExit) as exit_:
        main(["known-pairs", str(trained("lorweb")), "--dataset", str(other)])
    assert exit_.value.code == 2
    assert "is not what" in capsys.readouterr().err.replace("\n", " ")


def test_the_shipped_checkpoint_says_what_it_knows() -> None:
    known = read_known_pairs(ASSETS / "lorweb")
    assert known is not None and known.threshold is not None and len(known.names) > 1000
    words = {known.in_words(i) for i in range(len(known.names))}
    assert "shift the hue by 60 degrees" in words
