"""The image codec, the text encoder that reads numbers by value, and loading a base."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from lorweb_bench.errors import InputError
from reference_model.bases.base import Base
from reference_model.bases.registry import load_base
from reference_model.bases.tiny import (
    TinyTextEncoder,
    UnshuffleCodec,
    cut_patches,
    join_patches,
    new_tiny_base,
    patch_side,
    words_of,
)
from reference_model.model.grid_layout import TokenSequence, context_sequence
from reference_model.sampling import predict_velocity, sample
from reference_model.training.pretrain_world import OPERATOR_TRANSFORMER

VOCABULARY = ["rotate", "the", "image", "by", "degrees", "invert", "#ff0000"]
IMAGES = arrays.arrays(
    np.uint8,
    st.tuples(
        st.integers(1, 2), st.just(3), st.sampled_from([8, 16, 24]), st.sampled_from([8, 32])
    ),
)


@pytest.fixture(scope="module")
def text() -> TinyTextEncoder:
    torch.manual_seed(0)
    return TinyTextEncoder(VOCABULARY, width=32).eval().requires_grad_(False)


def distance(text: TinyTextEncoder, first: str, second: str) -> float:
    """How far apart two prompts are, encoded in one batch."""
    tokens, pooled = text([first, second])
    return float((tokens[0] - tokens[1]).abs().max() + (pooled[0] - pooled[1]).abs().max())


@given(IMAGES)
@settings(max_examples=30, deadline=None)
def test_the_codec_loses_nothing(images: np.ndarray) -> None:
    codec, pixels = UnshuffleCodec(), torch.from_numpy(images)
    tokens = codec.encode(pixels)
    assert tokens.shape == (len(images), images.shape[2] // 8, images.shape[3] // 8, 192)
    assert tokens.abs().max() <= 1
    assert torch.equal(codec.decode(tokens), pixels)


def test_a_token_holds_its_own_patch_and_nothing_else(codec: UnshuffleCodec) -> None:
    images = torch.zeros(1, 3, 16, 24, dtype=torch.uint8)
    images[:, :, 8:16, 16:24] = 200
    changed = (codec.encode(images) != -1).any(-1)[0]
    assert changed.nonzero().tolist() == [[1, 2]]


def test_a_shrunk_image_is_the_mean_of_its_squares(codec: UnshuffleCodec) -> None:
    images = torch.randint(0, 256, (2, 3, 32, 16), dtype=torch.uint8)
    tokens = codec.encode(images, shrink=2)
    assert tokens.shape == (2, 2, 1, 192)
    means = images.float().view(2, 3, 16, 2, 8, 2).mean(dim=(3, 5))
    assert (codec.decode(tokens).float() - means).abs().max() <= 0.5001  # rounded to whole levels


def test_decoding_clips_what_a_model_overshoots(codec: UnshuffleCodec) -> None:
    decoded = codec.decode(torch.tensor([-3.0, 3.0]).view(1, 1, 2, 1).expand(-1, -1, -1, 192))
    assert torch.equal(decoded[..., :8], torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    assert torch.equal(decoded[..., 8:], torch.full((1, 3, 8, 8), 255, dtype=torch.uint8))


def test_words_numbers_and_colours_are_taken_apart() -> None:
    assert words_of("Rotate by -37.5 degrees, then tint #FF8000 (60%)") == [
        "rotate",
        "by",
        "-37.5",
        "degrees",
        "then",
        "tint",
        "#ff8000",
        "60",
    ]
    assert words_of("") == words_of(" ,.!") == []


@pytest.mark.parametrize(
    ("first", "second"), [("60", "60.0"), ("0.5", "0.50"), ("-7", "-7.00"), ("007", "7")]
)
def test_a_number_is_its_value_however_it_is_written(
    text: TinyTextEncoder, first: str, second: str
) -> None:
    assert distance(text, f"rotate by {first} degrees", f"rotate by {second} degrees") == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [("37", "38"), ("-30", "30"), ("0.2", "0.3"), ("1", "100"), ("0", "360"), ("90", "-90")],
)
def test_numbers_that_no_vocabulary_lists_are_told_apart(
    text: TinyTextEncoder, first: str, second: str
) -> None:
    assert distance(text, f"rotate by {first} degrees", f"rotate by {second} degrees") > 1e-3


def test_near_numbers_are_near(text: TinyTextEncoder) -> None:
    assert distance(text, "rotate by 60", "rotate by 60.01") < 0.1 * distance(
        text, "rotate by 60", "rotate by 85"
    )


@pytest.mark.parametrize(
    "value", ["1e9", "123456789012345678901234567890", "9" * 400, "-" + "9" * 400, "0.0000001"]
)
def test_no_number_makes_the_encoding_infinite(text: TinyTextEncoder, value: str) -> None:
    tokens, pooled = text([f"rotate by {value}"])
    assert torch.isfinite(tokens).all() and torch.isfinite(pooled).all()


def test_an_empty_prompt_has_an_encoding_of_its_own(text: TinyTextEncoder) -> None:
    tokens, pooled = text([""])
    assert tokens.shape == (1, 1, 32) and pooled.shape == (1, 32)
    assert torch.isfinite(tokens).all()
    assert distance(text, "", "invert") > 1e-3
    assert distance(text, "", " . ") == 0


def test_unknown_words_all_read_the_same_and_differ_from_known_ones(text: TinyTextEncoder) -> None:
    assert distance(text, "solarise the image", "defenestrate the image") == 0
    assert distance(text, "solarise the image", "invert the image") > 1e-3
    assert (
        distance(text, "invert #ff0000", "invert #00ff00") > 1e-3
    )  # a known colour and an unknown one


def test_a_prompt_longer_than_the_limit_is_cut_there(text: TinyTextEncoder) -> None:
    longest = " ".join(["invert"] * text.longest)
    assert distance(text, longest, longest + " rotate by 90 degrees" * 50) == 0


@given(
    st.lists(
        st.lists(st.sampled_from([*VOCABULARY, "12", "-0.5", "unknown"]), max_size=45).map(
            " ".join
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=15, deadline=None)
def test_the_company_of_longer_prompts_changes_nothing(
    text: TinyTextEncoder, prompts: list[str]
) -> None:
    tokens, pooled = text(prompts)
    for i, prompt in enumerate(prompts):
        alone: tuple[Tensor, Tensor] = text([prompt])
        torch.testing.assert_close(tokens[i], alone[0][0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(pooled[i], alone[1][0], rtol=1e-4, atol=1e-5)


def test_a_base_comes_back_frozen(base: Base) -> None:
    modules = (base.transformer, base.text_encoder)
    assert not any(p.requires_grad for m in modules for p in m.parameters())
    assert not any(m.training for m in modules)


@pytest.mark.parametrize("file", ["config.json", "base.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_base_that_is_not_whole_is_named(
    base_folder: Path, tmp_path: Path, file: str, damage: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(base_folder, folder)
    path = folder / file
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:1000] if damage == "cut" else b"[]")
    with pytest.raises(InputError, match="broken"):
        load_base(str(folder))


def test_a_base_whose_weights_do_not_fit_its_config_is_named(
    base_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(base_folder, folder)
    path = folder / "config.json"
    path.write_text(
        path.read_text().replace('"num_attention_heads": 2', '"num_attention_heads": 4')
    )
    with pytest.raises(InputError, match="mixed"):
        load_base(str(folder))


def test_a_name_that_is_no_base_says_what_would_be() -> None:
    with pytest.raises(InputError, match=r"no-such-base.*pretrain-tiny"):
        load_base("no-such-base")


def velocity(base: Base, noisy: Tensor, context: TokenSequence, time: float = 1.0) -> Tensor:
    """The base's velocity with an empty prompt."""
    return predict_velocity(
        base, noisy, context, torch.full((len(noisy),), time), base.text_encoder([""] * len(noisy))
    )


