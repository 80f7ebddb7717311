"""Weights on disk: the same bytes for the same content, and never half a file."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from lorweb_bench.errors import InputError
from reference_model.training.resume_state import load_state, save_state, write_tensors


def test_the_same_content_gives_the_same_bytes_whatever_the_order_of_the_metadata(
    tmp_path: Path,
) -> None:
    tensors = {"b": torch.arange(6.0).view(2, 3).T, "a": torch.ones(1, dtype=torch.float16)}
    about = {f"key {i}": f'{{"of": "a \\"word\\" – {i}\\n"}}' for i in range(8)}
    for i in range(4):
        write_tensors(
            tmp_path / str(i), dict(reversed(tensors.items())) if i % 2 else tensors, about
        )
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    with safe_open(tmp_path / "0", "pt") as file:
        assert file.metadata() == about
        assert all(torch.equal(file.get_tensor(k), v) for k, v in tensors.items())
    write_tensors(tmp_path / "plain", tensors)
    with safe_open(tmp_path / "plain", "pt") as file:
        assert not file.metadata()


def test_a_state_brings_back_weights_and_moments_and_leaves_frozen_weights_alone(
    tmp_path: Path,
) -> None:
    def made() -> tuple[nn.Sequential, torch.optim.Optimizer]:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
        module[1].requires_grad_(False)
        return module, torch.optim.AdamW(module[0].parameters(), lr=0.1)

    def step(module: nn.Module, optimizer: torch.optim.Optimizer, n: int) -> None:
        optimizer.zero_grad()
        module(torch.full((1, 3, 8, 8), float(n))).square().sum().backward()
        optimizer.step()

    whole, optimizer = made()
    for n in range(6):
        step(whole, optimizer, n)
        if n == 2:
            save_state(tmp_path / "state", 3, whole, optimizer, "run", [0.5, 0.25, 0.1])
    resumed, optimizer = made()
    assert load_state(tmp_path / "state", resumed, optimizer, "run") == (3, [0.5, 0.25, 0.1])
    for n in range(3, 6):
        step(resumed, optimizer, n)
    assert all(
        torch.equal(x, y) for x, y in zip(whole.parameters(), resumed.parameters(), strict=True)
    )
    with pytest.raises(InputError, match="other settings"):
        load_state(tmp_path / "state", resumed, optimizer, "another run")
    assert load_state(tmp_path / "none", resumed, optimizer, "run") == (0, [])


def damaged(
    path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, str]], object]
) -> None:
    with safe_open(path, "pt") as file:
        about = file.metadata()
    tensors = load_file(path)
    change(tensors, about)
    save_file(tensors, path, about)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t, _: t.pop("weight/bias"), "`bias` is missing"),
        (lambda t, _: t.update({"weight/bias": torch.ones(3)}), r"`bias` is \(3,\)"),
        (
            lambda t, _: t.update({"weight/bias": torch.ones(2, dtype=torch.int32)}),
            "of torch.int32",
        ),
        (lambda t, _: t["weight/weight"].fill_(float("nan")), "`weight/weight` holds infinity"),
        (lambda t, _: t["exp_avg/weight"].fill_(float("inf")), "`exp_avg/weight` holds infinity"),
        (lambda _, about: about.pop("losses"), "its header has no `losses`"),
    ],
)
def test_a_state_that_would_spoil_a_training_is_refused(
    tmp_path: Path, change: Callable[..., object], sentence: str
) -> None:
    module = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    path = tmp_path / "training_state.safetensors"
    save_state(path, 1, module, optimizer, "run", [0.5])
    damaged(path, change)
    with pytest.raises(InputError, match=sentence) as caught:
        load_state(path, module, optimizer, "run")
    assert "delete it to train from the start" in str(caught.value)
