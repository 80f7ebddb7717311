"""Items with several exemplar pairs: written, read, published, predicted, refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datagen.build import build
from datagen.recipe.reading import read_recipe
from lorweb_bench.data.dataset import Dataset, open_dataset, open_suite
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.images import encode
from lorweb_bench.data.samples import Triplet
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.errors import InputError
from lorweb_bench.methods.predict import predict
from lorweb_bench.suites.publish import publish
from lorweb_bench.suites.verify import verify

SIZE = 8
FIELDS: dict[str, Any] = {
    "name": "several",
    "version": "1",
    "view": "full",
    "recipe": {},
    "transformations": {"invert": {"family": "invert", "tier": "seen_single"}},
}


def pixels(name: str) -> np.ndarray:
    drawn = np.random.default_rng(list(name.encode()))
    return drawn.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def write(folder: Path, *exemplars: int, split: str = "train") -> Dataset:
    """A dataset with one item for each number of exemplars."""
    with ShardWriter(folder, split, 0) as shard:
        for n, count in enumerate(exemplars):
            roles = ["a", "a_prime", "b", "b_prime"]
            for k in range(2, count + 1):
                roles += [f"a_{k}", f"a_{k}_prime"]
            images = {role: (encode(pixels(f"{n} {role}"), "png"), "png") for role in roles}
            record: dict[str, Any] = {"id": f"k{n}", "transformation": "invert", "width": SIZE}
            record |= {"family": "invert", "tier": "seen_single"}
            record |= {"height": SIZE, "a_source": f"a{n}", "b_source": f"b{n}"}
            if count > 1:
                record["further_sources"] = [f"a{n}-{k}" for k in range(2, count + 1)]
            shard.add(f"k{n}", images, record)
    return finish_dataset(folder, FIELDS)


def test_further_pairs_are_read_in_order(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path / "d", 3, 3).path)
    assert dataset.manifest.exemplars == 3
    for n, item in enumerate(dataset.quadruplets("train")):
        shown = item.triplet(exemplars=2).pairs
        assert [np.asarray(x).tolist() for pair in shown for x in pair] == [
            pixels(f"{n} {role}").tolist() for role in ("a", "a_prime", "a_2", "a_2_prime")
        ]
        assert len(item.triplet().pairs) == 1 and len(item.triplet(exemplars=8).pairs) == 3
    assert dataset.sources("train") == {
        f"{source}{n}{more}"
        for n in range(2)
        for source, more in (("a", ""), ("b", ""), ("a", "-2"), ("a", "-3"))
    }


def test_the_fingerprint_covers_every_exemplar(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", 1), write(tmp_path / "two", 2)
    assert one.fingerprint != two.fingerprint
    assert json.loads((one.path / "dataset.json").read_text())["exemplars"] == 1
    assert not verify(two.path).problems


def test_items_show_as_many_or_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mixes samples of 1, 2 exemplar pairs"):
        write(tmp_path / "mixed", 1, 2)
    dataset = write(tmp_path / "d", 2)
    path = dataset.path / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "exemplars": 3}))
    with pytest.raises(InputError, match="does not show 3 exemplar pairs"):
        list(open_dataset(dataset.path).quadruplets("train"))


@pytest.mark.parametrize("roles", [("a_3", "a_3_prime"), ("a_2",), ("a_9", "a_9_prime")])
def test_a_gap_or_half_a_pair_is_refused(tmp_path: Path, roles: tuple[str, ...]) -> None:
    names = ("a", "a_prime", "b", "b_prime", *roles)
    images = {role: (encode(pixels(role), "png"), "png") for role in names}
    record = {"id": "k", "transformation": "invert", "width": SIZE, "height": SIZE}
    with (
        ShardWriter(tmp_path, "train", 0) as shard,
        pytest.raises(InputError, match="further pairs as a_2, a_2_prime"),
    ):
        shard.add("k", images, record)


RECIPE = """
name: several
version: "1"
seed: 3
source:
  {kind: scenes, scenes: 60,
   shares: {train: 0.3, dev: 0.1, calibration: 0.1, a: 0.25, b: 0.25}}
panel: {square: 32, format: png}
transformations: {families: [hue_shift, invert, flip], compositions: {count: 0}}
splits: {train: 6}
exemplars: 3
"""


def built(tmp_path: Path, text: str, name: str, *settings: str) -> Dataset:
    path = tmp_path / f"{name}.yaml"
    path.write_text(text)
    return build(read_recipe(path, settings), tmp_path / name).dataset


def test_a_recipe_asks_for_them_and_each_shows_the_transformation(tmp_path: Path) -> None:
    dataset = built(tmp_path, RECIPE, "train")
    assert dataset.manifest.exemplars == 3
    library = dataset.library()
    for item in dataset.quadruplets("train"):
        spec = dataset.manifest.transformations[item.record.transformation].spec
        pairs = item.triplet(exemplars=3).pairs
        assert len({before.tobytes() for before, _ in pairs} | {item.b.tobytes()}) == 4
        for before, after in pairs:
            assert (library.apply(spec, np.asarray(before)) == np.asarray(after)).all()
        record = item.record
        assert record.further_sources is not None
        assert len({record.a_source, record.b_source, *record.further_sources}) == 4


class Mean:
    """Hands back the mean of all a' that it is shown."""

    name = "mean"

    def predict(self, triplets: list[Triplet]) -> list[Image.Image]:
        answers = []
        for triplet in triplets:
            shown = [np.asarray(after, np.float32) for _, after in triplet.pairs]
            answers.append(Image.fromarray(np.mean(shown, 0).round().astype(np.uint8)))
        return answers


def test_predict_shows_as_many_as_asked_for(tmp_path: Path) -> None:
    suite = open_suite(write(tmp_path / "suite", 3, 3, split="unseen").path)
    made = predict(Mean(), suite, tmp_path / "p2", exemplars=2)
    assert made is not None and made.exemplars == 2
    answer = np.asarray(Image.open(next((tmp_path / "p2").rglob("k0.png"))), np.float32)
    expected = (pixels("0 a_prime").astype(np.float32) + pixels("0 a_2_prime")) / 2
    assert np.abs(answer - expected).max() <= 0.5
    one = predict(Mean(), suite, tmp_path / "p1")
    assert one is not None and "exemplars" not in one.model_dump()
    with pytest.raises(InputError, match="--exemplars 4: an item of .* shows 3 exemplar pairs"):
        predict(Mean(), suite, tmp_path / "p4", exemplars=4)
    with pytest.raises(InputError, match="leave --exemplars out"):
        predict(Mean(), suite, tmp_path / "ps", exemplars=2, pairs="shuffled")


def test_the_public_view_shows_them_and_no_answer(tmp_path: Path) -> None:
    suite = open_suite(write(tmp_path / "suite", 2, 2, split="unseen").path)
    public = publish(suite.path, tmp_path / "public")
    assert (public.manifest.exemplars, public.fingerprint) == (2, suite.fingerprint)
    for item in public.quadruplets("test"):
        assert item.b_prime is None and len(item.triplet(exemplars=2).pairs) == 2