def test_the_tiny_base_tells_places_apart(base: Base) -> None:
    """The same patch everywhere.

    With rotary positions alone, no token would differ from another.
    """
    b = torch.full((1, 3, 64, 64), 90, dtype=torch.uint8)
    context = context_sequence("edit", None, None, base.codec.encode(b))
    torch.nn.init.normal_(base.transformer.proj_out.weight)
    found = velocity(base, torch.zeros(1, 64, 192), context)[0]
    assert (found[0] - found[1:]).abs().amax(1).min() > 1e-4


def test_a_token_of_the_target_sees_what_lies_under_it_and_the_pair(base: Base) -> None:
    torch.nn.init.normal_(base.transformer.proj_out.weight)
    panels = [
        base.codec.encode(torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8))
        for _ in range(4)
    ]
    noisy = torch.randn(1, 16, 192)
    first = velocity(base, noisy, context_sequence("target-only", panels[1], panels[2], panels[0]))
    assert first.shape == noisy.shape
    for changed in range(3):
        other = [panels[3] if i == changed else x for i, x in enumerate(panels[:3])]
        assert (
            first
            - velocity(base, noisy, context_sequence("target-only", other[1], other[2], other[0]))
        ).abs().max() > 1e-4


def test_an_untrained_base_hands_back_what_lies_under_the_target(codec: UnshuffleCodec) -> None:
    untrained = new_tiny_base(VOCABULARY, seed=0)
    b = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    context = context_sequence("edit", None, None, codec.encode(b))
    noisy = torch.randn(2, 16, 192)
    with torch.no_grad():
        clean = noisy - 0.5 * velocity(untrained, noisy, context, time=0.5)
    assert torch.equal(codec.decode(clean.unflatten(1, (4, 4))), b)


