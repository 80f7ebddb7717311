"""The router's one product against a loop over layers."""

import pytest
import torch

from reference_model.model.router import Router

LAYERS, ELEMENTS, FEATURES, WIDTH, BATCH = 5, 4, 7, 6, 3


@pytest.mark.parametrize("mixing", ["softmax", "tanh"])
def test_one_batched_product_equals_a_loop_over_layers(mixing: str) -> None:
    torch.manual_seed(0)
    router = Router(LAYERS, ELEMENTS, FEATURES, WIDTH, mixing).double()  # type: ignore[arg-type]
    features = torch.randn(BATCH, FEATURES, dtype=torch.float64)
    coefficients = router(features)
    assert coefficients.shape == (LAYERS, BATCH, ELEMENTS)
    for layer in range(LAYERS):
        for sample in range(BATCH):
            query = router.projections[layer] @ features[sample]
            scores = router.keys[layer] @ query / WIDTH**0.5
            expected = (
                torch.exp(scores) / torch.exp(scores).sum()
                if mixing == "softmax"
                else torch.tanh(scores)
            )
            torch.testing.assert_close(
                coefficients[layer, sample], expected, rtol=1e-12, atol=1e-13
            )


def test_softmax_coefficients_are_positive_and_sum_to_one_even_for_large_features() -> None:
    coefficients = Router(LAYERS, ELEMENTS, FEATURES, WIDTH)(1e4 * torch.randn(BATCH, FEATURES))
    assert (coefficients >= 0).all()
    torch.testing.assert_close(coefficients.sum(-1), torch.ones(LAYERS, BATCH))


def test_a_fresh_router_tells_analogies_apart_without_choosing_one_element_outright() -> None:
    torch.manual_seed(0)
    features = torch.nn.functional.layer_norm(torch.randn(64, 192), (192,))
    coefficients = Router(20, 16, 192, 32)(features)
    entropy = -(coefficients * coefficients.log()).sum(-1).mean() / torch.log(torch.tensor(16.0))
    assert 0.5 < entropy < 0.99
    assert coefficients.std(dim=1).mean() > 0.01
