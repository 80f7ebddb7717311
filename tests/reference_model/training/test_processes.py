"""Several processes, by `accelerate launch` on this machine's processor.

The same training as one process, and one set of files.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from torch.testing import assert_close

from lorweb_bench.errors import InputError
from reference_model.config import CONFIGS, TrainConfig
from reference_model.training import launching
from reference_model.training.train import train

FSDP = CONFIGS / "accelerate-fsdp.yaml"
WEIGHTS = ("adapter_model.safetensors", "router.safetensors")
LAUNCH = [
    "--multi_gpu",
    "--num_processes",
    "2",
    "--num_machines",
    "1",
    "--mixed_precision",
    "no",
    "--dynamo_backend",
    "no",
]


@dataclass
class Launched:
    """What two processes left: their folder, what each noted, and what both printed."""

    folder: Path
    notes: list[dict[str, Any]]
    printed: str
    errors: str

    def written(self, rank: int, below: str) -> set[str]:
        """What a process wrote below a folder."""
        return {
            Path(path).name
            for path in self.notes[rank]["written"]
            if Path(path).is_relative_to(self.folder / below)
        }


@pytest.fixture(scope="module")
def small(settings: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The tiny base."""
    return settings(training={"batch": 4, "save_every": 2})


@pytest.fixture(scope="module")
def flux(
    settings: Callable[..., dict[str, Any]], tiny_flux_folder: Path, backbone: Path
) -> dict[str, Any]:
    """FLUX, with prompts and a backbone."""
    models = {
        "base": str(tiny_flux_folder),
        "encoder": str(backbone),
        "layout": "paper",
        "prompt": "instruction",
    }
    return settings(
        training={"batch": 4, "save_every": 2, "steps": 4, "caption_dropout": 0.5}, **models
    )


@pytest.fixture(scope="module")
def launched(
    small: dict[str, Any], flux: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Launched:
    """Two processes train the tiny base, stopped after two steps and taken up again.

    FLUX from a cache, in parts; and with FSDP.
    """
    folder = tmp_path_factory.mktemp("launched")
    in_parts = {
        **flux,
        "cache": str(folder / "cache"),
        "training": {**flux["training"], "accumulation": 2},
    }
    for name, config in (("small", small), ("flux", in_parts)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    steps = [("small", {"stop": 2}), ("small", {}), ("flux", {}), ("sharded", {"fsdp": str(FSDP)})]
    plan = [
        {
            "config": str(folder / f"{'flux' if to == 'flux' else 'small'}.yaml"),
            "output": str(folder / to),
            **how,
        }
        for to, how in steps
    ]
    (folder / "plan.json").write_text(json.dumps(plan))
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        *LAUNCH,
        "--main_process_port",
        "0",
    ]
    command += [str(Path(__file__).with_name("in_processes.py")), str(folder / "plan.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    notes = [json.loads((folder / f"process-{rank}.json").read_text()) for rank in range(2)]
    return Launched(folder, notes, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def alone(
    small: dict[str, Any], flux: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, list[float]]]:
    """The same two trainings in one process, undisturbed, without a cache and in one piece.

    Their checkpoints and losses.
    """
    from reference_model.training import train as training

    found: dict[str, tuple[Path, list[float]]] = {}
    run, losses = training.run, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "run", lambda *given: losses.append(run(*given)) or losses[-1])
        for name, config in (("small", small), ("flux", flux)):
            folder = train(
                TrainConfig.model_validate(config), tmp_path_factory.mktemp("alone") / name
            )
            found[name] = (folder, losses[-1])
    return found


@pytest.mark.parametrize(
    ("run", "name", "like"), [(0, "small", "small"), (1, "flux", "flux"), (2, "sharded", "small")]
)
def test_two_processes_train_as_one(
    launched: Launched, alone: dict[str, tuple[Path, list[float]]], run: int, name: str, like: str
) -> None:
    """Resumed, with a cache and in parts, with weights spread over both.

    The losses of every step, and the weights.
    """
    folder, losses = alone[like]
    for note in launched.notes:
        assert note["losses"][run] == pytest.approx(losses, rel=1e-4)
    assert len(set(losses)) == len(losses)
    for file in WEIGHTS:
        ours, theirs = load_file(launched.folder / name / file), load_file(folder / file)
        assert ours.keys() == theirs.keys()
        for key, weight in theirs.items():
            assert_close(ours[key], weight, rtol=1e-3, atol=2e-4)
    first, second = (
        json.loads((path / "config.json").read_text()) for path in (launched.folder / name, folder)
    )
    assert (
        first["trainable_parameters"] == second["trainable_parameters"]
        and first["base_sha256"] == second["base_sha256"]
    )


def test_one_process_writes_the_checkpoint_and_says_so(launched: Launched) -> None:
    for name in ("small", "flux", "sharded"):
        files = {*WEIGHTS, "config.json", "known_pairs.safetensors"}
        assert {path.name for path in (launched.folder / name).iterdir()} == files
        assert {*files, "training_state.safetensors"} <= launched.written(0, name)
        assert launched.written(1, name) == set()
        assert launched.printed.count(f"checkpoint: {launched.folder / name}\n") == 1


def test_nothing_is_printed_but_our_own_lines(launched: Launched) -> None:
    """Neither by bitsandbytes, which PEFT imports, nor by diffusers and transformers as they load a
    base and a backbone.
    """
    foreign = [
        line
        for line in launched.errors.splitlines()
        if not re.match(r"training lorweb: \d/\d, loss|Stopped\.|$", line)
    ]
    assert foreign == []
    assert len(set(launched.printed.splitlines())) == 3


def test_the_cache_is_made_once_each_shard_by_one_process(launched: Launched) -> None:
    shards = {
        f"cache/{kind}": sorted((launched.folder / "cache" / kind).iterdir())
        for kind in ("samples", "prompts")
    }
    for below, files in shards.items():
        by_rank = [
            {name for name in launched.written(rank, below) if not name.startswith(".")}
            - {Path(below).name}
            for rank in range(2)
        ]
        assert by_rank[0] and by_rank[1]
        assert by_rank[0].isdisjoint(by_rank[1])
        assert by_rank[0] | by_rank[1] == {path.name for path in files}


def test_what_fsdp_cannot_spread_is_refused(config: Callable[..., TrainConfig]) -> None:
    for training, message in (
        ({"optimizer": "adamw-8bit"}, "optimizer: adamw-8bit"),
        ({"quantize": "4bit"}, "quantize: 4bit"),
    ):
        with pytest.raises(InputError, match=rf"training\.{message}.*FSDP"):
            launching.check_spreads(config(training=training).training, 2)
    with pytest.raises(InputError, match="fsdp_version: 1"):
        launching.check_spreads(config().training, 1)
    launching.check_spreads(config().training, 2)


def test_a_batch_that_cannot_be_shared_out_is_refused(config: Callable[..., TrainConfig]) -> None:
    with pytest.raises(
        InputError, match=r"training\.batch: 6 samples .* over 4 processes .* multiple of 8"
    ):
        launching.check_shares(config(training={"batch": 6, "accumulation": 2}).training, 4)
