"""Run by `accelerate launch` in every process.

The trainings of a plan, one after the other, and what each process wrote.

in_processes.py PLAN.json

A training of the plan has `config` and `output`; `stop`, the step after whose state it breaks off
as by Ctrl-C; `fsdp`, the accelerate config under which it runs. Beside the plan each process leaves
`process-<rank>.json`: the losses of each training, and the files that it opened to write, renamed
or made.
"""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from accelerate import Accelerator, DistributedType, FullyShardedDataParallelPlugin, PartialState
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from lorweb_bench.cli.main import main
from reference_model.training import caching
from reference_model.training import train as training

plan_file = Path(sys.argv[1])
plan: list[dict[str, Any]] = json.loads(plan_file.read_text())
losses: list[list[float]] = []
written: set[str] = set()
run, save_state, make_accelerator = training.run, training.save_state, training.make_accelerator

caching.SAMPLES_PER_SHARD, caching.PROMPTS_PER_SHARD = 4, 2  # so that each process has some to make
PartialState.destroy_process_group = lambda self, group=None: (
    None
)  # the next training of the plan goes on in the same group


def note_writing(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: what is written below the plan's folder."""
    paths: tuple[Any, ...] = ()
    if event in ("os.rename", "os.mkdir"):
        paths = arguments[:2] if event == "os.rename" else arguments[:1]
    elif event == "open" and arguments[2] is not None and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        paths = arguments[:1]
    written.update(str(path) for path in paths if str(path).startswith(str(plan_file.parent)))


def sharded(config: Any, folder: Path, launch: str) -> Accelerator:
    """Accelerate as the launch config sets it up on GPUs.

    It leaves FSDP out where processes run on a CPU, so it is told here.
    """
    arguments = launch_command_parser().parse_args(
        ["--config_file", launch, "--main_process_port", "0", "training.py"]
    )
    os.environ |= {
        k: v
        for k, v in prepare_multi_gpu_env(_validate_launch_command(arguments)[0]).items()
        if "FSDP" in k
    }
    accelerator = make_accelerator(config, folder)
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
    accelerator.state.distributed_type = DistributedType.FSDP
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    return accelerator


def train(step: dict[str, Any]) -> int:
    """Run `lorweb-bench train` as a step of the plan says; returns its exit code."""

    def run_and_note(*given: Any, **named: Any) -> list[float]:
        losses.append(run(*given, **named))
        return losses[-1]

    def save_and_stop(path: Path, done: int, *rest: Any) -> None:
        save_state(path, done, *rest)
        if done == step.get("stop"):
            raise KeyboardInterrupt

    training.run, training.save_state, training.make_accelerator = (
        run_and_note,
        save_and_stop,
        make_accelerator,
    )
    if "fsdp" in step:
        training.make_accelerator = lambda config, folder: sharded(config, folder, step["fsdp"])
    try:
        main(["train", step["config"], "-o", step["output"]])
    except SystemExit as ended:
        return int(ended.code or 0)
    raise AssertionError("main exits")


sys.addaudithook(note_writing)
for step in plan:
    code = train(step)
    assert code == (130 if "stop" in step else 0), f"{step}: ended with {code}"
note = plan_file.parent / f"process-{os.environ['RANK']}.json"
note.write_text(json.dumps({"losses": losses, "written": sorted(written - {str(note)})}))
