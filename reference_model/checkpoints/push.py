"""Putting a checkpoint, or a LoRA that `compose` wrote, on the hub with a card made from it."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from lorweb_bench.errors import InputError
from lorweb_bench.reports.hub_results import Benchmark, write_eval_results
from lorweb_bench.reports.report import REPORT, open_report
from lorweb_bench.runtime.hub import Upload
from reference_model.checkpoints.checkpoint import checkpoint_folder, read_config
from reference_model.checkpoints.model_card import checkpoint_card, lora_card, report_path

CARD = "README.md"
NEEDED = ("config.json", "adapter_model.safetensors", "router.safetensors")
OPTIONAL = ("known_pairs.safetensors",)


@dataclass(frozen=True)
class Statements:
    """What its owner says of a model.

    Attributes:
        licence: The hub's identifier of its licence.
        base_model: The base's repository, where the checkpoint does not name one.
        reports: Folders of reports of it.
        dataset: The dataset repository of the suite that they are of; the scores are then written
            as the hub's evaluation results too.
    """

    licence: str = "other"
    base_model: str | None = None
    reports: Sequence[Path] = ()
    dataset: str | None = None


@contextlib.contextmanager
def collected(model: Path, repo: str, said: Statements) -> Iterator[Upload]:
    """What goes to the hub, in a folder that is there while the block runs.

    A card that lies in the checkpoint's folder goes as it is; else one is made.

    Args:
        model: A checkpoint, or the .safetensors file of a composed LoRA.
        repo: The repository, `owner/name`.
        said: What its owner says of it.

    Raises:
        InputError: It is neither, it is not whole, or a report is not of it.
    """
    with tempfile.TemporaryDirectory() as staging:
        folder = Path(staging)
        if model.suffix == ".safetensors":
            _collect_lora(model, repo, said, folder)
        else:
            _collect_checkpoint(checkpoint_folder(model), repo, said, folder)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = tuple((path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths)
        yield Upload(folder, files)


def _collect_checkpoint(model: Path, repo: str, said: Statements, folder: Path) -> None:
    read_config(model, with_base=False)
    for name in NEEDED:
        if not (model / name).is_file():
            raise InputError(f"{model / name} is missing; copy or train the checkpoint again.")
    for name in (*NEEDED, *OPTIONAL, CARD):
        if (model / name).is_file():
            (folder / name).symlink_to((model / name).resolve())
    reports = [open_report(path) for path in said.reports]
    for number, path in enumerate(said.reports):
        target = folder / report_path(number)
        target.parent.mkdir(parents=True)
        file = path / REPORT if path.is_dir() else path
        target.write_bytes(file.read_bytes())
    card = checkpoint_card(model, repo, reports, said.licence, said.base_model)
    if not (folder / CARD).exists():
        (folder / CARD).write_text(card)
    if said.dataset is not None:
        for report in reports:
            write_eval_results(report, Benchmark(said.dataset), folder)


def _collect_lora(file: Path, repo: str, said: Statements, folder: Path) -> None:
    if said.reports:
        raise InputError(f"{file} is the LoRA of one analogy, which no report is of; leave it out.")
    try:
        with safe_open(file, framework="np") as opened:
            header = dict(opened.metadata() or {})
            names = list(opened.keys())
    except Exception as error:  # safetensors has an error class of its own
        reason = " ".join(str(error).split())
        raise InputError(f"{file} is no whole safetensors file ({reason}).") from None
    if not any(".lora_A." in name for name in names):
        raise InputError(f"{file} is no LoRA; name a file that `lorweb-bench compose` wrote.")
    (folder / file.name).symlink_to(file.resolve())
    (folder / CARD).write_text(lora_card(file, header, repo, said.licence))
