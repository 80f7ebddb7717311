"""Checkpoints: what is written is what is read, also by stock diffusers, and what is wrong with a
folder is named.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel
from diffusers.loaders.lora_pipeline import FluxLoraLoaderMixin
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from lorweb_bench.cli.main import main
from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from lorweb_bench.methods.base import load_method
from reference_model.bases.base import Base
from reference_model.bases.registry import load_base
from reference_model.checkpoints.checkpoint import load_checkpoint, write_checkpoint
from reference_model.config import TrainConfig
from reference_model.method import adapter_predictor, from_checkpoint
from reference_model.model.adapter import new_adapter
from reference_model.model.basis import Basis
from reference_model.model.grid_layout import context_sequence
from reference_model.sampling import predict_velocity

Config = Callable[..., TrainConfig]
Trained = Callable[[str], Path]
KINDS = ("lorweb", "single-lora", "token-control")
ADAPTER, ROUTER = "adapter_model.safetensors", "router.safetensors"


def panels(size: int = 16) -> torch.Tensor:
    """a, a', b of two samples."""
    return torch.randint(
        0, 256, (3, 2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("layout", "pair_shrink"), [("target-only", 1), ("target-only", 2), ("paper", 1)]
)
def test_what_is_written_predicts_the_same_when_read_again(
    config: Config, tmp_path: Path, kind: str, layout: str, pair_shrink: int
) -> None:
    settings = config(kind, layout=layout, pair_shrink=pair_shrink)
    adapter = new_adapter(settings, seed=3)
    for parameter in adapter.trainable().parameters():
        nn.init.normal_(parameter, std=0.3)
    write_checkpoint(tmp_path, adapter, settings, {"identity": "x"})
    again, found = load_checkpoint(tmp_path)
    assert found.model_dump(exclude={"dataset"}) == settings.model_dump(exclude={"dataset"})
    a, a_prime, b = panels()
    analogy = ([(a, a_prime)], b)
    with torch.inference_mode():
        ours, theirs = (
            adapter_predictor(x, settings)(*analogy, ["", ""], [1, 2]) for x in (adapter, again)
        )
        untrained = adapter_predictor(new_adapter(settings, seed=3), settings)(
            *analogy, ["", ""], [1, 2]
        )
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, untrained)
    assert not any(p.requires_grad for p in again.trainable().parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_names_are_those_that_stock_diffusers_loads(
    trained: Trained, base: Base, kind: str
) -> None:
    names = load_file(trained(kind) / ADAPTER).keys()
    linear = [
        n
        for n, m in base.transformer.named_modules()
        if isinstance(m, nn.Linear) and "transformer_blocks." in n
    ]
    assert names == {f"transformer.{n}.lora_{part}.weight" for n in linear for part in "AB"}
    assert {p.suffix for p in trained(kind).iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("alpha", [4, 10])  # of rank 4
def test_stock_diffusers_runs_a_single_lora_as_we_do(
    config: Config, tmp_path: Path, alpha: int
) -> None:
    """By the two calls that `FluxKontextPipeline.load_lora_weights` makes."""
    settings = config("single-lora", adapter={"alpha": alpha})
    adapter = new_adapter(settings, seed=3)
    for parameter in adapter.basis.parameters():
        nn.init.normal_(parameter, std=0.3)
    write_checkpoint(tmp_path, adapter, settings, {"identity": "x"})
    untouched, stock = load_base(settings.base), load_base(settings.base)
    weights, alphas, metadata = FluxLoraLoaderMixin.lora_state_dict(
        tmp_path, weight_name=ADAPTER, return_alphas=True, return_lora_metadata=True
    )
    FluxLoraLoaderMixin.load_lora_into_transformer(
        weights, alphas, stock.transformer, metadata=metadata
    )
    a, a_prime, b = (adapter.base.codec.encode(x) for x in panels())
    sequenced, noisy, time = (
        context_sequence("target-only", a, a_prime, b),
        torch.randn(2, 4, 192),
        torch.tensor([1.0, 0.6]),
    )
    prompt = adapter.prompt(["", ""], None)
    with torch.inference_mode():
        ours, theirs, without = (
            predict_velocity(x, noisy, sequenced, time, prompt)
            for x in (adapter.base, stock, untouched)
        )
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-6)
    assert (ours - without).abs().max() > 1e-3


def test_stock_diffusers_runs_one_folded_analogy_as_we_do(
    flux: Callable[..., FluxTransformer2DModel], flux_inputs: Callable[..., dict[str, Any]]
) -> None:
    """On diffusers' own transformer, loaded by its own method.

    The gates go into B, and nothing else is needed.
    """
    transformer = flux()
    basis = Basis(transformer, elements=3, rank=2, alpha=2)
    torch.manual_seed(0)
    for parameter in basis.parameters():
        nn.init.normal_(parameter, std=0.3)
    basis.gates = torch.randn(len(basis.layers), 1, 3).softmax(-1)
    gates = dict(zip(basis.layers, basis.gates, strict=True))
    folded = {}
    for name, weight in basis.tensors().items():
        layer = name.removeprefix("transformer.").rsplit(".", 2)[0]
        scale = gates[layer][0].repeat_interleave(2)
        folded[name] = (weight * scale if "lora_B" in name else weight).detach()
    stock = flux()
    stock.load_lora_adapter(folded, prefix="transformer")
    inputs = flux_inputs(batch=1)
    with torch.inference_mode():
        torch.testing.assert_close(
            stock(**inputs)[0], transformer(**inputs)[0], rtol=1e-4, atol=1e-5
        )
        assert (stock(**inputs)[0] - flux()(**inputs)[0]).abs().max() > 1e-2


def broken(trained: Trained, tmp_path: Path, kind: str = "lorweb") -> Path:
    """A copy to damage."""
    return shutil.copytree(trained(kind), tmp_path / "broken")


@pytest.mark.parametrize("file", ["config.json", ADAPTER, ROUTER])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "other"])
def test_a_file_that_is_not_whole_is_named(
    trained: Trained, tmp_path: Path, file: str, damage: str
) -> None:
    path = broken(trained, tmp_path) / file
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "other": b"[]"}[damage])
    with pytest.raises(InputError, match=rf"broken.{file}"):
        load_checkpoint(path.parent)


