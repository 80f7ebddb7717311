"""Training state on disk: weights, AdamW's moments and the step in one safetensors file, so that a
run resumes to the same bytes.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from lorweb_bench.errors import InputError

WRITING = ".writing-"


def write_tensors(
    path: Path, tensors: dict[str, Tensor], about: dict[str, str] | None = None
) -> None:
    """Write a safetensors file atomically, by way of a folder beside it, in which a kill may leave
    something; each process has its own.
    """
    writing = path.parent / f"{WRITING}{os.environ.get('RANK', 0)}"
    writing.mkdir(parents=True, exist_ok=True)
    temporary = writing / path.name
    save_file(
        {k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary, metadata=about
    )
    with temporary.open("r+b") as file:
        if about:
            _sort_metadata(file)
        file.flush()
        os.fsync(file.fileno())
    mask = os.umask(0)
    os.umask(mask)
    temporary.chmod(0o666 & ~mask)  # safetensors makes files that only their owner can read
    temporary.replace(path)
    with contextlib.suppress(OSError):  # something of a kill is in it
        writing.rmdir()


def clear_writing(folder: Path) -> None:
    """Take away what kills have left in a folder that is whole now."""
    for unfinished in folder.glob(f"{WRITING}*"):
        shutil.rmtree(unfinished, ignore_errors=True)


def _sort_metadata(file: BinaryIO) -> None:
    """Put the header's metadata in order, in place.

    Safetensors writes it in an order that differs from one call to the next.
    """
    size = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(size))
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    assert len(text) <= size
    file.seek(8)
    file.write(text.ljust(size))


def whole(tensor: Tensor) -> Tensor:
    """A tensor in one piece, gathered by all processes together where FSDP spread it over them."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _placed(value: Tensor, like: Tensor) -> Tensor:
    """A tensor where and as `like` is: on its device, spread over the processes if that is."""
    if isinstance(like, DTensor) and value.shape == like.shape:
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return value.to(like.device)


def save_state(
    path: Path,
    step: int,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    identity: str,
    losses: list[float],
    scaler: Any = None,
    write: bool = True,
) -> None:
    """Write the trainable weights, the optimizer's state, the step and the losses so far.

    `identity` names the run's settings.

    Of several processes all call this and one writes. `scaler` is that of float16's gradients.
    """
    trainable = {n: p for n, p in module.named_parameters() if p.requires_grad}
    tensors: dict[str, Tensor] = {f"weight/{n}": whole(p) for n, p in trainable.items()}
    for name, parameter in trainable.items():
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}/{name}"] = (
                whole(value) if isinstance(value, Tensor) else torch.tensor(value)
            )  # bitsandbytes counts in int
    about = {"step": str(step), "identity": identity, "losses": json.dumps(losses)}
    if scaler is not None:
        about["scaler"] = json.dumps(scaler.state_dict())
    if write:
        write_tensors(path, tensors, about)


def load_state(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    identity: str,
    scaler: Any = None,
) -> tuple[int, list[float]]:
    """Restore what `save_state` wrote and return the step to go on from and the losses so far.

    (0, []) when there is no file.

    Raises InputError when the state is cut, or belongs to a run with other settings.
    """
    if not path.exists():
        return 0, []
    trainable = {n: p for n, p in module.named_parameters() if p.requires_grad}
    about, by_name = _read_state(path, identity)
    _check_state(path, by_name, trainable)
    with torch.no_grad():
        for name, parameter in trainable.items():
            moments = by_name[name]
            parameter.copy_(_placed(moments.pop("weight"), parameter))
            if moments:
                optimizer.state[parameter] = {
                    k: _restored(k, v, parameter) for k, v in moments.items()
                }
    if scaler is not None and "scaler" in about:
        scaler.load_state_dict(json.loads(about["scaler"]))
    return int(about["step"]), json.loads(about["losses"])


def _read_state(path: Path, identity: str) -> tuple[dict[str, str], dict[str, dict[str, Tensor]]]:
    """What a state says of itself, and its tensors by the weight's name and by what they are."""
    by_name: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            for key in file.keys():  # noqa: SIM118 - safe_open is no mapping
                moment, _, name = key.partition("/")
                by_name.setdefault(name, {})[moment] = file.get_tensor(key)
        missing = [name for name in ("identity", "step", "losses") if name not in about]
        if missing:
            raise ValueError(f"its header has no `{missing[0]}`")
    except Exception as error:  # safetensors has an error class of its own
        raise _damaged_state(path, str(error)) from error
    if about["identity"] != identity:
        raise InputError(
            f"{path}: left by a run with other settings; delete it, or name another output folder"
        )
    return about, by_name


def _check_state(
    path: Path,
    by_name: Mapping[str, Mapping[str, Tensor]],
    trainable: Mapping[str, nn.Parameter],
) -> None:
    """InputError where a weight is missing, has another shape, or anything is not finite."""
    for name, parameter in trainable.items():
        moments = by_name.get(name, {})
        if "weight" not in moments:
            raise _damaged_state(path, f"`{name}` is missing")
        weight = moments["weight"]
        if weight.shape != parameter.shape or not weight.is_floating_point():
            raise _damaged_state(
                path,
                f"`{name}` is {tuple(weight.shape)} of {weight.dtype}, and the adapter's is "
                f"{tuple(parameter.shape)} of {parameter.dtype}",
            )
        for moment, value in moments.items():
            if value.is_floating_point() and not value.isfinite().all():
                raise _damaged_state(path, f"`{moment}/{name}` holds infinity or NaN")


def _damaged_state(path: Path, reason: str) -> InputError:
    reason = " ".join(reason.split())[:200]
    return InputError(
        f"{path}: not a whole training state ({reason}); delete it to train from the start"
    )


def _restored(moment: str, value: Tensor, parameter: nn.Parameter) -> Tensor | int:
    if moment == "step":  # AdamW's is a float on the CPU, that of bitsandbytes an int
        return value if value.is_floating_point() else int(value)
    return _placed(value, parameter)
