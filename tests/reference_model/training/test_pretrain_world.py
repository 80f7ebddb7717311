"""Pretraining on a world: what the base knows, what it never sees, and going on after a stop."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from datagen.sources.scenes.compose import scene
from datagen.transformations import library
from lorweb_bench.cli.main import main
from lorweb_bench.data.composition import steps_of
from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import sha256_file
from reference_model.bases.registry import load_base
from reference_model.bases.tiny import OperatorFlux
from reference_model.config import CONFIGS, TrainConfig
from reference_model.instructed import edit_told
from reference_model.method import from_checkpoint
from reference_model.training import pretrain_world as pretraining
from reference_model.training.pretrain_world import (
    WorldPretrainingConfig,
    displacement_loss,
    pretrain_world,
    read_panels,
    read_world_config,
)
from reference_model.training.pretraining import Phase
from reference_model.training.train import train
from reference_model.training.world import World, WorldConfig, known_families, stack_panels

SIDE = 32
KNOWN = ["invert", "flip", "gamma"]


def write_panels(folder: Path, first: int, count: int) -> Path:
    """Scenes as panels, in a folder as `datagen panels` writes it."""
    folder.mkdir(parents=True)
    panels = np.stack([scene(first + n, SIDE, SIDE) for n in range(count)])
    np.save(folder / "panels.npy", panels)
    sources = [{"name": f"scene-{first + n}", "panels": 1} for n in range(count)]
    (folder / "sources.json").write_text(json.dumps({"side": SIDE, "sources": sources}))
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> WorldPretrainingConfig:
    """A base of one block that knows three families, trained for four steps."""
    folder = tmp_path_factory.mktemp("world")
    return WorldPretrainingConfig(
        panels=write_panels(folder / "panels", 0, 6),
        dev_panels=write_panels(folder / "dev", 100, 4),
        groups={"tones": ["gamma"]},
        world=WorldConfig(known=KNOWN, new_to_base=["sepia"], composed=["invert", "flip"]),
        transformer={"num_single_layers": 1, "num_layers": 0},
        threads=1,
        steps=4,
        batch=3,
        learning_rate=1e-3,
        warmup=1,
    )


@pytest.fixture(scope="module")
def finished(config: WorldPretrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run."""
    folder = tmp_path_factory.mktemp("finished")
    pretrain_world(config, folder)
    return folder


def test_a_stopped_pretraining_goes_on_to_the_same_bytes(
    config: WorldPretrainingConfig,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save = pretraining.save_state

    def save_and_stop(path: Path, step: int, *rest: Any) -> None:
        save(path, step, *rest)
        if step == 2:
            raise KeyboardInterrupt

    each_step = config.model_copy(update={"save_every": 1e-9})
    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "save_state", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain_world(each_step, tmp_path)
    pretrain_world(config, tmp_path)
    for name in ("base.safetensors", "config.json"):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


def test_more_steps_go_on_where_fewer_ended(
    config: WorldPretrainingConfig, finished: Path, tmp_path: Path
) -> None:
    pretrain_world(config.model_copy(update={"steps": 2}), tmp_path)
    pretrain_world(config, tmp_path)
    whole, added = (f / "base.safetensors" for f in (finished, tmp_path))
    assert whole.read_bytes() == added.read_bytes()


def test_other_settings_in_the_same_folder_are_refused(
    config: WorldPretrainingConfig, finished: Path
) -> None:
    with pytest.raises(InputError, match="other settings"):
        pretrain_world(config.model_copy(update={"seed": 1}), finished)


def test_the_base_says_what_it_knows_and_what_it_was_made_from(
    config: WorldPretrainingConfig, finished: Path
) -> None:
    about = json.loads((finished / "config.json").read_text())
    assert about["format"] == "lorweb-bench/base" and about["head"] == "operator"
    assert about["known_families"] == KNOWN and about["new_to_base"] == ["sepia"]
    assert about["sources"] == [f"scene-{n}" for n in range(6)]
    assert about["steps"] == 4 and len(about["losses"]) == 1
    assert {"invert", "flip", "then"} <= set(about["vocabulary"])
    assert "sepia" not in about["vocabulary"]
    base = load_base(str(finished))
    assert isinstance(base.transformer, OperatorFlux) and base.codec.patch == 16
    assert not base.transformer.operator.supervised_displacement
    panels = stack_panels(read_panels(config.panels)[:2])
    assert edit_told(base, panels, ["invert the colours", ""], [0, 1]).shape == panels.shape


def test_figures_are_told_by_group(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "figures.jsonl").read_text().splitlines()]
    assert len(lines) == 1 and lines[0]["step"] == 4 and lines[0]["samples"] == 12
    assert set(lines[0]) >= {"tones", "other", "composition", "composition_in_turns"}
    assert all(-1 <= lines[0][group] <= 1 for group in ("tones", "other", "composition"))


