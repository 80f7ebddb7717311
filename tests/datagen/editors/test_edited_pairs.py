"""An image editor as a source: the stock FLUX.1-Kontext pipeline with random weights, driven by
instructions and by LoRAs.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from datagen.build import build
from datagen.editors import edited_pairs
from datagen.editors.diffusers_pipeline import Editor, pipeline_folder
from datagen.planning.pair_roles import collect_pairs
from datagen.recipe.reading import read_recipe
from datagen.recipe.sources import EditorSection
from datagen.sources.pair_reader import pairs
from datagen.sources.scenes.compose import scene
from lorweb_bench.data.images import encode
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import read_json
from lorweb_bench.suites.verify import verify

STEPS = {"num_inference_steps": 1, "guidance_scale": 2.0, "max_sequence_length": 16}
Settings = list[str]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def lora(tiny_flux_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of rank 2 for every attention layer of the tiny pipeline, in the form that diffusers
    loads.
    """
    weights = load_file(next((tiny_flux_folder / "transformer").glob("*.safetensors")))
    random, tensors = torch.Generator().manual_seed(3), {}
    for name, weight in weights.items():
        if name.endswith(("to_q.weight", "to_v.weight")):
            layer = f"transformer.{name.removesuffix('.weight')}"
            tensors[f"{layer}.lora_A.weight"] = torch.randn(2, weight.shape[1], generator=random)
            tensors[f"{layer}.lora_B.weight"] = torch.randn(weight.shape[0], 2, generator=random)
    folder = tmp_path_factory.mktemp("lora")
    save_file(tensors, folder / "style.safetensors")
    save_file(
        {f"layers.{i}.weight": t.contiguous() for i, t in enumerate(tensors.values())},
        folder / "foreign.safetensors",
    )
    return folder


@pytest.fixture
def settings(tiny_flux_folder: Path, lora: Path, tmp_path: Path) -> Settings:
    """What makes of the recipe lorweb-evalset one of two tasks on 12 small photographs of two
    categories.
    """
    for i in range(12):
        file = tmp_path / "photographs" / ("animals" if i % 2 else "persons") / f"{i:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(scene(8000 + i, 32, 48 if i < 8 else 40)))
    tasks = [
        {"name": "cape", "instruction": "add a cape", "categories": ["persons", "animals"]},
        {
            "name": "style",
            "instruction": "in style",
            "lora": str(lora),
            "weight_name": "style.safetensors",
        },
    ]
    editor = {
        "model": str(tiny_flux_folder),
        "arguments": STEPS,
        "tasks": tasks,
        "photographs": {"a": 1, "b": 2},
        "long_edge": 48,
    }
    source = {
        "kind": "editor",
        "path": str(tmp_path / "photographs"),
        "keep": str(tmp_path / "edits"),
        "shares": {"a": 0.4, "b": 0.6},
    }
    own = json.dumps({**source, "licence": "CC0-1.0", "editor": editor})
    return [f"source={own}", "panel.long_edge=32", "filters={minimum_change: 0}"]


def test_the_papers_set_is_built_by_an_editor(settings: Settings, tmp_path: Path) -> None:
    built = build(read_recipe("lorweb-evalset", settings), tmp_path / "out")
    dataset = built.dataset
    records = list(dataset.records("unseen"))
    assert len(records) == 3 * 1 * 2  # tasks, pairs of each, bs of each pair
    assert {r.tier for r in records} == {"new_task"}
    assert {r.licence for r in records} == {"CC0-1.0"}
    assert dataset.manifest.tiers_relative_to is None
    tasks = dataset.manifest.transformations
    assert {name: info.instruction for name, info in tasks.items()} == {
        "cape-persons": "add a cape",
        "cape-animals": "add a cape",
        "style": "in style",
    }
    assert not any(info.deterministic for info in tasks.values())
    made = tasks["style"].parameters
    assert made["editor"]["pipeline"] == "FluxKontextPipeline"
    assert len(made["editor"]["weights_sha256"]) == len(made["lora"]["sha256"]) == 64
    assert made["editor"]["arguments"] == STEPS
    assert tasks["cape-persons"].parameters["lora"] is None
    assert verify(dataset.path).problems == []
    a, b = ({getattr(r, f"{x}_source") for r in records} for x in "ab")
    assert not a & b


def test_edits_are_those_of_the_pipeline_and_its_lora(
    settings: Settings, tmp_path: Path, tiny_flux_folder: Path, lora: Path
) -> None:
    from diffusers import FluxKontextPipeline

    recipe = read_recipe("lorweb-evalset", settings)
    collect_pairs(recipe)
    rows = [
        json.loads(line) for line in (tmp_path / "edits" / "edits.jsonl").read_text().splitlines()
    ]
    pipeline = FluxKontextPipeline.from_pretrained(tiny_flux_folder)
    for task, words in (("cape-animals", "add a cape"), ("style", "in style")):
        row = next(row for row in rows if row["task"] == task)
        before = Image.open(tmp_path / "edits" / task / f"{row['photograph']}.before.png")
        assert before.size == (row["width"], row["height"])
        if task == "style":
            pipeline.load_lora_weights(lora, weight_name="style.safetensors")
        sizes: dict[str, Any] = {
            "height": row["height"],
            "width": row["width"],
            "max_area": before.width * before.height,
        }
        generator = torch.Generator().manual_seed(row["seed"])
        made = pipeline(
            before, words, generator=generator, _auto_resize=False, **sizes, **STEPS
        ).images[0]
        kept = Image.open(tmp_path / "edits" / task / f"{row['photograph']}.after.png")
        assert np.abs(np.asarray(made).astype(int) - np.asarray(kept)).max() <= 1
    assert len({row["seed"] for row in rows}) == len(rows)


