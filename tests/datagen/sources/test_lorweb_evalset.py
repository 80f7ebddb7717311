"""The evaluation set of LoRWeB's authors, in the layout that they released it in."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datagen.build import build
from datagen.recipe.reading import read_recipe
from datagen.recipe.schema import Recipe
from datagen.sources.lorweb_evalset import lorweb_evalset
from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.errors import InputError
from lorweb_bench.methods.predict import predict
from lorweb_bench.metrics.base import choose_metrics
from lorweb_bench.suites.publish import publish

WORDS = {
    "animals": ["Give_this_animal_armor", "Turn_into_clay"],
    "objects": ["Cover_it_with_rust"],
}


def picture(path: Path, seed: int, size: tuple[int, int] = (48, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path)


def write_released_set(root: Path, photographs: int = 6) -> Path:
    """Three tasks of two categories, three edits each, and the originals elsewhere."""
    for c, (category, tasks) in enumerate(WORDS.items()):
        for n in range(photographs):
            picture(root / f"original/unsplash_{category}/jane-{c}{n}-unsplash.jpg", 100 * c + n)
        for t, words in enumerate(tasks):
            for n in range(3):
                stem = f"jane-{c}{(n + 2 * t) % photographs}-unsplash_{n}"
                collection = "db_not_in_trainset" if t == 0 else "loras"
                file = root / f"decoded/{collection}/{category}/{words}/{stem}.png"
                picture(file, 7000 + 100 * c + 10 * t + n, (46, 32))
    return root


@pytest.fixture
def released(tmp_path: Path) -> Path:
    return write_released_set(tmp_path / "data")


def recipe(root: Path, *overrides: str) -> Recipe:
    settings = [f"source.path={root}", "panel.long_edge=32", *overrides]
    return read_recipe("lorweb-authors-set", settings)


def built(root: Path, folder: Path) -> Dataset:
    assert build(recipe(root), folder / "suite") is not None
    return open_suite(folder / "suite")


def test_a_task_is_a_folder_of_edits_and_the_other_photographs_of_its_category_may_be_b(
    released: Path,
) -> None:
    read, notes = lorweb_evalset(released)
    edits = [pair for pair in read if pair.after is not None]
    assert Counter(pair.task for pair in edits) == {
        "animals-give_this_animal_armor-db_not_in_trainset": 3,
        "animals-turn_into_clay-loras": 3,
        "objects-cover_it_with_rust-db_not_in_trainset": 3,
    }
    assert {pair.instruction for pair in edits} >= {"Give this animal armor"}
    for task in {pair.task for pair in read}:
        shown = {p.photograph for p in edits if p.task == task}
        bare = {p.photograph for p in read if p.task == task and p.after is None}
        assert not shown & bare and len(shown | bare) == 6
        assert {name.split("-")[0] for name in bare} == {task.split("-")[0]}
    assert "3 tasks (the paper says 90), 9 edits (270) of 12 photographs" in str(notes[0])


def test_the_suite_has_two_b_for_each_pair_and_no_answers(released: Path, tmp_path: Path) -> None:
    suite = built(released, tmp_path)
    quadruplets = list(suite.quadruplets("unseen"))
    assert len(quadruplets) == 9 * 2
    assert all(q.b_prime is None for q in quadruplets)
    assert not suite.has_answers and {q.record.tier for q in quadruplets} == {"new_task"}
    for q in quadruplets:
        edited = {
            other.record.a_source
            for other in quadruplets
            if other.record.transformation == q.record.transformation
        }
        assert q.record.b_source not in edited
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(suite.path)])
    assert not ended.value.code
    public = publish(suite.path, tmp_path / "public")
    assert public.fingerprint == suite.fingerprint


def test_such_a_suite_is_predicted_on_and_scored_with_metrics_that_need_no_answer(
    released: Path, tmp_path: Path
) -> None:
    suite = built(released, tmp_path)
    manifest = predict("copy-b", suite, tmp_path / "predictions")
    assert manifest is not None and manifest.samples == 18
    for metric in ("psnr", "lpips_to_b_prime", "clip_image[ViT-L-14/openai]"):
        with pytest.raises(InputError, match="does not support the metric"):
            choose_metrics([metric], suite)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda root: [p.unlink() for p in root.rglob("*.jpg")], "no originals; put the phot"),
        (lambda root: [p.unlink() for p in root.rglob("*_*.png")], "no edit of an original"),
        (
            lambda root: [p.rename(p.with_name("x" + p.name)) for p in root.rglob("*_*.png")],
            "no edit of an original",
        ),
    ],
)
def test_what_is_no_released_set_is_named(
    released: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    spoil(released)
    with pytest.raises(InputError, match=sentence):
        lorweb_evalset(released)


def test_edits_without_an_original_and_broken_files_are_left_out_and_named(
    released: Path,
) -> None:
    stranger = released / "decoded/loras/animals/Turn_into_clay/nobody_0.png"
    picture(stranger, 1)
    broken = next((released / "decoded").rglob("*_2.png"))
    broken.write_bytes(broken.read_bytes()[:60])
    read, notes = lorweb_evalset(released)
    words = [str(note) for note in notes]
    assert any("nobody_0.png" in w and "no original of its name" in w for w in words)
    assert any(broken.name in w for w in words)
    assert sum(pair.after is not None for pair in read) == 8
    with pytest.raises(InputError, match=broken.name):
        lorweb_evalset(released, "fail")


def test_training_data_cannot_be_made_of_a_set_without_answers(released: Path) -> None:
    with pytest.raises(InputError, match="the kind lorweb-evalset has no b_prime"):
        recipe(released, "splits={train: all}")
