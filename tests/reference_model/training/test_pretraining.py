"""Pretraining the tiny base.

The same bytes across a stop, and nothing but trained transformations.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from datagen.transformations import library
from lorweb_bench.data.dataset import open_dataset
from lorweb_bench.errors import InputError
from reference_model.bases.registry import load_base
from reference_model.model.adapter import load_pair_encoder
from reference_model.training import pretraining
from reference_model.training.pretraining import (
    PretrainingConfig,
    align_encoder,
    pretrain,
    read_edits,
    step_ids,
    trained_steps,
)

FILES = ("base.safetensors", "namer.safetensors", "encoder.safetensors", "config.json")
MADE = {
    "encoder": "namer.safetensors",
    "base": "base.safetensors",
    "alignment": "encoder.safetensors",
}


@pytest.mark.parametrize("part", MADE)
def test_a_stopped_pretraining_goes_on_to_the_same_bytes(
    pretraining_config: PretrainingConfig,
    base_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
) -> None:
    save = pretraining.save_state
    if part == "alignment":  # it needs the other two
        for name in ("base.safetensors", "config.json", "namer.safetensors"):
            shutil.copy(base_folder / name, tmp_path / name)

    def save_and_stop(path: Path, step: int, *rest: object) -> None:
        save(path, step, *rest)  # type: ignore[arg-type]
        if step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(pretraining, "SAVE_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "save_state", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain(pretraining_config, tmp_path, (part,))
    assert (tmp_path / f"{part}.state.safetensors").exists() and not (
        tmp_path / MADE[part]
    ).exists()
    pretrain(pretraining_config, tmp_path, (part,))
    assert (tmp_path / MADE[part]).read_bytes() == (base_folder / MADE[part]).read_bytes()


def test_every_step_has_noise_and_edits_of_its_own(
    pretraining_config: PretrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise, edits = [], []
    loss, draw = pretraining.edit_loss, pretraining.Edits.draw

    def watched_loss(*given: Any) -> torch.Tensor:
        noise.append(given[-1].initial_seed())
        return loss(*given)

    def watched_draw(self: pretraining.Edits, seed: tuple[int, ...], count: int) -> Any:
        edits.append(seed)
        return draw(self, seed, count)

    monkeypatch.setattr(pretraining, "edit_loss", watched_loss)
    monkeypatch.setattr(pretraining.Edits, "draw", watched_draw)
    pretrain(pretraining_config, tmp_path)
    assert len(noise) == len(set(noise)) == 3
    assert len(set(edits)) == 9  # three of each part


def test_finished_parts_are_not_made_again(
    pretraining_config: PretrainingConfig, base_folder: Path
) -> None:
    before = {name: (base_folder / name).read_bytes() for name in FILES}
    pretrain(pretraining_config, base_folder)
    assert {name: (base_folder / name).read_bytes() for name in FILES} == before


def test_other_settings_in_the_same_folder_are_refused(
    pretraining_config: PretrainingConfig, base_folder: Path
) -> None:
    other = pretraining_config.model_copy(update={"seed": 1})
    with pytest.raises(InputError, match="other settings"):
        pretrain(other, base_folder)


def test_the_base_says_what_it_was_made_from(training_dataset: Path, base_folder: Path) -> None:
    about, dataset = (
        json.loads((base_folder / "config.json").read_text()),
        open_dataset(training_dataset),
    )
    assert about["format"] == "lorweb-bench/base"
    assert about["training_dataset"]["fingerprint"] == dataset.fingerprint
    assert about["trained_transformations"] == sorted(dataset.manifest.transformations)
    assert about["sources"] == sorted(f"scene-{n}" for n in range(18))
    assert {"shift", "invert", "degrees"} <= set(about["vocabulary"])
    assert not any(word.lstrip("-")[0].isdigit() for word in about["vocabulary"])
    assert load_base(str(base_folder)).text_encoder.vocabulary == about["vocabulary"]
    with safe_open(base_folder / "base.safetensors", "pt") as file:
        names = file.keys()  # safe_open is no mapping
        assert {file.get_tensor(name).dtype for name in names} == {torch.float16}


def test_edits_are_the_librarys_own_on_images_of_the_dataset(training_dataset: Path) -> None:
    dataset = open_dataset(training_dataset)
    edits = read_edits(dataset, single_share=0.5, copy_share=0.2)
    assert (len(edits.singles), len(edits.compositions)) == (3, 1)
    before, after, chosen = edits.draw((0, 1), 60)
    known = {image.tobytes() for image in edits.images}
    for x, y, spec in zip(
        before.permute(0, 2, 3, 1).numpy(), after.permute(0, 2, 3, 1).numpy(), chosen, strict=True
    ):
        assert np.ascontiguousarray(x).tobytes() in known
        expected = x if spec is None else library().apply(spec, np.ascontiguousarray(x))
        assert np.array_equal(y, expected)
    copies, compositions = (
        sum(s is None for s in chosen),
        sum(s is not None and "__" in s["id"] for s in chosen),
    )
    assert 4 <= copies <= 22 and 12 <= compositions <= 38
    again = edits.draw((0, 1), 60)
    assert torch.equal(again[0], before) and torch.equal(again[1], after)
    assert not torch.equal(edits.draw((0, 2), 60)[0], before)


def test_the_encoder_names_both_steps_of_a_composition(
    training_dataset: Path, base_folder: Path
) -> None:
    edits = read_edits(open_dataset(training_dataset), 0.5, 0.0)
    index = trained_steps(edits)
    singles, (composition,) = edits.singles, edits.compositions
    first, second = step_ids([*singles, composition], index, edits.library)
    assert [index[s["id"]] for s in singles] == first[:3].tolist()
    assert second[:3].tolist() == [len(index)] * 3  # there is no second step
    names = {i: name for name, i in index.items()}
    assert f"{names[int(first[3])]}__{names[int(second[3])]}" == composition["id"]
    assert load_pair_encoder(str(base_folder)).names[0].out_features == len(index)


def test_the_alignment_leaves_an_encoder_that_says_more_than_the_mean(
    pretraining_config: PretrainingConfig, base_folder: Path, tmp_path: Path
) -> None:
    for name in ("base.safetensors", "config.json", "namer.safetensors"):
        shutil.copy(base_folder / name, tmp_path / name)
    longer = pretraining_config.alignment.model_copy(
        update={"steps": 60, "batch": 8, "learning_rate": 3e-3}
    )
    config = pretraining_config.model_copy(update={"alignment": longer})
    edits = read_edits(open_dataset(config.dataset), 0.5, 0.0)
    _, losses = align_encoder(edits, config, tmp_path, "identity")
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])


def test_what_is_no_training_dataset_is_refused(
    pretraining_config: PretrainingConfig, small_suite_path: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no split `train`"):
        pretrain(pretraining_config.model_copy(update={"dataset": small_suite_path}), tmp_path)


def test_panels_of_several_sizes_are_refused(write_panels: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="2 sizes"):
        read_edits(open_dataset(write_panels((16, 16), (32, 16))), 0.5, 0.0)
    with pytest.raises(InputError, match="multiples of 16"):
        read_edits(open_dataset(write_panels((24, 24))), 0.5, 0.0)
