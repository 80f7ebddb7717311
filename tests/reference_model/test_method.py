"""The reference model as a method: sizes, order, batches, prompts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from lorweb_bench.methods.predict import predict
from reference_model.bases.base import Base
from reference_model.method import Method, from_checkpoint, instruction_predictor
from reference_model.method import ceiling as make_ceiling
from reference_model.model.working_size import WorkingSize

MakeTriplet = Callable[..., Triplet]
SIZES = [(16, 16), (32, 16), (16, 16), (20, 12), (100, 60), (16, 32), (32, 16)]  # width, height


@pytest.fixture(scope="module")
def method(trained: Callable[[str], Path]) -> Method:
    found = from_checkpoint(trained("lorweb"))
    found.sizes = WorkingSize(
        32
    )  # larger than in training, so that there are panels of several sizes
    return found


@pytest.fixture
def ceiling(base: Base) -> Method:
    return Method(
        "ceiling",
        instruction_predictor(base),
        WorkingSize(64),
        torch.device("cpu"),
        base.sampling_steps,
        {},
    )


def far(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of a pixel."""
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other)).max())


def test_every_answer_has_the_size_of_its_b_also_when_sizes_are_mixed(
    method: Method, triplet: MakeTriplet
) -> None:
    triplets = [triplet(n, *size) for n, size in enumerate(SIZES)]
    answers = method.predict(triplets)
    assert [x.size for x in answers] == SIZES
    assert {x.mode for x in answers} == {"RGB"}
    assert all(
        far(x, y) <= 1
        for x, y in zip(answers, [method.predict([t])[0] for t in triplets], strict=True)
    )


def test_order_and_batches_do_not_change_results(method: Method, triplet: MakeTriplet) -> None:
    triplets = [triplet(n) for n in range(5)]
    together = method.predict(triplets)
    assert [far(x, y) for x, y in zip(method.predict(triplets), together, strict=True)] == [0] * 5
    backwards = method.predict(triplets[::-1])[::-1]
    in_twos = [x for i in (0, 2, 4) for x in method.predict(triplets[i : i + 2])]
    # A matrix product over another number of rows may round a value the other way: one level of
    # 255.
    assert all(far(x, y) <= 1 for x, y in zip(together, backwards, strict=True))
    assert all(far(x, y) <= 1 for x, y in zip(together, in_twos, strict=True))
    assert min(far(together[i], together[j]) for i in range(5) for j in range(i)) > 1


def test_the_prediction_depends_on_the_pair_the_image_and_the_seed(
    method: Method, triplet: MakeTriplet
) -> None:
    one, other = triplet(0), triplet(1)
    base = method.predict([one])[0]
    changed = {
        "pair": Triplet("k", other.a, other.a_prime, one.b, seed=0),
        "b": Triplet("k", one.a, one.a_prime, other.b, seed=0),
        "seed": Triplet("k", one.a, one.a_prime, one.b, seed=9),
    }
    for what, t in changed.items():
        assert far(method.predict([t])[0], base) > 1, what
    renamed = Triplet("other", one.a, one.a_prime, one.b, seed=0)
    assert far(method.predict([renamed])[0], base) == 0


def test_no_triplets_no_answers(method: Method) -> None:
    assert method.predict([]) == []


def test_the_ceiling_needs_to_be_told_the_transformation(
    ceiling: Method, triplet: MakeTriplet
) -> None:
    told = ceiling.predict([triplet(0, prompt="shift the hue by 60 degrees")])[0]
    assert told.size == (16, 16)
    assert far(told, ceiling.predict([triplet(0, prompt="invert the image")])[0]) > 0
    for missing in (None, ""):
        with pytest.raises(InputError, match="--prompt instruction"):
            ceiling.predict([triplet(0, prompt="invert"), triplet(1, prompt=missing)])


def test_the_ceiling_sees_nothing_of_the_pair(ceiling: Method, triplet: MakeTriplet) -> None:
    one, other = triplet(0), triplet(1)
    same = [Triplet("k", t.a, t.a_prime, one.b, "invert", 3) for t in (one, other)]
    assert far(*ceiling.predict(same)) == 0


def test_the_ceiling_is_that_of_a_tiny_base_alone() -> None:
    with pytest.raises(InputError, match="base=flux-kontext is no tiny base"):
        make_ceiling("flux-kontext")


def test_a_checkpoint_folder_is_a_method_for_the_harness(
    trained: Callable[[str], Path], small_suite: Dataset, tmp_path: Path
) -> None:
    manifest = predict(str(trained("single-lora")), small_suite, tmp_path / "predictions", limit=3)
    assert manifest is not None
    assert (manifest.method.name, manifest.track, manifest.samples) == ("single-lora", "closed", 3)
