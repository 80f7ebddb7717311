"""Training state on disk: weights, AdamW's moments and the step in one safetensors file, so that a run resumes to the same bytes."""

import json
import os
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lorweb_bench.errors import InputError


def write_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, str] | None = None) -> None:
    """Write a safetensors file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary, metadata=about)
    with temporary.open("r+b") as file:
        if about:
            _sort_metadata(file)
        file.flush()
        os.fsync(file.fileno())
    mask = os.umask(0)
    os.umask(mask)
    temporary.chmod(0o666 & ~mask)  # safetensors makes files that only their owner can read
    temporary.replace(path)


def _sort_metadata(file: BinaryIO) -> None:
    """Put the header's metadata in order, in place: safetensors writes it in an order that differs from one call to the next."""
    size = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(size))
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    assert len(text) <= size
    file.seek(8)
    file.write(text.ljust(size))


def save_state(path: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, identity: str, losses: list[float]) -> None:
    """Write the trainable weights, the optimizer's moments, the step and the losses so far; `identity` names the run's settings."""
    trainable = {n: p for n, p in module.named_parameters() if p.requires_grad}
    tensors: dict[str, Tensor] = {f"weight/{n}": p for n, p in trainable.items()}
    for name, parameter in trainable.items():
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}/{name}"] = value
    write_tensors(path, tensors, {"step": str(step), "identity": identity, "losses": json.dumps(losses)})


def load_state(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, identity: str) -> tuple[int, list[float]]:
    """Restore what `save_state` wrote and return the step to go on from and the losses so far; (0, []) when there is no file.

    Raises InputError when the state is cut, or belongs to a run with other settings.
    """
    if not path.exists():
        return 0, []
    trainable = {n: p for n, p in module.named_parameters() if p.requires_grad}
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
    except Exception as error:
        raise InputError(f"{path}: not a whole training state ({error}); delete it to train from the start") from error
    if about["identity"] != identity:
        raise InputError(f"{path}: left by a run with other settings; delete it, or name another output folder")
    with torch.no_grad():
        for name, parameter in trainable.items():
            parameter.copy_(tensors[f"weight/{name}"])
            moments = {k.split("/", 1)[0]: v for k, v in tensors.items() if k.split("/", 1)[1] == name and not k.startswith("weight/")}
            if moments:
                optimizer.state[parameter] = {k: v.to(parameter.device) if k != "step" else v for k, v in moments.items()}
    return int(about["step"]), json.loads(about["losses"])