def test_what_was_edited_is_kept_and_read_by_the_source_pairs(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe("lorweb-evalset", settings)
    first = collect_pairs(recipe)
    found, skipped = pairs(tmp_path / "edits")
    assert {pair.task for pair in found} == set(first.tasks)
    assert len(found) == 9
    assert not skipped

    def none(*_: object) -> None:
        raise AssertionError("no pipeline is needed")

    monkeypatch.setattr(edited_pairs, "_load_editor", none)
    assert collect_pairs(recipe) == first


def test_a_stopped_editing_goes_on_with_the_next_photograph(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe("lorweb-evalset", settings)
    collect_pairs(recipe)
    whole = {
        file.relative_to(tmp_path / "edits"): file.read_bytes()
        for file in (tmp_path / "edits").rglob("*.png")
    }
    shutil.rmtree(tmp_path / "edits")
    edit, calls = Editor.edit, 0

    def stop_after_four(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return edit(*args)

    monkeypatch.setattr(Editor, "edit", stop_after_four)
    with pytest.raises(KeyboardInterrupt):
        collect_pairs(recipe)
    assert len(list((tmp_path / "edits").rglob("*.after.png"))) == 4
    collect_pairs(recipe)
    assert calls == 5 + 5  # nine edits, of which four were there
    assert {
        file.relative_to(tmp_path / "edits"): file.read_bytes()
        for file in (tmp_path / "edits").rglob("*.png")
    } == whole


def test_batches_make_the_same_edits(tiny_flux_folder: Path) -> None:
    editor = Editor(EditorSection(model=str(tiny_flux_folder), arguments=STEPS))
    images = [Image.fromarray(scene(8100 + i, 32, 48)) for i in range(3)]
    together = editor.edit(images, "add snow", [1, 2, 3])
    alone = [
        editor.edit([image], "add snow", [seed])[0]
        for image, seed in zip(images, (1, 2, 3), strict=True)
    ]
    for one, other in zip(together, alone, strict=True):
        assert one.size == (48, 32)
        assert np.abs(np.asarray(one).astype(int) - np.asarray(other)).max() <= 2
    assert (
        np.abs(
            np.asarray(together[0]).astype(int)
            - np.asarray(editor.edit(images[:1], "add snow", [9])[0])
        ).max()
        > 2
    )


def test_other_settings_do_not_mix_with_what_is_kept(settings: Settings, tmp_path: Path) -> None:
    collect_pairs(read_recipe("lorweb-evalset", settings))
    for more, said in (
        ("source.editor.arguments.num_inference_steps=2", "another arguments"),
        ("seed=5", "another seed"),
        ("source.editor.long_edge=32", "another long_edge"),
    ):
        with pytest.raises(InputError, match=said):
            collect_pairs(read_recipe("lorweb-evalset", [*settings, more]))
    task = tmp_path / "edits" / "style" / "task.json"
    task.write_text(json.dumps({**read_json(task), "instruction": "other words"}))
    with pytest.raises(InputError, match="other words"):
        collect_pairs(read_recipe("lorweb-evalset", settings))


def test_too_few_photographs_of_a_role_are_named(settings: Settings) -> None:
    with pytest.raises(InputError, match="needs 7 photographs with the role 'b'"):
        collect_pairs(
            read_recipe("lorweb-evalset", [*settings, "source.editor.photographs={a: 1, b: 7}"])
        )
    with pytest.raises(InputError, match="no photographs in the folder 'objects'"):
        collect_pairs(
            read_recipe(
                "lorweb-evalset",
                [
                    *settings,
                    "source.editor.tasks=[{name: x, instruction: y, categories: [objects]}]",
                ],
            )
        )


def test_bs_have_the_form_of_their_a(settings: Settings) -> None:
    recipe = read_recipe(
        "lorweb-evalset", [*settings, "filters={minimum_change: 0, aspect_tolerance: 0.05}"]
    )
    forms = {
        name: {pair.aspect for pair in group} for name, group in collect_pairs(recipe).tasks.items()
    }
    assert any(len(form) == 1 for form in forms.values())


def test_what_cannot_edit_is_refused_in_words(
    tiny_flux_folder: Path, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="did you mean 'guidance_scale'"):
        Editor(EditorSection(model=str(tiny_flux_folder), arguments={"guidance_scal": 2}))
    with pytest.raises(InputError, match="cannot be loaded as an image-editing pipeline"):
        Editor(EditorSection(model=str(tmp_path)))
    editor = Editor(EditorSection(model=str(tiny_flux_folder), arguments=STEPS))
    with pytest.raises(InputError, match=r"foreign\.safetensors"):
        editor.use((lora / "foreign.safetensors", 1.0))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="hf download nobody/nothing --local-dir FOLDER"):
        pipeline_folder("nobody/nothing", None)


def test_a_lora_is_one_file(settings: Settings, lora: Path) -> None:
    task = {"name": "s", "instruction": "x", "lora": str(lora)}
    with pytest.raises(InputError, match="Give weight_name"):
        collect_pairs(
            read_recipe("lorweb-evalset", [*settings, f"source.editor.tasks={json.dumps([task])}"])
        )


def test_edits_smaller_than_the_panel_are_not_made(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"no task has two pairs \(9 were left out, the first: cape-persons of .* short side "
        r"under 32",
    ):
        collect_pairs(
            read_recipe(
                "lorweb-evalset", [*settings, "source.editor.long_edge=16", "panel={square: 32}"]
            )
        )
    assert not list((tmp_path / "edits").rglob("*.png"))
