"""A checkpoint and a composed LoRA on the hub: what goes, the card that is made, and back again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from torch import nn

from lorweb_bench.cli.main import main
from lorweb_bench.errors import InputError
from lorweb_bench.reports.report import Report, write_report
from reference_model.checkpoints.checkpoint import checkpoint_folder, write_checkpoint
from reference_model.checkpoints.push import Statements, collected
from reference_model.config import TrainConfig
from reference_model.model.adapter import new_adapter

DATA = {"name": "my-photos", "version": "2", "fingerprint": "ab" * 32}
SCORE = {"transformations": 9, "samples": 90, "higher_is_better": True}


@pytest.fixture(scope="module")
def model(config: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = config()
    adapter = new_adapter(settings, seed=1)
    torch.manual_seed(2)
    for parameter in adapter.trainable().parameters():
        nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("checkpoint")
    about = {"identity": "x", "training_dataset": DATA, "trainable_parameters": 1234}
    write_checkpoint(folder, adapter, settings, about)
    return folder


@pytest.fixture
def report(model: Path, config: Callable[..., TrainConfig], tmp_path: Path) -> Path:
    """A report of the checkpoint on some suite."""
    scores = {
        "unseen": {"edit_recovery": {"mean": 0.25, "ci_low": 0.2, "ci_high": 0.3, **SCORE}},
        "seen": {"edit_recovery": {"mean": 0.5, **SCORE}},
    }
    content = {
        "suite": {"name": "photos", "version": "1", "fingerprint": "cd" * 32},
        "method": {"name": config().name, "version": "1"},
        "track": "closed",
        "prompt_mode": "none",
        "seed": 3,
        "scores": scores,
        "missing": 0,
        "environment": {},
    }
    write_report(tmp_path / "report", Report.model_validate(content))
    return tmp_path / "report"


def front_matter(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])


def card_of(model: Path, said: Statements) -> str:
    with collected(model, "me/mine", said) as upload:
        return (upload.folder / "README.md").read_text()


def pushed(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["push", *map(str, words)])
    return int(stop.value.code or 0)


def test_a_dry_run_shows_what_would_go(
    model: Path, report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pushed(model, "me/mine", "--dry-run", "--report", report, "--dataset", "me/photos") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == [
        ".eval_results/photos-closed-none.yaml",
        "README.md",
        "adapter_model.safetensors",
        "config.json",
        "reports/0/report.json",
        "router.safetensors",
    ]
    assert "model repository me/mine, private" in lines[-1]


def test_a_checkpoint_comes_back_from_the_hub_as_it_went(
    model: Path, hub: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pushed(model, "me/mine") == 0
    assert "/me/mine" in capsys.readouterr().out
    back = checkpoint_folder("hub:me/mine")
    for name in ("config.json", "adapter_model.safetensors", "router.safetensors"):
        assert (back / name).read_bytes() == (model / name).read_bytes()


def test_the_card_says_base_data_seed_and_scores(model: Path, report: Path) -> None:
    said = Statements("apache-2.0", "lab/base", reports=[report])
    card = card_of(model, said)
    matter = front_matter(card)
    assert (matter["base_model"], matter["base_model_relation"]) == ("lab/base", "adapter")
    assert (matter["license"], matter["library_name"]) == ("apache-2.0", "lorweb-bench")
    assert "my-photos 2, fingerprint `abababababab`" in card
    assert "| seed | 0 |" in card
    assert "0.250 (0.200 to 0.300) | 0.500 | [report.json](reports/0/report.json)" in card
    assert "--model hub:me/mine A A_PRIME B" in card


def test_a_base_in_a_folder_is_not_named_as_a_repository(model: Path) -> None:
    assert "base_model" not in front_matter(card_of(model, Statements()))


def test_a_card_of_ones_own_is_kept(model: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    (copy / "README.md").write_text("mine")
    assert card_of(copy, Statements()) == "mine"


def test_what_does_not_belong_together_is_refused(
    model: Path, report: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    content = (report / "report.json").read_text()
    other.mkdir()
    name = Report.model_validate_json(content).method.name
    (other / "report.json").write_text(content.replace(f'"{name}"', '"another"'))
    with pytest.raises(InputError, match="is of the method 'another'"):
        card_of(model, Statements(reports=[other]))
    (tmp_path / "cut.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="cut.safetensors is no whole safetensors file"):
        card_of(tmp_path / "cut.safetensors", Statements())
    with pytest.raises(InputError, match="router.safetensors is no LoRA"):
        card_of(model / "router.safetensors", Statements())
    with pytest.raises(InputError, match="no checkpoint there"):
        card_of(tmp_path, Statements())


def test_a_composed_lora_says_what_it_is(
    model: Path, triplet: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = triplet(7)
    for name, image in (("a", shown.a), ("a_prime", shown.a_prime), ("b", shown.b)):
        image.save(tmp_path / f"{name}.png")
    pictures = [str(tmp_path / f"{name}.png") for name in ("a", "a_prime", "b")]
    out = tmp_path / "edit.safetensors"
    for _ in range(2):  # the same analogy gives the same file
        with pytest.raises(SystemExit) as stop:
            main(["compose", "--model", str(model), *pictures, "-o", str(out), "--rank", "2"])
        assert stop.value.code == 0
        written = out.read_bytes()
    assert out.read_bytes() == written
    with safe_open(out, "pt") as file:
        header = file.metadata()
    assert header["modelspec.sai_model_spec"] == "1.0.1"
    assert header["modelspec.architecture"].endswith("/lora")
    assert header["modelspec.implementation"] == "diffusers"
    assert header["ss_network_dim"] == header["ss_network_alpha"] == "2"
    assert header["modelspec.hash_sha256"].startswith("0x")
    card = card_of(out, Statements("mit"))
    assert "A LoRA of rank 2" in card
    assert 'weight_name="edit.safetensors"' in card
    assert front_matter(card)["tags"][0] == "lora"
