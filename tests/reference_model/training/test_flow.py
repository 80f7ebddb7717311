"""Rectified flow: the loss, the times, and Euler sampling."""

from collections.abc import Callable

import pytest
import torch
from diffusers import FluxTransformer2DModel
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reference_model.bases.base import Base
from reference_model.bases.tiny import new_tiny_base, place_features
from reference_model.model.grid_layout import TokenSequence, context_sequence
from reference_model.model.panels import decode_answer
from reference_model.sampling import predict_velocity, sample
from reference_model.training.flow import Times, draw, draw_times, flow_loss, trainer_weight

ConstantBase = Callable[[float], Base]
CONSTANT = 0.25


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tokens(batch: int = 3) -> Tensor:
    return torch.rand(batch, 2, 2, 192, generator=generator(7)) * 2 - 1


def sequence(batch: int = 3) -> TokenSequence:
    a, a_prime, b = tokens(3 * batch).split(batch)
    return context_sequence("target-only", a, a_prime, b)


def loss_of(
    base: Base, clean: Tensor, sequenced: TokenSequence, prompt: tuple[Tensor, Tensor], times: Times
) -> Tensor:
    drawn = draw(times, clean.shape, generator())
    return flow_loss(
        lambda noisy, time: predict_velocity(base, noisy, sequenced, time, prompt),
        clean,
        sequenced,
        drawn,
        times,
    )


@pytest.mark.parametrize("weight", ["none", "t2"])
def test_who_predicts_the_image_rightly_has_no_loss(
    constant_base: ConstantBase, weight: str
) -> None:
    base, sequenced = constant_base(CONSTANT), sequence()
    clean = sequenced.context[:, :4] + CONSTANT
    times = Times(share_at_one=0.3, low=0.1, weight=weight)  # type: ignore[arg-type]
    with torch.no_grad():
        loss = loss_of(base, clean, sequenced, base.text_encoder(["", "word", "9"]), times)
    assert loss < 1e-10


def test_weight_t2_makes_the_loss_that_of_the_clean_image_and_none_divides_it_by_t_squared(
    constant_base: ConstantBase,
) -> None:
    base, clean, sequenced = constant_base(CONSTANT), tokens().flatten(1, 2), sequence()
    prompt = base.text_encoder([""] * 3)
    with torch.no_grad():
        weighted = loss_of(base, clean, sequenced, prompt, Times(low=0.2, weight="t2"))
        plain = loss_of(base, clean, sequenced, prompt, Times(low=0.2))
        relative = loss_of(
            base, clean, sequenced, prompt, Times(low=0.2, weight="t2", relative=0.05)
        )
    b = sequenced.context[:, :4]
    errors = (clean - b - CONSTANT).square().mean(dim=(1, 2))
    torch.testing.assert_close(weighted, errors.mean(), rtol=1e-4, atol=0)
    drawn = draw_times(Times(low=0.2), 3, generator())
    torch.testing.assert_close(plain, (errors / drawn.square()).mean(), rtol=1e-4, atol=0)
    changes = (clean - b).square().mean(dim=(1, 2))
    torch.testing.assert_close(relative, (errors / (changes + 0.05)).mean(), rtol=1e-4, atol=0)


def test_the_trainers_weight_is_that_of_its_table_and_about_one_on_the_whole() -> None:
    times = torch.linspace(0.001, 1, 1000)
    weights = trainer_weight(times)
    assert weights.mean().item() == pytest.approx(1.0, abs=0.03)
    assert times[weights.argmax()].item() == pytest.approx(0.873, abs=0.01)
    assert weights.min() == weights[0]
    time, noise = torch.tensor([0.873, 0.55]), torch.ones(2, 4, 192)
    loss = flow_loss(
        lambda noisy, _: torch.zeros_like(noisy),
        torch.zeros(2, 4, 192),
        sequence(2),
        (time, noise),
        Times(weight="ai-toolkit"),
    )
    assert loss.item() == pytest.approx((1.522 + 1.0) / 2, rel=1e-4)


