"""`inspect-model`: the numbers behind the page against known truths, and the page itself, also in a
browser.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.metrics.edit_recovery import edit_recovery
from reference_model.analysis.inspecting import (
    MeanMix,
    effective_elements,
    element_effects,
    mean_mixes,
    nearest_neighbours,
    open_model,
    principal_plane,
    spread_items,
)
from reference_model.analysis.space import open_space
from reference_model.analysis.space_page import heat_map, layer_rows, map_points
from reference_model.checkpoints.checkpoint import write_checkpoint
from reference_model.config import TrainConfig
from reference_model.model.adapter import new_adapter

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def model(config: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of three elements with random weights.

    The third element's A is zero, so that leaving it out changes nothing.
    """
    settings = config(name="<b>lorweb</b>", panel=32)
    adapter = new_adapter(settings, seed=1)
    torch.manual_seed(2)
    for parameter in adapter.trainable().parameters():
        nn.init.normal_(parameter, std=0.2)
    with torch.no_grad():
        for layer in adapter.basis.layers.values():
            layer.lora_A["default"].weight[4:] = 0
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder, adapter, settings, {"identity": "x"})
    return folder


def place(
    name: str, *coefficients: float, kind: str = "colour", tier: str = "seen_single"
) -> MeanMix:
    return MeanMix(name, kind, tier, f"do {name}", 1, np.array([coefficients]))


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=8))
def test_effective_elements_lie_between_one_and_all(mix: list[float]) -> None:
    found = float(effective_elements(np.array(mix)))
    assert 1 - 1e-9 <= found <= len(mix) + 1e-9


def test_effective_elements_of_known_mixes() -> None:
    mixes = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, -0.5, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(effective_elements(mixes), [1, 4, 2, 4])
    assert float(effective_elements(np.array([0.7, 0.2, 0.1]))) == pytest.approx(
        math.exp(-sum(p * math.log(p) for p in (0.7, 0.2, 0.1)))
    )


def test_the_plane_keeps_distances_that_lie_in_one() -> None:
    corners = [place("a", 0, 0, 3), place("b", 4, 0, 3), place("c", 0, 3, 3), place("d", 4, 3, 3)]
    positions, shares = principal_plane(corners)
    assert np.linalg.norm(positions[0] - positions[3]) == pytest.approx(5)
    assert shares == pytest.approx((16 / 25, 9 / 25))
    assert principal_plane(corners[:1])[1] == principal_plane([corners[0]] * 3)[1] == (0.0, 0.0)


def test_the_nearest_is_another_one() -> None:
    assert nearest_neighbours([place("a", 0, 0), place("b", 1, 0), place("c", 1.5, 0)]) == [
        "b",
        "c",
        "b",
    ]
    assert nearest_neighbours([place("a", 0, 0)]) == [""]


def test_places_are_means_over_the_items_of_a_transformation(
    model: Path, small_suite: Dataset
) -> None:
    space = open_space(model)
    items = spread_items(small_suite, 20)
    assert len(items) == 20 == sum(p.items for p in mean_mixes(space, items))
    for found in mean_mixes(space, items)[:3]:
        own = [i for i in items if i.record.transformation == found.name]
        expected = space.coefficients([(i.a, i.a_prime, i.b) for i in own]).mean(0)
        np.testing.assert_allclose(found.coefficients, expected.numpy(), rtol=1e-5)
        assert (found.kind, found.tier) == (own[0].record.kind, own[0].record.tier)


def test_leaving_an_element_out_is_what_a_model_without_it_does(
    model: Path, small_suite: Dataset
) -> None:
    adapter, method = open_model(model)
    items = spread_items(small_suite, 5)
    found = element_effects(adapter, method, small_suite, items)
    whole = method.predict([i.triplet() for i in items])
    with torch.no_grad():
        for layer in adapter.basis.layers.values():
            layer.lora_B["default"].weight[:, :2] = 0
    without = method.predict([i.triplet() for i in items])
    losses = []
    for item, x, y in zip(items, whole, without, strict=True):
        assert item.b_prime is not None
        b, b_prime = np.asarray(item.b), np.asarray(item.b_prime)
        losses.append(
            edit_recovery(np.asarray(x), b, b_prime) - edit_recovery(np.asarray(y), b, b_prime)
        )
    rmse = [
        math.sqrt(((np.asarray(x).astype(float) - np.asarray(y)) ** 2).mean())
        for x, y in zip(whole, without, strict=True)
    ]
    assert found[0].loss == pytest.approx(np.mean(losses), abs=1e-3)
    assert found[0].change == pytest.approx(np.mean(rmse), rel=1e-2) and found[0].change > 0.1
    assert (found[2].loss, found[2].change, found[2].worse) == (0, 0, 0)


