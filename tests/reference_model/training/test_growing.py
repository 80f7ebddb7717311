"""A base for larger panels starts where one for smaller panels is: it edits alike, only larger."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lorweb_bench.errors import InputError
from reference_model.bases.tiny import TinyBase, new_tiny_base
from reference_model.instructed import edit_told
from reference_model.model.encoder import PairEncoder
from reference_model.training.growing import grow_base, grow_pair_encoder
from reference_model.training.pretrain_world import OPERATOR_TRANSFORMER
from reference_model.training.world import stack_panels

WORDS = ["invert", "the", "colours"]
BLOCKS = {"num_layers": 1, "num_single_layers": 1}
SIDE = 32  # of the smaller panels: four tokens by four, of 8 pixels


@pytest.fixture(scope="module")
def small() -> TinyBase:
    """A base of patches with random outputs, which does not look at the noise."""
    base = new_tiny_base(WORDS, 3, BLOCKS)
    torch.nn.init.normal_(base.transformer.proj_out.weight, std=0.02)
    torch.nn.init.normal_(base.transformer.proj_out.bias, std=0.02)
    with torch.no_grad():
        base.transformer.x_embedder.weight[:, :192] = 0
    return base


@pytest.fixture(scope="module")
def panel() -> np.ndarray:
    """A panel without extremes, so that no edit leaves the range of colours."""
    random = np.random.default_rng(5)
    return random.integers(90, 166, (SIDE, SIDE, 3), dtype=np.uint8)


def grown_from(small: TinyBase, words: list[str]) -> TinyBase:
    base = new_tiny_base(words, 4, {**BLOCKS, **OPERATOR_TRANSFORMER}, "operator")
    grow_base(small, base)
    return base


def inverted(base: TinyBase, panel: np.ndarray) -> np.ndarray:
    edited = edit_told(base, stack_panels([panel]), ["invert the colours"], [0], 1)
    return edited[0].permute(1, 2, 0).numpy()


def doubled(picture: np.ndarray) -> np.ndarray:
    return picture.repeat(2, 0).repeat(2, 1)


def test_inside_of_tokens_a_grown_base_edits_as_the_small_one(
    small: TinyBase, panel: np.ndarray
) -> None:
    large = grown_from(small, [*WORDS, "flip"])
    expected = doubled(inverted(small, panel)).astype(int)
    edited = inverted(large, doubled(panel)).astype(int)
    inside = np.arange(2 * SIDE) % 16
    rows = (inside >= 4) & (inside < 12)  # elsewhere windows fade into those of other tokens
    difference = np.abs(edited - expected)[rows][:, rows]
    assert difference.max() <= 1
    assert np.abs(expected - doubled(panel))[rows][:, rows].max() > 4


def test_words_that_both_know_keep_their_vectors(small: TinyBase) -> None:
    large = grown_from(small, ["flip", "colours", "invert"])
    for word in ("invert", "colours"):
        row, kept = large.text_encoder.index[word], small.text_encoder.index[word]
        assert torch.equal(
            large.text_encoder.words.weight[row], small.text_encoder.words.weight[kept]
        )


def test_a_transformer_of_another_depth_is_refused(small: TinyBase) -> None:
    deeper = {"num_layers": 1, "num_single_layers": 0, **OPERATOR_TRANSFORMER}
    with pytest.raises(InputError, match="another shape"):
        grow_base(small, new_tiny_base(WORDS, 4, deeper, "operator"))


def test_a_grown_pair_encoder_sees_in_enlarged_panels_what_the_small_one_sees() -> None:
    small = PairEncoder(5, 24, patch=8).eval()
    large = PairEncoder(9, 24, patch=16).eval()
    grow_pair_encoder(small, large)
    pair = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8)

    def enlarged(pictures: Tensor) -> Tensor:
        return pictures.repeat_interleave(2, 2).repeat_interleave(2, 3)

    with torch.no_grad():
        seen = small.named(*pair)[0]
        torch.testing.assert_close(
            large.named(enlarged(pair[0]), enlarged(pair[1]))[0], seen, atol=1e-4, rtol=1e-4
        )