def test_the_tiny_base_returns_the_velocity_of_its_clean_prediction(base: Base) -> None:
    sequenced, noisy = sequence(), torch.randn(3, 4, 192, generator=generator())
    time = torch.tensor([1.0, 0.5, 0.1])
    prompt = base.text_encoder(["invert the image", "", "rotate by 30 degrees"])
    with torch.no_grad():
        velocity = predict_velocity(base, noisy, sequenced, time, prompt)
        b = sequenced.context[:, :4]
        first, second = (
            sequenced.context[:, 4:8],
            sequenced.context[:, 8:],
        )  # a and a', one under the other as b lies under b'
        ids = torch.cat([sequenced.ids[:4], sequenced.ids[12:]])
        pairs = torch.cat(
            [
                torch.cat([noisy, second], 1),
                torch.cat([b, first], 1),
                place_features(ids).expand(3, -1, -1),
            ],
            2,
        )
        change = FluxTransformer2DModel.forward(
            base.transformer,
            pairs,
            encoder_hidden_states=prompt[0],
            pooled_projections=prompt[1],
            timestep=time,
            img_ids=ids,
            txt_ids=torch.zeros(1, 3),
        ).sample[:, :4]
    assert velocity.shape == noisy.shape
    assert change.abs().max() > 0.01
    torch.testing.assert_close(
        noisy - time.view(3, 1, 1) * velocity, b + change, rtol=1e-4, atol=1e-5
    )


def test_the_tiny_base_answers_in_the_forms_of_the_transformer_that_it_is(base: Base) -> None:
    sequenced, noisy = sequence(1), torch.randn(1, 4, 192)
    tokens_, pooled = base.text_encoder(["invert"])
    given_ = {
        "encoder_hidden_states": tokens_,
        "pooled_projections": pooled,
        "timestep": torch.ones(1),
    }
    given_ |= {"img_ids": sequenced.ids, "txt_ids": torch.zeros(1, 3)}
    with torch.no_grad():
        named = base.transformer(torch.cat([noisy, sequenced.context], 1), **given_)
        plain = base.transformer(
            torch.cat([noisy, sequenced.context], 1), **given_, return_dict=False
        )
    assert torch.equal(named.sample, plain[0])


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 20])
def test_sampling_ends_at_what_the_base_always_predicts(
    constant_base: ConstantBase, steps: int
) -> None:
    base, sequenced = constant_base(CONSTANT), sequence(2)
    with torch.no_grad():
        found = sample(base, sequenced, base.text_encoder(["", ""]), [1, 2], steps)
    torch.testing.assert_close(found, sequenced.context[:, :4] + CONSTANT, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", ["target-only", "paper", "edit"])
def test_an_untrained_base_hands_b_back(layout: str) -> None:
    base = new_tiny_base(["word"], 0, {"num_single_layers": 1, "num_layers": 0}).freeze()
    images = torch.randint(0, 256, (3, 1, 3, 16, 24), dtype=torch.uint8, generator=generator())
    sequenced = context_sequence(layout, *(base.codec.encode(x) for x in images))
    with torch.no_grad():
        found = sample(base, sequenced, base.text_encoder(["word"]), [1], 2)
    assert torch.equal(decode_answer(base, layout, found, sequenced), images[2])


def test_one_step_is_the_clean_prediction_from_pure_noise(base: Base) -> None:
    sequenced, prompt = sequence(1), base.text_encoder(["invert"])
    noise = torch.randn(4, 192, generator=generator(5))[None]
    with torch.no_grad():
        found = sample(base, sequenced, prompt, [5], 1)
        velocity = predict_velocity(base, noise, sequenced, torch.ones(1), prompt)
    torch.testing.assert_close(found, noise - velocity, rtol=1e-4, atol=1e-5)


def test_the_noise_of_a_sample_is_that_of_its_seed(base: Base) -> None:
    twice = context_sequence("edit", None, None, tokens(1).repeat(2, 1, 1, 1))
    prompt = base.text_encoder(["", ""])
    with torch.no_grad():
        same, other = sample(base, twice, prompt, [3, 3], 2), sample(base, twice, prompt, [3, 4], 2)
    torch.testing.assert_close(same[0], same[1])
    torch.testing.assert_close(other[0], same[0])
    assert (other[1] - same[1]).abs().max() > 1e-4


@given(share=st.floats(0, 1), low=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_times_are_above_zero_and_at_most_one(share: float, low: float, seed: int) -> None:
    times = draw_times(Times(share_at_one=share, low=low), 50, generator(seed))
    assert (times > 0).all() and (times >= low - 1e-6).all() and (times <= 1).all()


def test_a_share_of_the_times_is_exactly_one() -> None:
    drawn = draw_times(Times(share_at_one=0.5, low=0.4), 20_000, generator())
    assert abs((drawn == 1).float().mean() - 0.5) < 0.02
    rest = drawn[drawn < 1]
    assert abs(rest.mean() - 0.7) < 0.01 and rest.min() >= 0.4  # uniform in [0.4, 1]