def test_heat_maps_and_rows_name_every_layer() -> None:
    layers = [f"transformer_blocks.{n}.attn.to_{x}" for n in range(30) for x in "qk"] + [
        "single_transformer_blocks.0.norm.linear"
    ]
    values = np.linspace(0, 0.5, 61 * 4).reshape(61, 4)
    made = heat_map("t", "n", values, layers)
    assert (
        made.greatest == 0.5
        and made.cells[60][3] == 1.0
        and made.labels[60] == "single 0"
        and made.labels[2] == "double 1"
    )
    assert heat_map("t", "n", values[:2], layers[:2]).labels == {
        0: "double 0 · attn.to_q",
        1: "double 0 · attn.to_k",
    }
    assert heat_map("t", "n", np.zeros((2, 4)), layers[:2]).greatest == 0
    rows = layer_rows(["x"], np.array([[[0.9, 0.1]], [[0.1, 0.7]]]))
    assert (rows[0]["element"], rows[0]["most"]) == (0, pytest.approx(0.5))


def test_signs_tell_kinds_and_what_was_trained_apart() -> None:
    found = [
        place(f"t{n}", n, -n, kind=f"kind{n:02}", tier=("seen_single", "new_family", "")[n % 3])
        for n in range(14)
    ]
    drawn = map_points(found, principal_plane(found)[0])
    assert len({(p.colour, p.shape) for p in drawn}) == 14
    assert [p.hollow for p in drawn[:3]] == [False, True, False]
    assert all(0 <= p.x <= 720 and 0 <= p.y <= 440 for p in drawn)


@pytest.fixture(scope="module")
def page(model: Path, small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of that checkpoint, by the command."""
    out = tmp_path_factory.mktemp("page") / "space.html"
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "inspect-model",
                str(model),
                "--suite",
                str(small_suite.path),
                "-o",
                str(out),
                "--items",
                "30",
                "--effect-items",
                "4",
            ]
        )
    assert not ended.value.code
    return out


def test_the_page_names_every_transformation_and_needs_no_network(
    page: Path, small_suite: Dataset, model: Path
) -> None:
    text = page.read_text()
    assert not re.search(r"https?://|@import|url\(|<script", text)
    assert "&lt;b&gt;lorweb" in text and "<b>lorweb" not in text
    for found in mean_mixes(open_space(model), spread_items(small_suite, 30)):
        assert text.count(found.name) >= 2  # on the map, and in the table
    assert "Without an element" in text and "edit_recovery lost" in text
    assert all(layer in text for layer in open_space(model).basis)


def test_a_public_view_and_no_effects_also_make_a_page(
    model: Path, small_public: Dataset, tmp_path: Path
) -> None:
    out = tmp_path / "space.html"
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "inspect-model",
                str(model),
                "--suite",
                str(small_public.path),
                "-o",
                str(out),
                "--items",
                "9",
                "--effect-items",
                "0",
            ]
        )
    assert not ended.value.code
    assert "Without an element" not in out.read_text() and "not told" in out.read_text()


def test_a_checkpoint_without_a_router_is_named(
    trained: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "inspect-model",
                str(trained("single-lora")),
                "--suite",
                str(small_suite.path),
                "-o",
                str(tmp_path / "x.html"),
            ]
        )
    assert ended.value.code == 2 and "has no router" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no chromium here")
def test_in_a_browser_nothing_runs_over_and_a_name_leads_to_its_sign(page: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for width in (390, 1280):
            shown = browser.new_page(viewport={"width": width, "height": 900})
            shown.goto(page.as_uri())
            assert shown.evaluate("document.documentElement.scrollWidth") == width
            shown.click("summary")
            shown.click("tbody a >> nth=2")
            assert shown.evaluate("document.querySelector('.point:target').id") == "t3"
        browser.close()