def test_the_size_of_a_patch_follows_from_what_the_transformer_takes() -> None:
    assert patch_side({"in_channels": 400}) == 8 and patch_side({"in_channels": 1552}) == 16


def test_cut_patches_are_joined_to_the_same_pictures() -> None:
    pictures = torch.rand(2, 3, 32, 48)
    tokens = cut_patches(pictures, 16)
    assert tokens.shape == (2, 2, 3, 768) and torch.equal(join_patches(tokens), pictures)


def test_an_untrained_operator_hands_back_what_lies_under_the_target() -> None:
    base = new_tiny_base(["invert"], 0, OPERATOR_TRANSFORMER, "operator")
    b = torch.randint(0, 256, (2, 3, 32, 48), dtype=torch.uint8)
    context = context_sequence("edit", None, None, base.codec.encode(b))
    clean = sample(base, context, base.text_encoder(["invert", ""]), [1, 2], 2)
    assert torch.equal(base.codec.decode(clean.unflatten(1, (2, 3))), b)


def test_an_operator_works_on_the_tokens_of_b_whatever_else_is_in_context() -> None:
    base = new_tiny_base(["invert"], 0, OPERATOR_TRANSFORMER, "operator")
    torch.nn.init.normal_(base.transformer.proj_out.bias, std=0.05)
    panels = [torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8) for _ in range(3)]
    sequence = context_sequence("target-only", *(base.codec.encode(panel) for panel in panels))
    prompt = base.text_encoder([""])
    with torch.inference_mode():
        clean = sample(base, sequence, prompt, [1], 1).unflatten(1, (2, 2))
    assert clean.shape == (1, 2, 2, 768)
    change = base.codec.decode(clean).float() - panels[2].float()
    assert 0 < change.abs().mean() < 60


@pytest.mark.parametrize("size", [(128, 96), (80, 128), (48, 16)])
def test_a_pair_of_any_shape_that_a_model_works_at_is_shrunk_to_whole_tokens(
    size: tuple[int, int],
) -> None:
    height, width = size
    picture = torch.full((1, 3, height, width), 200, dtype=torch.uint8)
    tokens = UnshuffleCodec(16).encode(picture, 2)
    assert abs(tokens.shape[1] - height / 32) <= 0.5 and abs(tokens.shape[2] - width / 32) <= 0.5
    assert UnshuffleCodec(16).decode(tokens).unique().tolist() == [200]
