"""A checkpoint opened for one analogy at a time: the answer, the walk, and what it makes of it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from reference_model.applying.analogy import Analogy, AnalogyModel, Look, Neighbour
from reference_model.fitting.adaptation import Adaptation
from reference_model.method import from_checkpoint

Trained = Callable[[str], Path]


@pytest.fixture
def analogy(triplet: Callable[..., Triplet]) -> Callable[..., Analogy]:
    """`analogy(**fields)`: two pairs and a b of 40 x 24 pixels."""
    first, second = triplet(1, 40, 24), triplet(2, 40, 24)

    def make(**fields: Any) -> Analogy:
        pairs = ((first.a, first.a_prime), (second.a, second.a_prime))
        return Analogy(**{"pairs": pairs, "b": first.b, "seed": 3, **fields})

    return make


def difference(first: Image.Image, second: Image.Image) -> int:
    """The largest difference of two pictures in levels of 255."""
    arrays = [np.asarray(image, np.int16) for image in (first, second)]
    return int(np.abs(arrays[0] - arrays[1]).max())


@pytest.mark.parametrize("kind", ["lorweb", "single-lora", "token-control"])
def test_the_answer_is_that_of_predict(
    kind: str, trained: Trained, analogy: Callable[..., Analogy]
) -> None:
    asked = analogy()
    (a, a_prime), _ = asked.pairs
    predicted = from_checkpoint(trained(kind), merge=True).predict(
        [Triplet("b", a, a_prime, asked.b, seed=3)]
    )
    assert difference(AnalogyModel(trained(kind)).apply(asked), predicted[0]) == 0


@pytest.mark.parametrize("kind", ["lorweb", "token-control"])
def test_a_walk_begins_at_one_answer_and_ends_at_the_other(
    kind: str, trained: Trained, analogy: Callable[..., Analogy]
) -> None:
    model, asked = AnalogyModel(trained(kind)), analogy()
    frames = list(model.walk(asked, [0.0, 0.001, 0.999, 1.0]))
    assert frames[0].size == (40, 24)
    assert difference(frames[0], model.apply(asked)) == 0
    assert difference(frames[3], model.apply(analogy(pairs=asked.pairs[::-1]))) == 0
    assert difference(frames[0], frames[1]) <= 1  # and it does not jump at its ends
    assert difference(frames[2], frames[3]) <= 1


def test_a_fitted_walk_has_fitted_ends(trained: Trained, analogy: Callable[..., Analogy]) -> None:
    model, asked = AnalogyModel(trained("lorweb")), analogy(fit={"steps": 2})
    frames = list(model.walk(asked, [0.0, 0.5, 1.0]))
    assert difference(frames[0], model.apply(asked)) == 0
    assert (
        difference(frames[2], model.apply(analogy(fit={"steps": 2}, pairs=asked.pairs[::-1]))) == 0
    )


def test_strength_zero_is_the_bare_base(trained: Trained, analogy: Callable[..., Analogy]) -> None:
    for kind in ("lorweb", "single-lora"):
        model, asked = AnalogyModel(trained(kind)), analogy(strength=0.0)
        bare = model.draw(asked, [Adaptation.none(model.adapter, 1)])
        assert difference(model.apply(asked), bare) == 0
        with torch.no_grad():
            assert model.adapter.basis.gates is None  # nothing is left on the base


def test_strength_one_is_as_trained(trained: Trained, analogy: Callable[..., Analogy]) -> None:
    model = AnalogyModel(trained("single-lora"))
    ones = Adaptation(torch.ones(1, len(model.adapter.basis.layers), 1))
    assert difference(model.draw(analogy(), [ones]), model.apply(analogy())) <= 1


def test_a_walk_between_fresh_loras_averages_their_updates() -> None:
    generator = torch.Generator().manual_seed(0)
    ends = []
    for _ in range(2):
        a = torch.randn(1, 2, 5, generator=generator)
        ends.append(Adaptation(loras={"x": (a, torch.randn(1, 4, 2, generator=generator))}))
    between = ends[0].towards(ends[1], 0.25).loras
    updates = [end.loras["x"][1] @ end.loras["x"][0] for end in ends if end.loras]
    assert between is not None
    a, b = between["x"]
    torch.testing.assert_close(b @ a, 0.75 * updates[0] + 0.25 * updates[1])


def test_nothing_to_walk_between_is_said(trained: Trained, analogy: Callable[..., Analogy]) -> None:
    with pytest.raises(InputError, match="same for every analogy"):
        list(AnalogyModel(trained("single-lora")).walk(analogy(), [0.0, 1.0]))
    one = analogy(pairs=analogy().pairs[:1])
    with pytest.raises(InputError, match="second pair"):
        list(AnalogyModel(trained("lorweb")).walk(one, [0.0, 1.0]))


def test_a_fit_of_a_pair_without_change_names_the_pair(
    trained: Trained, analogy: Callable[..., Analogy]
) -> None:
    asked = analogy()
    same = (asked.b, asked.b)
    with pytest.raises(InputError, match="the pair show no change"):
        AnalogyModel(trained("lorweb")).apply(analogy(pairs=(same,), fit={"steps": 1}))


def test_two_people_at_once_get_their_own_answers(
    trained: Trained, analogy: Callable[..., Analogy]
) -> None:
    model, asked = AnalogyModel(trained("lorweb")), analogy()
    both = [asked, analogy(pairs=asked.pairs[::-1])]
    alone = [model.apply(x) for x in both]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(model.apply, both * 4))
    for number, answer in enumerate(together):
        assert difference(answer, alone[number % 2]) == 0


def test_a_look_names_the_nearest_trained_transformations(
    trained: Trained, analogy: Callable[..., Analogy]
) -> None:
    model, asked = AnalogyModel(trained("lorweb")), analogy()
    look = model.look(asked.pairs[0], asked.b)
    assert look.elements is not None and len(look.elements) == 3
    assert sum(look.elements) == pytest.approx(1, abs=1e-5)  # a softmax mix
    distances = [near.distance for near in look.nearest]
    assert distances == sorted(distances) and look.distance is not None
    assert AnalogyModel(trained("single-lora")).look(asked.pairs[0], asked.b) == Look()


def test_only_an_analogy_beyond_the_threshold_is_called_unlike() -> None:
    near = (Neighbour("blur the picture", 0.2),)
    assert Look(near, 1.0, 1.5).warning() is None
    assert Look(near, 9.0, None).warning() is None  # it was not calibrated
    warning = Look(near, 2.0, 1.5).warning()
    assert warning is not None
    assert "unlike anything" in warning and "blur the picture" in warning
