"""The ComfyUI nodes.

ComfyUI is in no package index, so its loader cannot run here. The names that it maps are published
facts (`flux_to_diffusers` in comfy/utils.py, read 2026-11-26): they stand below as a table, and
diffusers' own converter of the same checkpoints, which splits the same fused layers, checks it.
"""

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers
from PIL import Image
from torch import Tensor

from lorweb_bench.errors import InputError
from reference_model.analysis.space import lora_tensors, open_space
from reference_model.bases.registry import shaped_transformer
from reference_model.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS, nodes
from reference_model.comfyui.nodes import LorwebAnalogy, LorwebAnswer, analogy_grid
from reference_model.model.basis import Basis

KONTEXT = "black-forest-labs/FLUX.1-Kontext-dev"
HIDDEN = 3072
# What ComfyUI's loader patches, in a double and in a single block: the layer of diffusers, the
# layer of ComfyUI, and which rows of its weight, in units of the hidden size (None: all).
DOUBLE = {
    "attn.to_q": ("img_attn.qkv", (0, 1)),
    "attn.to_k": ("img_attn.qkv", (1, 2)),
    "attn.to_v": ("img_attn.qkv", (2, 3)),
    "attn.add_q_proj": ("txt_attn.qkv", (0, 1)),
    "attn.add_k_proj": ("txt_attn.qkv", (1, 2)),
    "attn.add_v_proj": ("txt_attn.qkv", (2, 3)),
    "attn.to_out.0": ("img_attn.proj", None),
    "attn.to_add_out": ("txt_attn.proj", None),
    "norm1.linear": ("img_mod.lin", None),
    "norm1_context.linear": ("txt_mod.lin", None),
    "ff.net.0.proj": ("img_mlp.0", None),
    "ff.net.2": ("img_mlp.2", None),
    "ff_context.net.0.proj": ("txt_mlp.0", None),
    "ff_context.net.2": ("txt_mlp.2", None),
}
SINGLE = {
    "attn.to_q": ("linear1", (0, 1)),
    "attn.to_k": ("linear1", (1, 2)),
    "attn.to_v": ("linear1", (2, 3)),
    "proj_mlp": ("linear1", (3, 7)),
    "norm.linear": ("modulation.lin", None),
    "proj_out": ("linear2", None),
}
BLOCKS = {
    "transformer_blocks": ("double_blocks", DOUBLE),
    "single_transformer_blocks": ("single_blocks", SINGLE),
}


def published(layer: str) -> tuple[str, tuple[int, int] | None]:
    """The layer of ComfyUI that a layer of diffusers is, and its rows."""
    kind, number, rest = layer.split(".", 2)
    block, layers = BLOCKS[kind]
    name, rows = layers[rest]
    return f"{block}.{number}.{name}", rows


def test_every_adapted_layer_of_kontext_has_a_name_in_comfyui() -> None:
    with torch.device("meta"):
        basis = Basis(shaped_transformer(KONTEXT), 2, 1, 1.0)
    assert len(basis.layers) == 494  # all linear layers in the blocks, as in the paper
    for layer, module in basis.layers.items():
        name, rows = published(layer)
        assert name.split(".")[0] in ("double_blocks", "single_blocks")
        if rows is not None:  # the update has the rows that it is added to
            assert module.out_features == (rows[1] - rows[0]) * HIDDEN
    written = lora_tensors({layer: (torch.ones(1), torch.ones(1)) for layer in basis.layers})
    # The loader takes `transformer.<layer>.lora_B.weight` beside `.lora_A.weight`, and a file that
    # says nothing of alpha is added as it is.
    expected = {f"transformer.{x}.lora_{part}.weight" for x in basis.layers for part in "AB"}
    assert written.keys() == expected


def test_the_published_names_are_those_that_diffusers_itself_converts_from() -> None:
    original = original_weights()
    converted = convert_flux_transformer_checkpoint_to_diffusers(dict(original))
    for kind in BLOCKS:
        for rest in BLOCKS[kind][1]:
            name, rows = published(f"{kind}.0.{rest}")
            weight = original[f"{name}.weight"]
            if rows is not None:
                weight = weight[rows[0] * HIDDEN : rows[1] * HIDDEN]
            assert torch.equal(converted[f"{kind}.0.{rest}.weight"], weight), (kind, rest)


