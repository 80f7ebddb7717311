"""Configs: what is refused, and that the sentence helps."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lorweb_bench.errors import InputError
from reference_model.config import read_train_config
from reference_model.training import pretrain_world, pretraining

WriteYaml = Callable[..., Path]
SHIPPED = Path(pretraining.__file__).parents[1] / "configs"
NOT_OF_TRAININGS = "pretraining|accelerate|tiny-k(plus|minus)"


def test_overrides_are_dotted_keys_with_yaml_values(write_yaml: WriteYaml) -> None:
    overrides = [
        "training.steps=7",
        "training.times.weight=t2",
        "adapter.alpha=2.5",
        "training.gradient_checkpointing=true",
    ]
    config = read_train_config(write_yaml(), overrides)
    assert (config.training.steps, config.training.times.weight, config.adapter.alpha) == (
        7,
        "t2",
        2.5,
    )
    assert config.training.gradient_checkpointing is True


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("training.stpes=7", "no key 'training.stpes' in a training config; did you mean 'steps'"),
        ("adapter.ranks=7", "no key 'adapter.ranks' .* did you mean 'rank'"),
        ("training.times.wieght=t2", "no key 'training.times.wieght' .* did you mean 'weight'"),
        ("zzzz=1", "no key 'zzzz' in a training config; known are name, base"),
        ("steps=7", "no key 'steps' .* did you mean 'training.steps'"),
        ("training.steps=many", "--set: training.steps is 'many', and it must be a whole number"),
        ("training.steps=0", "--set: training.steps is 0, and it must be 1 or more"),
        (
            "training.learning_rate=-1",
            "--set: training.learning_rate is -1, and it must be more than 0",
        ),
        (
            "training.learning_rate=.nan",
            "--set: training.learning_rate is nan, and it must be a finite number",
        ),
        (
            "training.learning_rate=.inf",
            "--set: training.learning_rate is inf, and it must be a finite number",
        ),
        ("training.warmup=-1", "--set: training.warmup is -1, and it must be 0 or more"),
        ("training.save_every=0", "--set: training.save_every is 0"),
        (
            "training.exchange_pairs=1.5",
            "--set: training.exchange_pairs is 1.5, and it must be 1 or less",
        ),
        ("training.times.low=2", "--set: training.times.low is 2"),
        ("training.times.share_at_one=-1", "--set: training.times.share_at_one is -1"),
        ("training=5", "--set: training is 5, and it must be a section with keys of steps, batch"),
        (
            "adapter.kind=lora",
            "--set: adapter.kind is 'lora', "
            "and it must be 'lorweb', 'single-lora', 'token-control' or 'delta-tokens'",
        ),
        ("adapter.rank=0", "--set: adapter.rank is 0"),
        ("adapter.alpha=0", "--set: adapter.alpha is 0, and it must be more than 0"),
        ("adapter.alpha=.nan", "--set: adapter.alpha is nan"),
        ("encoder_view=official", "`encoder_view: official` is for vision backbones"),
        ("panel=0", "--set: panel is 0, and it must be 16 or more"),
        (
            "layout=grid",
            "layout is 'grid', and it must be 'target-only', 'paper', 'references' or 'edit'",
        ),
        ("training.steps", "is not of the form key=value"),
        ("=5", "is not of the form key=value"),
        ("training.=5", "is not of the form key=value"),
        ("training.steps=[1, 2", "--set 'training.steps=.*YAML"),
        ("name.first=x", "name holds the value .* and no keys"),
        ("training.steps.more=1", "steps holds the value .* and no keys"),
        ("training.betas=[0.9, 1.0]", "--set: training.betas.1 is 1.0, and it must be less than 1"),
        ("training.seed=-1", "--set: training.seed is -1"),
    ],
)
def test_what_is_wrong_is_named(write_yaml: WriteYaml, override: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read_train_config(write_yaml(), [override])
    assert "\n" not in str(caught.value)


def test_settings_that_exclude_each_other_are_named(write_yaml: WriteYaml) -> None:
    with pytest.raises(InputError, match=r"--set: `pair_shrink` needs the layout target-only"):
        read_train_config(write_yaml(layout="paper"), ["pair_shrink=2"])


@pytest.mark.parametrize("missing", ["adapter", "training", "base", "name"])
def test_a_missing_section_is_named(
    settings: Callable[..., dict[str, Any]], tmp_path: Path, missing: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in settings().items() if k != missing}))
    with pytest.raises(InputError, match=rf"config.yaml: the key '{missing}' is missing"):
        read_train_config(path, [])


@pytest.mark.parametrize(
    "content", [b"", b"- a\n- b\n", b"just text", b"a: [1, 2", b"\xff\xfe\x00"]
)
def test_a_file_that_holds_no_settings_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"config\.yaml"):
        read_train_config(path, [])


def test_a_config_that_is_not_there_or_is_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml cannot be read"):
        read_train_config(tmp_path / "none.yaml", [])
    with pytest.raises(InputError, match="cannot be read"):
        read_train_config(tmp_path, [])


@pytest.mark.parametrize(
    "path",
    sorted(p for p in SHIPPED.glob("*.yaml") if not re.search(NOT_OF_TRAININGS, p.name)),
    ids=lambda p: p.stem,
)
def test_every_shipped_config_is_valid(path: Path) -> None:
    assert read_train_config(path, []).name in ("lorweb", "single-lora", "token-control")


@pytest.mark.parametrize("name", ["tiny-kplus", "tiny-kminus"])
def test_the_configs_of_a_world_are_valid(name: str) -> None:
    path = SHIPPED / f"{name}.yaml"
    assert pretrain_world.describes_world(path)
    config = pretrain_world.read_world_config(path, ["steps=3"])
    assert config.steps == 3 and config.batch == 16


def test_the_shipped_pretraining_config_is_valid_and_its_unknown_keys_are_named() -> None:
    path = SHIPPED / "tiny-pretraining.yaml"
    assert pretraining.read_config(path, ["base.steps=3"]).base.steps == 3
    for override, key in (
        ("stepps=1", "stepps"),
        ("base.stpes=3", "base.stpes"),
        ("base.steps=x", "base.steps"),
    ):
        with pytest.raises(InputError, match=rf"--set: .*{key}") as caught:
            pretraining.read_config(path, [override])
        assert "\n" not in str(caught.value)