def test_an_untrained_base_hands_panels_back(config: WorldPretrainingConfig) -> None:
    base = pretraining.new_operator_base(["invert"], config)
    panels = stack_panels(read_panels(config.panels)[:3])
    assert torch.equal(edit_told(base, panels, ["invert"] * 3, [0, 1, 2], 2), panels)


def test_some_steps_teach_the_base_to_invert(config: WorldPretrainingConfig) -> None:
    torch.manual_seed(0)
    alone = WorldConfig(known=["invert"], compositions=0.0, copies=0.0)
    update = {"world": alone, "steps": 60, "batch": 4, "learning_rate": 3e-3, "average": 0.9}
    run = pretraining.WorldPretraining(config.model_copy(update=update), Path("unused"))
    losses = [run._step(step, run._draw(step)) for step in range(60)]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])


def drawn_families(world: World, count: int) -> list[tuple[str, ...]]:
    """The families of the steps of some transformations; empty for a copy."""
    random = np.random.default_rng(0)
    specs = [world.draw_spec(random) for _ in range(count)]
    return [tuple(s["family"] for s in steps_of(spec)) if spec else () for spec in specs]


def test_the_world_draws_what_the_config_says_and_nothing_that_is_new_to_the_base() -> None:
    settings = read_world_config(CONFIGS / "tiny-kplus.yaml", []).world
    world = World(settings, library(), known_families(settings, library()), np.zeros(0))
    families = drawn_families(world, 1500)
    steps = {family for each in families for family in each}
    assert not steps & set(settings.new_to_base) and len(steps) > 90
    singles = [each[0] for each in families if len(each) == 1]
    assert 0.35 < np.mean([len(each) == 2 for each in families]) < 0.45
    assert 0.01 < np.mean([not each for each in families]) < 0.06
    assert 0.88 < np.mean([name in settings.emphasised for name in singles]) < 0.97


def test_batches_are_edits_by_the_library_with_their_displacement(
    config: WorldPretrainingConfig,
) -> None:
    world = World(config.world, library(), KNOWN, read_panels(config.panels))
    edits = world.draw((1, 2), 40)
    same, other = world.draw((1, 2), 40), world.draw((1, 3), 40)
    assert torch.equal(edits.after, same.after) and not torch.equal(edits.after, other.after)
    for index, prompt in enumerate(edits.prompts):
        if prompt == "invert the colours":
            assert torch.equal(edits.after[index], 255 - edits.before[index])
            assert not edits.displacement[index].any() and edits.known[index].all()
        if prompt == "flip the picture vertically":
            assert torch.equal(edits.after[index], edits.before[index].flip(1))
            assert edits.displacement[index, 1].abs().max() > 1.5
        if not prompt:
            assert torch.equal(edits.after[index], edits.before[index])


def test_the_loss_of_a_displacement_counts_known_nodes_alone() -> None:
    truth, known = torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4)
    known[0, 0, 0] = 1
    shift = torch.zeros(1, 2, 4, 4)
    shift[0, 0, 1:] = 1.0
    assert displacement_loss(shift, truth, known) == 0
    shift[0, :, 0, 0] = torch.tensor([0.3, 0.4])
    assert displacement_loss(shift, truth, known).item() * 16 == pytest.approx(1.49, abs=0.002)


