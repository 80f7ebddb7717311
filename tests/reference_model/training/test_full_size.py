"""What training at full size needs, on a tiny FLUX.1-Kontext folder.

The same loop, the cache, quantised weights, memory, bad input.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from lorweb_bench.errors import InputError
from reference_model.config import TrainConfig
from reference_model.training import batches, caching
from reference_model.training import train as training
from reference_model.training.launching import out_of_memory_error
from reference_model.training.train import STATE, train

Config = Callable[..., TrainConfig]
ADAPTER = "adapter_model.safetensors"


@pytest.fixture
def flux_config(config: Config, tiny_flux_folder: Path, backbone: Path) -> Config:
    """A config on the tiny FLUX folder, with a random CLIP, prompts and exchanged pairs."""

    def make(**changes: object) -> TrainConfig:
        more: Any = changes.pop("training", {})
        steps = {"steps": 2, "batch": 2, "caption_dropout": 0.5, **more}
        chosen = {
            "base": str(tiny_flux_folder),
            "encoder": str(backbone),
            "layout": "paper",
            "prompt": "instruction",
            **changes,
        }
        return config(training=steps, **chosen)

    return make


def close(ours: Path, theirs: Path) -> None:
    first, second = load_file(ours / ADAPTER), load_file(theirs / ADAPTER)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("layout", ["paper", "target-only"])
def test_a_cached_training_ends_as_an_uncached_one_and_looks_at_nothing_again(
    flux_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    fresh = train(flux_config(layout=layout), tmp_path / "fresh")
    cached = flux_config(layout=layout, cache=str(tmp_path / "cache"))
    first = train(cached, tmp_path / "first")
    close(first, fresh)

    def refuse(*_: object) -> None:
        raise AssertionError("a whole cache is not made again")

    for module in (batches, caching, training):
        monkeypatch.setattr(module, "load_frozen_encoders", refuse)
    assert (train(cached, tmp_path / "second") / ADAPTER).read_bytes() == (
        first / ADAPTER
    ).read_bytes()
    with pytest.raises(InputError, match="holds the cache of other settings"):
        train(
            flux_config(layout=layout, prompt="none", cache=str(tmp_path / "cache")),
            tmp_path / "third",
        )
    shard = tmp_path / "cache" / "samples" / "000000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-8] + b"spoiled!")
    with pytest.raises(InputError, match=r"000000\.safetensors: not a whole shard of the cache"):
        train(cached, tmp_path / "fourth")


def test_a_batch_in_parts_trains_as_one_in_a_piece(config: Config, tmp_path: Path) -> None:
    whole = train(config(training={"batch": 4}), tmp_path / "whole")
    close(train(config(training={"batch": 4, "accumulation": 2}), tmp_path / "parts"), whole)


def test_a_sheet_of_predictions_is_written(flux_config: Config, tmp_path: Path) -> None:
    from PIL import Image

    train(
        flux_config(training={"sample_every": 2, "sample_rows": 3, "trackers": ["tensorboard"]}),
        tmp_path / "out",
    )
    assert Image.open(tmp_path / "out" / "samples" / "000002.png").size == (5 * 16, 3 * 16)
    assert list((tmp_path / "out" / "logs").rglob("events.out*"))


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_quantised_base_trains_with_moments_of_8_bits(
    flux_config: Config, tmp_path: Path, bits: str
) -> None:
    pytest.importorskip("bitsandbytes")
    out = train(flux_config(training={"quantize": bits, "optimizer": "adamw-8bit"}), tmp_path)
    assert all(weights.isfinite().all() for weights in load_file(out / ADAPTER).values())


def test_a_loss_that_is_no_number_names_the_batch_and_leaves_the_state(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = training.batch_loss
    calls: list[int] = []

    def spoiled(*given: object) -> torch.Tensor:
        calls.append(1)
        return found(*given) * (float("nan") if len(calls) == 3 else 1.0)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "batch_loss", spoiled)
    with pytest.raises(
        InputError, match=r"the loss is nan at step 2, batch q\d, q\d; the last state stays"
    ):
        train(config(training={"save_every": 1}), tmp_path)
    monkeypatch.undo()
    assert (tmp_path / STATE).exists()
    train(config(training={"save_every": 1}), tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: not enough"),
    ],
    ids=["gpu", "python", "processor"],
)
def test_running_out_of_memory_says_what_helps(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(training, "batch_loss", full)
    with pytest.raises(
        InputError,
        match=r"out of memory .*gradient_checkpointing: true.*accumulation.*quantize: 4bit",
    ) as caught:
        train(config(), tmp_path / "all")
    assert "layout: target-only" not in str(caught.value)
    saving = {
        "gradient_checkpointing": True,
        "accumulation": 2,
        "optimizer": "adamw-8bit",
        "quantize": "4bit",
        "precision": "bf16",
    }
    said = str(out_of_memory_error(config(training=saving), error))
    assert not any(
        setting in said
        for setting in ("gradient_checkpointing", "accumulation", "adamw-8bit", "quantize", "bf16")
    )
    assert "a smaller `panel` than 16" in said


def test_a_training_in_bfloat16_ends_near_one_in_float32(
    flux_config: Config, tmp_path: Path
) -> None:
    """The base is held in bfloat16, what is trained in float32."""
    losses = []
    for precision in ("no", "bf16"):
        AcceleratorState._reset_state(True)  # accelerate allows one precision a process
        try:
            out = train(
                flux_config(training={"precision": precision, "steps": 4}), tmp_path / precision
            )
        finally:
            AcceleratorState._reset_state(True)
        assert {weight.dtype for weight in load_file(out / ADAPTER).values()} == {torch.float32}
        losses.append(json.loads((out / "config.json").read_text())["losses"][0])
    assert losses[1] == pytest.approx(losses[0], rel=0.02) and losses[0] != losses[1]


def test_another_error_stays_what_it_is(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(training, "batch_loss", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train(config(), tmp_path)


def test_a_gradient_that_is_no_number_names_the_batch(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is finite, its gradient is not: that of a square root at zero."""
    found = training.batch_loss
    monkeypatch.setattr(
        training, "batch_loss", lambda *given: found(*given) + (found(*given) * 0).sqrt()
    )
    with pytest.raises(InputError, match=r"the gradient is nan at step 0, batch q\d, q\d"):
        train(config(), tmp_path)


def test_what_the_machine_cannot_do_is_said_before_anything_is_loaded(
    config: Config, tmp_path: Path
) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="fp16 needs a GPU"):
            train(config(training={"precision": "fp16"}), tmp_path)
    with pytest.raises(
        ValueError, match="cuts the batch of 4 into 3 parts, and they are not equal"
    ):
        config(training={"batch": 4, "accumulation": 3})