def original_weights() -> dict[str, Tensor]:
    """A double and a single block under the names of their authors, with one column for each layer:
    what is fused is cut by rows.
    """
    rows = {}
    for side in ("img", "txt"):
        block = f"double_blocks.0.{side}"
        rows |= {f"{block}_mod.lin": 6, f"{block}_attn.qkv": 3, f"{block}_attn.proj": 1}
        rows |= {f"{block}_mlp.0": 4, f"{block}_mlp.2": 1}
    block = "single_blocks.0"
    rows |= {f"{block}.modulation.lin": 3, f"{block}.linear1": 7, f"{block}.linear2": 1}
    for embedder in ("time_in", "vector_in", "guidance_in"):
        rows |= {f"{embedder}.in_layer": 1, f"{embedder}.out_layer": 1}
    rows |= {"txt_in": 1, "img_in": 1, "final_layer.linear": 1}
    rows |= {"final_layer.adaLN_modulation.1": 2}
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, units in rows.items():
        weights[f"{name}.weight"] = torch.randn(units * HIDDEN, 1, generator=generator)
        weights[f"{name}.bias"] = torch.zeros(units * HIDDEN)
    norms = ("double_blocks.0.img_attn", "double_blocks.0.txt_attn", "single_blocks.0")
    for norm in norms:
        for part in ("query_norm", "key_norm"):
            weights[f"{norm}.norm.{part}.scale"] = torch.ones(128)
    return weights


def batch(seed: int, height: int = 24, width: int = 40) -> Tensor:
    """A picture as ComfyUI hands it on."""
    return torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the node hands to ComfyUI's `load_lora_for_models`, which is not here."""
    calls: list[tuple[Any, ...]] = []

    def load_lora_for_models(*given: Any) -> tuple[str, None]:
        calls.append(given)
        return "patched", None

    sd = ModuleType("comfy.sd")
    sd.load_lora_for_models = load_lora_for_models  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "comfy", ModuleType("comfy"))
    monkeypatch.setitem(sys.modules, "comfy.sd", sd)
    return calls


def test_the_node_patches_the_model_with_the_analogys_own_lora(
    loader: list[tuple[Any, ...]],
    trained: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = open_space(trained("lorweb"))
    monkeypatch.setattr(nodes, "loadable_space", lambda checkpoint: space)
    a, a_prime, b = (batch(n) for n in range(3))
    patched, grid = LorwebAnalogy().patch("model", "there", a, a_prime, b, 0.5, 64)
    assert patched == "patched" and grid.shape == (1, 2 * 32, 2 * 64, 3)
    model, clip, lora, strength, clip_strength = loader[0]
    assert (model, clip, strength, clip_strength) == ("model", None, 0.5, 0.0)
    pictures = nodes.to_picture(a), nodes.to_picture(a_prime), nodes.to_picture(b)
    expected = lora_tensors(space.fold(space.coefficients([pictures])[0]))
    assert all(torch.equal(lora[name], weight) for name, weight in expected.items())


def test_the_grid_shows_the_pair_above_and_b_twice_below() -> None:
    colours = ("red", "lime", "blue")
    a, a_prime, b = (Image.new("RGB", (50, 30), colour) for colour in colours)
    grid = analogy_grid(a, a_prime, b, 48)
    height, width = grid.shape[0] // 2, grid.shape[1] // 2
    corners = [grid[0, 0], grid[0, width], grid[height, 0], grid[height, width]]
    expected = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 255)]
    assert np.array_equal(corners, expected) and (width, height) == (48, 32)


def test_the_answer_is_the_lower_right_quarter() -> None:
    grid = torch.zeros(2, 8, 12, 3)
    grid[:, 4:, 6:] = 1
    (answer,) = LorwebAnswer().cut(grid)
    assert answer.shape == (2, 4, 6, 3) and bool((answer == 1).all())


def test_a_checkpoint_for_another_base_is_refused(trained: Callable[[str], Path]) -> None:
    with pytest.raises(InputError, match="ComfyUI runs flux-kontext in the layout paper"):
        nodes.loadable_space(str(trained("lorweb")))


def test_half_a_second_pair_is_refused(
    loader: list[tuple[Any, ...]], trained: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = open_space(trained("lorweb"))
    monkeypatch.setattr(nodes, "loadable_space", lambda checkpoint: space)
    with pytest.raises(InputError, match="connect both"):
        LorwebAnalogy().patch("model", "x", batch(0), batch(1), batch(2), second_a=batch(3))


def test_the_nodes_are_declared_as_comfyui_and_its_registry_ask() -> None:
    assert NODE_CLASS_MAPPINGS.keys() == NODE_DISPLAY_NAME_MAPPINGS.keys()
    for node in NODE_CLASS_MAPPINGS.values():
        assert callable(getattr(node, node.FUNCTION)) and node.CATEGORY
        assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
        assert "required" in node.INPUT_TYPES()
    manifest = Path(nodes.__file__).with_name("pyproject.toml")
    about = tomllib.loads(manifest.read_text())
    assert about["tool"]["comfy"]["PublisherId"] and about["project"]["version"].count(".") == 2
    assert "comfyui" not in about["project"]["name"].lower()  # as the registry advises
