"""Killed at a named moment, by a signal that nothing can catch, a training goes on to the bytes of
an undisturbed one.

The training runs in a fork of the test's process, in which the code of that moment is made to kill
it: no moment is left to luck.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from lorweb_bench.errors import InputError
from reference_model.checkpoints import checkpoint
from reference_model.checkpoints.checkpoint import load_checkpoint
from reference_model.config import TrainConfig
from reference_model.training import resume_state
from reference_model.training import train as training
from reference_model.training.train import STATE, train

Config = Callable[..., TrainConfig]
FILES = (
    "adapter_model.safetensors",
    "config.json",
    "known_pairs.safetensors",
    "router.safetensors",
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(
    number: int, function: Callable[..., Any], before: Callable[..., None] | None = None
) -> Callable[..., Any]:
    """The function, which at its call of this number is followed by `before` with its arguments,
    and by death.
    """
    calls: list[int] = []

    def called(*given: Any, **named: Any) -> Any:
        calls.append(1)
        done = function(*given, **named)
        if len(calls) == number:
            if before is not None:
                before(*given)
            die()
        return done

    return called


def halve(_: Any, path: Path) -> None:
    """Leave half of a file, as if the rest were still to be written."""
    os.truncate(path, path.stat().st_size // 2)


def in_step() -> None:
    """In the third step: there are gradients, and no weight has moved."""
    Accelerator.backward = at_call(3, Accelerator.backward)


def in_optimizer() -> None:
    """In the fourth step, weights and moments have moved and nothing of it is saved."""
    torch.optim.AdamW.step = at_call(4, torch.optim.AdamW.step)


def in_saving() -> None:
    """The second state is half written."""
    resume_state.save_file = at_call(2, resume_state.save_file, halve)


def before_naming() -> None:
    """The second state is written, and has not got its name."""
    resume_state._sort_metadata = at_call(2, resume_state._sort_metadata)


def in_checkpoint() -> None:
    """All states are written, and half of the router."""
    resume_state.save_file = at_call(4, resume_state.save_file, halve)


def before_the_mark() -> None:
    """All weights are written, and not what marks the checkpoint as whole."""
    checkpoint.write_tensors = at_call(2, checkpoint.write_tensors)


def before_tidying() -> None:
    """The checkpoint is whole, and the state is still there."""
    training.write_checkpoint = at_call(1, training.write_checkpoint)


def in_cache() -> None:
    """The first shard of the cache is half written."""
    resume_state.save_file = at_call(1, resume_state.save_file, halve)


def between_shards() -> None:
    """A shard of the cache is written and not its sidecar."""
    from reference_model.training import caching

    caching.write_tensors = at_call(2, caching.write_tensors)


def killed(config: TrainConfig, folder: Path, moment: Callable[[], None]) -> None:
    """Train in a fork until the moment kills it."""
    child = os.fork()
    if child == 0:
        try:
            moment()
            train(config, folder)
        finally:
            os._exit(0)  # only a moment that never came gets here
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (
        f"not killed: {moment.__doc__}"
    )


@pytest.fixture(scope="module")
def undisturbed(config: Config, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the same training when nothing happens to it."""
    folder = train(config(training={"save_every": 2}), tmp_path_factory.mktemp("undisturbed"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "moment",
    [
        in_step,
        in_optimizer,
        in_saving,
        before_naming,
        in_checkpoint,
        before_the_mark,
        before_tidying,
    ],
    ids=lambda m: m.__name__,
)
def test_a_killed_training_goes_on_to_the_same_bytes(
    config: Config, undisturbed: dict[str, bytes], tmp_path: Path, moment: Callable[[], None]
) -> None:
    settings, folder = config(training={"save_every": 2}), tmp_path / "killed"
    killed(settings, folder, moment)
    assert (folder / STATE).exists() and (folder / "config.json").exists() == (
        moment is before_tidying
    )
    if moment is not before_tidying:
        with pytest.raises(InputError, match=r"killed.*no checkpoint there"):
            load_checkpoint(folder)
    train(settings, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == undisturbed
    assert sorted(undisturbed) == list(FILES)


@pytest.mark.parametrize("moment", [in_cache, between_shards], ids=lambda m: m.__name__)
def test_a_cache_whose_making_was_killed_becomes_the_same_cache(
    config: Config, tmp_path: Path, moment: Callable[[], None]
) -> None:
    def cached(name: str) -> TrainConfig:
        return config(cache=str(tmp_path / name), training={"steps": 1})

    killed(cached("killed"), tmp_path / "out", moment)
    assert not (tmp_path / "killed" / "cache.json").exists()
    for name in ("killed", "whole"):
        train(cached(name), tmp_path / f"{name}-out")
    found = [
        {
            p.relative_to(tmp_path / name): p.read_bytes()
            for p in (tmp_path / name).rglob("*")
            if p.is_file()
        }
        for name in ("killed", "whole")
    ]
    assert found[0] == found[1]
