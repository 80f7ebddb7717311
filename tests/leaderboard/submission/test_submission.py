"""Packing: what goes in comes out unchanged, and nothing goes in that a board would refuse."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from leaderboard.submission.card import read_card
from leaderboard.submission.submission import open_submission, pack, sizes_of
from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.data.images import encode, pixel_hash
from lorweb_bench.errors import InputError
from lorweb_bench.scoring.evaluate import predict

EXAMPLE = Path(__file__).parents[3] / "docs/example-card.yaml"
CardWriter = Callable[..., Path]


def test_images_are_stored_as_they_are(good_zip: Path, copies: Path, small_suite: Dataset) -> None:
    with zipfile.ZipFile(good_zip) as archive:
        names = archive.namelist()
        keys = sorted(path.stem for path in copies.glob("*.png"))
        assert names == ["predictions.json", "card.json", *(f"images/{key}.png" for key in keys)]
        assert all(
            archive.read(f"images/{key}.png") == (copies / f"{key}.png").read_bytes()
            for key in keys
        )
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(archive.read("card.json"))["method"] == "copy-b"
    submission = open_submission(good_zip, small_suite, sizes_of(small_suite))
    assert submission.manifest.method.name == submission.card.method == "copy-b"
    for q in small_suite.quadruplets("seen"):
        assert pixel_hash(submission.predictions[q.key]) == pixel_hash(q.b)


def test_the_same_input_gives_the_same_bytes(
    good_zip: Path, copies: Path, small_public: Dataset, tmp_path: Path
) -> None:
    """Also from the public view, which is all that a submitter has."""
    again = pack(copies, small_public, EXAMPLE, tmp_path / "again.zip")
    assert (
        hashlib.sha256(again.read_bytes()).digest()
        == hashlib.sha256(good_zip.read_bytes()).digest()
    )


def test_other_images_become_plain_with_the_same_pixels(
    copies: Path, small_suite: Dataset, write_card: CardWriter, tmp_path: Path
) -> None:
    """A bare folder of what people have: webp, transparency, palettes, metadata.

    The card says whose they are.
    """
    folder = tmp_path / "bare"
    folder.mkdir()
    expected = {}
    for n, path in enumerate(sorted(copies.glob("*.png"))):
        image = Image.open(path)
        if n % 3 == 0:
            (folder / f"{path.stem}.webp").write_bytes(encode(image, "webp"))
        elif n % 3 == 1:
            image.convert("RGBA").save(folder / path.name, dpi=(72, 72))
        else:
            image = image.quantize(200).convert("RGB")
            image.quantize(256).save(folder / path.name)
            image = Image.open(folder / path.name)
        expected[path.stem] = pixel_hash(image.convert("RGB"))
    card = write_card(method="mine", version="2", prompt_mode="task", seeds=[4], track="open")
    packed = pack(folder, small_suite, card, tmp_path / "bare.zip")
    submission = open_submission(packed, small_suite, sizes_of(small_suite))
    assert {key: pixel_hash(submission.predictions[key]) for key in expected} == expected
    made = submission.manifest
    assert (made.method.name, made.method.version, made.prompt_mode, made.seed, made.track) == (
        "mine",
        "2",
        "task",
        4,
        "open",
    )


class Named:
    """A method that says all that it can."""

    name = "named"
    version = "3.1"

    def predict(self, triplets: Any) -> list[Image.Image]:
        return [t.b for t in triplets]


def test_the_manifest_names_the_method_the_card_the_track(
    small_suite: Dataset, write_card: CardWriter, tmp_path: Path
) -> None:
    predict(Named(), small_suite, tmp_path / "named", seed=3)
    packed = pack(
        tmp_path / "named",
        small_suite,
        write_card(method="named", seeds=[3, 11]),
        tmp_path / "named.zip",
    )
    submission = open_submission(packed, small_suite, sizes_of(small_suite))
    assert submission.card.version == "3.1"
    assert submission.manifest.track == "closed"  # the method does not say; the card does
    for fields, said in {
        ("method", "other"): "method is 'other', the predictions say 'named'",
        ("version", "4"): "version is '4', the predictions say '3.1'",
        ("prompt_mode", "task"): "prompt_mode is 'task', the predictions say 'none'",
        ("seeds", 11): "seeds lack 3",
    }.items():
        field, value = fields
        card = write_card(
            **{"method": "named", "seeds": [3], field: [value] if field == "seeds" else value}
        )
        with pytest.raises(InputError, match=said):
            pack(tmp_path / "named", small_suite, card, tmp_path / "no.zip")
    assert not (tmp_path / "no.zip").exists()


def test_closed_means_the_suites_own_training_data(
    copies: Path, small_suite: Dataset, write_card: CardWriter, tmp_path: Path
) -> None:
    own = write_card(
        training_data=[{"name": "its own", "fingerprint": "0" * 64}, {"name": "unknown"}]
    )
    pack(copies, small_suite, own, tmp_path / "own.zip")
    other = write_card(training_data=[{"name": "the web", "fingerprint": "1" * 64}])
    with pytest.raises(
        InputError, match="'the web' is not the suite's own training dataset; the track is 'open'"
    ):
        pack(copies, small_suite, other, tmp_path / "other.zip")
    pack(
        copies,
        small_suite,
        write_card(track="open", training_data=[{"name": "the web", "fingerprint": "1" * 64}]),
        tmp_path / "open.zip",
    )


def incomplete(folder: Path) -> None:
    sorted(folder.glob("*.png"))[5].unlink()


def too_large(folder: Path) -> None:
    path = sorted(folder.glob("*.png"))[0]
    Image.new("RGB", (33, 32)).save(path)


def damaged(folder: Path) -> None:
    path = sorted(folder.glob("*.png"))[0]
    path.write_bytes(path.read_bytes()[:-20])


def stray(folder: Path) -> None:
    Image.new("RGB", (32, 32)).save(folder / "stranger.png")


def unfinished(folder: Path) -> None:
    (folder / "predictions.json").unlink()
    (folder / ".building").write_text("{}")


def changed(**fields: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "predictions.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (incomplete, "lacks 1 of 48 predictions, the first is "),
        (too_large, "is 33x32 pixels; the suite's item is 32x32"),
        (damaged, "is cut"),
        (stray, "'stranger'"),
        (unfinished, "unfinished"),
        (changed(partial=True), "of a part of the suite"),
        (changed(pairs="shuffled"), "with shuffled pairs"),
        (
            changed(suite={"name": "other", "version": "1", "fingerprint": "f" * 64}),
            "predict again on this suite",
        ),
        (changed(cost={"seconds_per_image": -1.0}), "the cost in the predictions is negative"),
        (changed(format_version=2), "format_version"),
    ],
)
def test_what_a_board_would_refuse_is_not_packed(
    copies: Path, small_suite: Dataset, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    folder = tmp_path / "predictions"
    shutil.copytree(copies, folder)
    spoil(folder)
    with pytest.raises(InputError) as refused:
        pack(folder, small_suite, EXAMPLE, tmp_path / "no.zip")
    assert said in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"authrs": []}, "line 4: there is no key 'authrs' in a card; did you mean 'authors'?"),
        ({"edit_recovery": 0.99}, "'edit_recovery' is a claimed result"),
        ({"scores": {"unseen": 1}}, "'scores' is a claimed result"),
        (
            {"track": "close"},
            "track is 'close', and it must be 'closed' or 'open'; did you mean 'closed'?",
        ),
        (
            {"prompt_mode": "words"},
            "prompt_mode is 'words', and it must be 'none', 'task' or 'instruction'",
        ),
        (
            {"parameters": {"trainable": 1, "totl": 2}},
            "no key 'parameters.totl' in a card; did you mean 'total'?",
        ),
        ({"parameters": {"trainable": -1, "total": 2}}, "parameters.trainable is -1"),
        (
            {"parameters": {"trainable": "1", "total": 2}},
            "parameters.trainable is '1', and it must be a whole number",
        ),
        ({"authors": []}, "authors is [], and it must be a list of 1 or more entries"),
        (
            {"authors": [{"name": "A", "adress": "x"}]},
            "no key 'authors.0.adress' in a card; known are name, affiliation",
        ),
        (
            {"links": {"code": "javascript:alert(1)"}},
            "it is not an http or https address",
        ),
        (
            {"links": {"code": 'https://x.org/"onclick="x'}},
            "it is not an http or https address",
        ),
        ({"method": "l\u043eweb"}, r"method is 'l\u043eweb', and it must be like"),
        ({"method": ""}, "method is ''"),
        ({"hardware": "one \u202e GPU"}, "it holds the invisible character U+202E"),
        ({"description": "a\x00b"}, "card.yaml"),
        ({"description": "x" * 5000}, "description is 'xxx"),
        ({"seeds": []}, "seeds is []"),
        ({"seeds": [True]}, "seeds.0 is true"),
        (
            {"training_data": [{"name": "x", "fingerprint": "abc"}]},
            "training_data.0.fingerprint is 'abc'",
        ),
        ({"licence": None}, "licence is empty"),
    ],
)
def test_a_wrong_card_names_the_field(
    write_card: CardWriter, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as refused:
        read_card(write_card(**fields))
    assert said in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "text", ["", "- a list", "a: [1", "!!python/object/apply:os.system ['echo']", "x" * 300_000]
)
def test_what_is_no_card(tmp_path: Path, text: str) -> None:
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(InputError, match="card.yaml"):
        read_card(tmp_path / "card.yaml")
    with pytest.raises(InputError, match="absent.yaml"):
        read_card(tmp_path / "absent.yaml")


def test_a_missing_field_is_named(tmp_path: Path, example_card: dict[str, Any]) -> None:
    for field in (
        "method",
        "authors",
        "base_model",
        "parameters",
        "hardware",
        "track",
        "training_data",
        "prompt_mode",
        "seeds",
        "licence",
    ):
        (tmp_path / "card.yaml").write_text(
            yaml.safe_dump({k: v for k, v in example_card.items() if k != field})
        )
        with pytest.raises(InputError, match=f"the key '{field}' is missing"):
            read_card(tmp_path / "card.yaml")


def test_names_of_any_script(write_card: CardWriter) -> None:
    card = read_card(write_card(authors=[{"name": "Đặng Thị Ünal 李"}, {"name": "می\u200cخواهم"}]))
    assert card.authors[0].name == "Đặng Thị Ünal 李"


def test_large_images_are_within_the_limits(
    tmp_path: Path, copies: Path, small_suite: Dataset
) -> None:
    """Incompressible images fit too, however they were compressed."""
    folder = tmp_path / "predictions"
    shutil.copytree(copies, folder)
    noise = np.random.default_rng(0)
    for level, path in enumerate(sorted(folder.glob("*.png"))):
        Image.fromarray(noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(
            path, compress_level=level % 10
        )
    pack(folder, open_suite(small_suite.path), EXAMPLE, tmp_path / "noise.zip")