@pytest.mark.parametrize(
    ("world", "problem"),
    [
        ({"known": ["invrt"]}, "did you mean 'invert'"),
        ({"known": ["invert"], "new_to_base": ["invert"]}, "held out of the base and drawn"),
        ({"known": ["invert"], "composed": ["flip"]}, "`known` does not list it"),
        ({"known": []}, "would know no family"),
    ],
)
def test_worlds_that_contradict_themselves_are_refused(world: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        known_families(WorldConfig(**world), library())


def test_panels_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lorweb-bench datagen panels"):
        read_panels(tmp_path)
    np.save(tmp_path / "panels.npy", np.zeros((2, 24, 24, 3), np.uint8))
    with pytest.raises(InputError, match="multiples of 16"):
        read_panels(tmp_path)


def test_the_narrow_base_differs_from_the_knowing_one_in_what_it_knows_alone() -> None:
    wide, narrow = (read_world_config(CONFIGS / f"tiny-{k}.yaml", []) for k in ("kplus", "kminus"))
    assert narrow.model_dump(exclude={"world", "groups"}) == wide.model_dump(
        exclude={"world", "groups"}
    )
    assert narrow.world.new_to_base == wide.world.new_to_base
    known = known_families(narrow.world, library())
    assert set(known) == set(wide.groups["trained"]) and narrow.world.composed == known
    kinds = {library().family(name).kind for name in wide.world.new_to_base}
    assert len(wide.world.new_to_base) >= 8 and len(kinds) >= 4


def test_the_command_pretrains_from_a_config_with_a_world(
    config: WorldPretrainingConfig, tmp_path: Path
) -> None:
    settings = config.model_dump(mode="json") | {"steps": 1}
    (tmp_path / "world.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    command = ["pretrain-tiny", str(tmp_path / "world.yaml"), "-o", str(tmp_path / "base")]
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 0
    assert load_base(str(tmp_path / "base")).codec.patch == 16


def test_an_adapter_trains_on_the_base_and_its_checkpoint_predicts(
    finished: Path,
    settings: Callable[..., dict[str, Any]],
    triplet: Callable[..., Triplet],
    backbone: Path,
    tmp_path: Path,
) -> None:
    given = settings(
        "single-lora", training={"steps": 2}, base=str(finished), encoder=str(backbone)
    )
    checkpoint = train(TrainConfig.model_validate(given), tmp_path / "adapter")
    (answer,) = from_checkpoint(str(checkpoint)).predict([triplet(1)])
    assert answer.size == triplet(1).b.size


def test_a_pretraining_can_start_from_the_weights_of_another(
    config: WorldPretrainingConfig, finished: Path, tmp_path: Path
) -> None:
    further = config.model_copy(update={"start": finished, "learning_rate": 1e-9, "steps": 1})
    pretrain_world(further, tmp_path)
    first, last = (load_file(folder / "base.safetensors") for folder in (finished, tmp_path))
    assert all(torch.allclose(first[name], last[name], atol=1e-3) for name in first)
    about = json.loads((tmp_path / "config.json").read_text())
    assert about["started_from"] == sha256_file(finished / "base.safetensors")
    other = WorldConfig(known=["sepia"], compositions=0.0)
    with pytest.raises(InputError, match="knows other words"):
        pretrain_world(further.model_copy(update={"world": other}), tmp_path / "other")


def test_a_start_without_a_pair_encoder_is_refused_before_the_base_is_trained(
    config: WorldPretrainingConfig, finished: Path, tmp_path: Path
) -> None:
    phase = Phase(steps=1, batch=2, learning_rate=1e-3, warmup=1)
    further = config.model_copy(
        update={"start": finished, "encoder": phase, "alignment": phase, "steps": 1}
    )
    assert not (finished / "encoder.safetensors").exists()
    with pytest.raises(InputError, match="no whole base there"):
        pretrain_world(further, tmp_path / "base")
    assert not (tmp_path / "base").exists()