def spoilt(tensors: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    """The tensors with the last one, or all of them, spoilt."""
    last = max(tensors)
    changes = {
        "nan": torch.full_like(tensors[last], float("nan")),
        "infinity": torch.full_like(tensors[last], float("inf")),
        "integers": torch.zeros_like(tensors[last], dtype=torch.int32),
        "shape": tensors[last][..., :-1].contiguous(),
    }
    return {**tensors, last: changes[how]}


@pytest.mark.parametrize("how", ["nan", "infinity", "integers", "shape"])
@pytest.mark.parametrize("file", [ADAPTER, ROUTER])
@pytest.mark.parametrize("door", ["apply", "predict", "compose"])
def test_weights_that_are_spoilt_are_named_at_every_door(
    trained: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    door: str,
    file: str,
    how: str,
) -> None:
    folder = broken(trained, tmp_path)
    path = folder / file
    save_file(spoilt(load_file(path), how), path)
    picture = tmp_path / "picture.png"
    Image.new("RGB", (16, 16), "red").save(picture)
    pictures = [str(picture)] * 3
    commands = {
        "apply": ["apply", "--model", str(folder), *pictures, "-o", str(tmp_path / "b.png")],
        "compose": [
            *("compose", "--model", str(folder), *pictures),
            *("-o", str(tmp_path / "b.safetensors")),
        ],
    }
    if door == "predict":
        with pytest.raises(InputError) as caught:
            load_method(str(folder))
        said = str(caught.value)
    else:
        with pytest.raises(SystemExit) as ended:
            main(commands[door])
        assert ended.value.code == 2
        said = capsys.readouterr().err
    assert file in said and "Traceback" not in said
    assert max(load_file(path)) in said.replace("\n", " ")
    assert not list(tmp_path.glob("b.*"))


@pytest.mark.parametrize(("kind", "needs"), [("lorweb", "true"), ("single-lora", "false")])
def test_a_basis_says_in_its_header_that_it_needs_gates(
    trained: Trained, kind: str, needs: str
) -> None:
    with safe_open(trained(kind) / ADAPTER, "pt") as file:
        header = file.metadata()
    assert (header["lorweb_bench.kind"], header["lorweb_bench.needs_gates"]) == (kind, needs)
    assert ("modelspec.description" in header) == (needs == "true")


@pytest.mark.parametrize("seed", [-1, 0, 2**63, 2**64 + 5, -(10**30)])
def test_seeds_may_be_of_any_size(
    trained: Trained, triplet: Callable[..., Triplet], seed: int
) -> None:
    shown = replace(triplet(0), seed=seed)
    method = from_checkpoint(trained("lorweb"))
    first, second = (np.asarray(method.predict([shown])[0]) for _ in range(2))
    assert np.array_equal(first, second)


def change(path: Path, **changes: Any) -> None:
    """Change keys of a checkpoint's config."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": "lorweb-bench/suite"}, "not of format `lorweb-bench/checkpoint`"),
        ({"format_version": 2}, "not of format `lorweb-bench/checkpoint` 1"),
        ({"adapter": {"kind": "lora"}}, r"adapter\.kind is 'lora'"),
        ({"panel": "wide"}, "panel is 'wide'"),
        ({"base": "no-such-base"}, "no base 'no-such-base', and no folder of that name"),
        ({"base_sha256": "0" * 64}, "was trained on another"),
        ({"encoder_sha256": "0" * 64}, "was trained on another"),
        ({"base_sha256": None}, "was trained on another"),
        (
            {"adapter": {"kind": "lorweb", "elements": 4, "rank": 2, "alpha": 2, "key_width": 4}},
            rf"{ADAPTER}.*is \(6, 32\).*ask for \(8, 32\)",
        ),
        (
            {"adapter": {"kind": "lorweb", "elements": 3, "rank": 2, "alpha": 2, "key_width": 5}},
            rf"{ROUTER}: does not fit",
        ),
        ({"adapter": {"kind": "single-lora", "rank": 6, "alpha": 6}}, rf"{ROUTER}: does not fit"),
    ],
)
def test_a_config_that_is_wrong_is_named(
    trained: Trained, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    folder = broken(trained, tmp_path)
    change(folder / "config.json", **changes)
    with pytest.raises(InputError, match=sentence) as caught:
        load_checkpoint(folder)
    assert "broken" in str(caught.value) or "base" in changes
    assert "\n" not in str(caught.value)


def test_weights_of_another_base_are_named(trained: Trained, tmp_path: Path) -> None:
    path = broken(trained, tmp_path) / ADAPTER
    weights = load_file(path)
    first = min(weights)
    save_file({k: v for k, v in weights.items() if k != first}, path)
    with pytest.raises(InputError, match=rf"{ADAPTER}: 1 weights are missing, `{first}` first"):
        load_checkpoint(path.parent)
    save_file(
        {**weights, "transformer.transformer_blocks.7.ff.lora_A.weight": torch.zeros(1)}, path
    )
    with pytest.raises(
        InputError,
        match=rf"{ADAPTER}: 1 weights fit no layer of the base, `transformer.transformer_blocks.7",
    ):
        load_checkpoint(path.parent)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"nothing.config\.json: no checkpoint there.*lorweb-bench train"
    ):
        from_checkpoint(tmp_path / "nothing")


def test_a_method_says_what_it_is(trained: Trained, triplet: Callable[..., Triplet]) -> None:
    method = from_checkpoint(str(trained("lorweb")))
    trainable = json.loads((trained("lorweb") / "config.json").read_text())["trainable_parameters"]
    assert (method.name, method.describe()["kind"], method.describe()["trainable_parameters"]) == (
        "lorweb",
        "lorweb",
        trainable,
    )
    assert len(method.predict([triplet(0)])) == 1
