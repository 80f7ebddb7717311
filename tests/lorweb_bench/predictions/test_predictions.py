"""Predictions: resuming, failures that are named, prompt modes, shuffled pairs, parts, and folders
that are refused.
"""

import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import encode, pixel_hash
from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from lorweb_bench.methods.predict import TASK_PROMPT, sample_seed
from lorweb_bench.predictions.format import MANIFEST, read_manifest
from lorweb_bench.predictions.reader import fitted, open_predictions
from lorweb_bench.predictions.shuffled_pairs import panel_reader, shuffled_pairs
from lorweb_bench.protocol import SUITE_SPLITS
from lorweb_bench.scoring.evaluate import predict, score


class Recorder:
    """Hands b back and keeps what it was shown; a `fault` per key is raised, or given in place of
    the image.
    """

    name = "recorder"
    batch_size = 5

    def __init__(self, faults: dict[str, Any] | None = None, stop_after: int | None = None) -> None:
        self.faults, self.stop_after = faults or {}, stop_after
        self.shown: dict[str, Triplet] = {}

    def predict(self, triplets: Sequence[Triplet]) -> list[Any]:
        for t in triplets:
            if self.stop_after is not None and len(self.shown) >= self.stop_after:
                raise KeyboardInterrupt
            if isinstance(self.faults.get(t.key), Exception):
                raise self.faults[t.key]
            self.shown[t.key] = t
        return [self.faults.get(t.key, t.b) for t in triplets]


def keys_of(suite: Dataset) -> list[str]:
    return [record.id for split in suite.scored_splits for record in suite.records(split)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_predictions_json_says_whose_they_are_and_what_they_took(
    small_suite: Dataset, tmp_path: Path
) -> None:
    manifest = predict("copy-b", small_suite, tmp_path / "p", seed=7)
    written = json.loads((tmp_path / "p" / MANIFEST).read_text())
    assert written["format"] == "lorweb-bench/predictions"
    assert written["format_version"] == 1
    assert written["suite"] == {
        "name": "small",
        "version": "1",
        "fingerprint": small_suite.fingerprint,
    }
    assert written["method"]["name"] == "copy-b"
    assert (written["track"], written["prompt_mode"], written["seed"], written["samples"]) == (
        "closed",
        "none",
        7,
        48,
    )
    assert set(written["cost"]) == {
        "seconds_per_image",
        "peak_memory_bytes",
        "sampling_steps",
        "device",
    }
    assert 0 < written["cost"]["seconds_per_image"] < 1
    assert manifest == read_manifest(tmp_path / "p")
    assert sorted(p.name for p in (tmp_path / "p").iterdir()) == sorted(
        [MANIFEST, *(f"{key}.png" for key in keys_of(small_suite))]
    )


def test_a_stopped_run_resumes_and_ends_in_the_same_folder(
    small_suite: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        predict(Recorder(stop_after=12), small_suite, tmp_path / "p")
    kept = {path.stem for path in (tmp_path / "p").glob("*.png")}
    assert 5 <= len(kept) < 48
    assert not (tmp_path / "p" / MANIFEST).exists()
    with pytest.raises(InputError, match="unfinished predictions"):
        open_predictions(tmp_path / "p", small_suite)
    cut = tmp_path / "p" / f"{sorted(kept)[0]}.png"
    cut.write_bytes(cut.read_bytes()[:40])  # what a power cut may leave
    again = Recorder()
    predict(again, small_suite, tmp_path / "p")
    assert set(again.shown) == set(keys_of(small_suite)) - kept | {cut.stem}
    predict(Recorder(), small_suite, tmp_path / "whole")
    resumed, whole = contents(tmp_path / "p"), contents(tmp_path / "whole")
    assert {n: d for n, d in resumed.items() if n != MANIFEST} == {
        n: d for n, d in whole.items() if n != MANIFEST
    }
    once_more = Recorder()
    predict(once_more, small_suite, tmp_path / "p")
    assert not once_more.shown


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": 1}, "seed 0 instead of 1"),
        ({"prompt": "task"}, "prompt_mode 'none' instead of 'task'"),
        ({"pairs": "shuffled"}, "pairs 'true' instead of 'shuffled'"),
        ({"track": "open"}, "track 'closed' instead of 'open'"),
        ({"method": "copy-a-prime"}, "method.name 'copy-b' instead of 'copy-a-prime'"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_predictions_of_other_settings_are_never_mixed(
    change: dict[str, Any], sentence: str, finished: bool, small_suite: Dataset, tmp_path: Path
) -> None:
    if finished:
        predict("copy-b", small_suite, tmp_path, limit=1)
    else:
        predict("copy-b", small_suite, tmp_path, shard=(1, 20))
    before = contents(tmp_path)
    with pytest.raises(InputError, match=sentence):
        predict(**{"method": "copy-b", "suite": small_suite, "out": tmp_path, **change})
    assert contents(tmp_path) == before


def test_a_folder_with_something_else_is_left_alone(small_suite: Dataset, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="something else"):
        predict("copy-b", small_suite, tmp_path)
    assert contents(tmp_path) == {"holiday.jpg": b"x"}


NAN = np.full((32, 32, 3), np.nan, np.float32)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (RuntimeError("out of luck"), "RuntimeError: out of luck"),
        (None, "it gave None"),
        (Image.new("RGB", (31, 32)), "31x32, b is 32x32"),
        (Image.new("L", (32, 32)), "mode L, not RGB"),
        (NAN, "array of float32 .* with NaN"),
        ("b.png", "it gave str"),
    ],
)
def test_a_wrong_output_is_named_and_the_rest_is_kept(
    fault: Any, sentence: str, small_suite: Dataset, tmp_path: Path
) -> None:
    bad = keys_of(small_suite)[7]
    with pytest.raises(InputError, match=f"1 of 48 samples, the first is '{bad}': .*{sentence}"):
        predict(Recorder({bad: fault}), small_suite, tmp_path)
    assert {path.stem for path in tmp_path.glob("*.png")} == set(keys_of(small_suite)) - {bad}
    assert not (tmp_path / MANIFEST).exists()
    mended = Recorder()
    assert predict(mended, small_suite, tmp_path).samples == 48  # type: ignore[union-attr]
    assert set(mended.shown) == {bad}


def test_a_method_s_image_that_cannot_be_read_is_named(
    small_suite: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "cut.png").write_bytes(
        encode(Image.effect_noise((32, 32), 90).convert("RGB"))[:300]
    )
    bad = keys_of(small_suite)[3]
    method = Recorder({bad: Image.open(tmp_path / "cut.png")})
    with pytest.raises(
        InputError,
        match=f"1 of 48 samples, the first is '{bad}': it gave an image that cannot be read",
    ):
        predict(method, small_suite, tmp_path / "p")


def test_several_failures_are_all_named(small_suite: Dataset, tmp_path: Path) -> None:
    first, *others = sorted(keys_of(small_suite)[5:20:5])
    with pytest.raises(
        InputError,
        match=(
            f"3 of 48 samples, the first is '{first}': ValueError: no \\(then '{others[0]}', "
            f"'{others[1]}'\\)"
        ),
    ):
        predict(Recorder(dict.fromkeys([first, *others], ValueError("no"))), small_suite, tmp_path)


def test_batches_are_as_large_as_asked_and_change_nothing_else(
    small_suite: Dataset, tmp_path: Path
) -> None:
    class Counting(Recorder):
        sizes: list[int]

        def predict(self, triplets: Sequence[Triplet]) -> list[Any]:
            self.sizes = [*getattr(self, "sizes", []), len(triplets)]
            return super().predict(triplets)

    own, asked = Counting(), Counting()
    predict(own, small_suite, tmp_path / "own")
    predict(asked, small_suite, tmp_path / "asked", batch=2)
    assert (max(own.sizes), max(asked.sizes), sum(asked.sizes)) == (5, 2, 48)
    one, two = contents(tmp_path / "own"), contents(tmp_path / "asked")
    assert {n: d for n, d in one.items() if n != MANIFEST} == {
        n: d for n, d in two.items() if n != MANIFEST
    }
    with pytest.raises(InputError, match="batch of 0"):
        predict(asked, small_suite, tmp_path / "none", batch=0)
    with pytest.raises(InputError, match="is made already"):
        predict(asked, small_suite, tmp_path / "none", options={"gain": 2})


def test_a_method_that_always_fails_is_stopped_early(small_suite: Dataset, tmp_path: Path) -> None:
    method = Recorder({key: ValueError("no") for key in keys_of(small_suite)})
    method.batch_size = 1
    with pytest.raises(InputError, match="failed on 8 samples in a row"):
        predict(method, small_suite, tmp_path)


def test_too_few_images_are_a_failure(small_suite: Dataset, tmp_path: Path) -> None:
    class Short(Recorder):
        def predict(self, triplets: Sequence[Triplet]) -> list[Any]:
            return super().predict(triplets)[1:]

    with pytest.raises(InputError, match="0 images came back for 1 triplets"):
        predict(Short(), small_suite, tmp_path)


def test_what_a_method_is_shown_depends_on_key_and_seed_alone(
    small_suite: Dataset, small_public: Dataset, tmp_path: Path
) -> None:
    whole, public, part = Recorder(), Recorder(), Recorder()
    part.batch_size = 1
    predict(whole, small_suite, tmp_path / "whole", seed=3)
    predict(public, small_public, tmp_path / "public", seed=3)
    predict(part, small_suite, tmp_path / "part", seed=3, limit=9)
    for other in (public, part):
        for key, shown in other.shown.items():
            assert shown == whole.shown[key]
    assert {t.seed for t in whole.shown.values()} == {sample_seed(3, key) for key in whole.shown}
    assert len({t.seed for t in whole.shown.values()}) == 48
    assert {t.prompt for t in whole.shown.values()} == {None}
    assert open_predictions(tmp_path / "public", small_suite).manifest.method.name == "recorder"


def test_prompt_modes(small_suite: Dataset, small_public: Dataset, tmp_path: Path) -> None:
    task, told = Recorder(), Recorder()
    predict(task, small_public, tmp_path / "task", prompt="task")
    assert {t.prompt for t in task.shown.values()} == {TASK_PROMPT}
    predict(told, small_suite, tmp_path / "told", prompt="instruction")
    instructions = {
        r.id: r.instruction for split in ("seen", "unseen") for r in small_suite.records(split)
    }
    assert {key: t.prompt for key, t in told.shown.items()} == instructions
    with pytest.raises(InputError, match="has no instruction"):
        predict(Recorder(), small_public, tmp_path / "public", prompt="instruction")


def test_shuffled_pairs_show_another_transformation_of_the_split(
    small_suite: Dataset, small_public: Dataset, tmp_path: Path
) -> None:
    records = {r.id: (split, r) for split in ("seen", "unseen") for r in small_suite.records(split)}
    donors = shuffled_pairs(small_suite, 5)
    assert donors == shuffled_pairs(small_suite, 5) != shuffled_pairs(small_suite, 6)
    for key, donor in donors.items():
        assert records[key][0] == records[donor][0]
        assert records[key][1].transformation != records[donor][1].transformation
    shown, plain = Recorder(), Recorder()
    predict(shown, small_suite, tmp_path / "s", pairs="shuffled", seed=5)
    predict(plain, small_suite, tmp_path / "t", seed=5)
    for key, t in shown.shown.items():
        assert pixel_hash(t.a_prime) == pixel_hash(plain.shown[donors[key]].a_prime)
        assert pixel_hash(t.b) == pixel_hash(plain.shown[key].b)
    assert read_manifest(tmp_path / "s").pairs == "shuffled"
    with pytest.raises(InputError, match="public view"):
        predict(Recorder(), small_public, tmp_path / "p", pairs="shuffled")
    with pytest.raises(InputError, match="no sample 'nobody'"):
        panel_reader(small_suite).pair("nobody")


def test_a_limit_is_partial_and_goes_on_from_there(small_suite: Dataset, tmp_path: Path) -> None:
    first = predict("copy-b", small_suite, tmp_path, limit=5)
    assert first is not None
    assert (first.samples, first.partial) == (5, True)
    whole = predict("copy-b", small_suite, tmp_path)
    assert whole is not None
    assert (whole.samples, whole.partial) == (48, False)
    assert whole.cost.seconds_per_image is not None


def test_parts_complete_one_folder(small_suite: Dataset, tmp_path: Path) -> None:
    shown = [Recorder() for _ in range(3)]
    made = [
        predict(method, small_suite, tmp_path / "p", shard=(i, 3))
        for i, method in enumerate(shown, 1)
    ]
    assert made[:2] == [None, None]
    assert made[2] is not None
    assert (made[2].samples, made[2].partial) == (48, False)
    assert sorted(key for method in shown for key in method.shown) == sorted(keys_of(small_suite))
    with pytest.raises(InputError, match="no part 4 of 3"):
        predict("copy-b", small_suite, tmp_path / "q", shard=(4, 3))


def test_workers_write_the_same(small_suite: Dataset, tmp_path: Path) -> None:
    predict("color-transfer", small_suite, tmp_path / "one")
    predict("color-transfer", small_suite, tmp_path / "two", workers=2)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert {n: d for n, d in one.items() if n != MANIFEST} == {
        n: d for n, d in two.items() if n != MANIFEST
    }
    with pytest.raises(InputError, match="cannot be sent"):
        predict(Recorder({"k": lambda: 0}), small_suite, tmp_path / "three", workers=2)


ON_RAY = """
import os, ray, time
from pathlib import Path
class OnRay:
    name, gpus = "on-ray", 1
    def __init__(self, notes):
        self.notes = Path(notes)
    def prepare(self, suite):
        if ray.is_initialized():
            node = ray.get_runtime_context().get_node_id()
            (self.notes / f"{node} {os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}").touch()
            until = time.monotonic() + 120
            while len(list(self.notes.iterdir())) < 2 and time.monotonic() < until:
                time.sleep(0.1)  # else a quick node does all of it before the other one is up
    def predict(self, triplets):
        return [t.b.rotate(180) for t in triplets]
"""


def test_two_machines_of_a_ray_cluster_write_what_one_process_writes(
    small_suite: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two real nodes, each with a processor and a GPU (in Ray's books): both work, each loads the
    method once on its own GPU.
    """
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    (tmp_path / "on_ray.py").write_text(ON_RAY)
    (notes := tmp_path / "notes").mkdir()
    spec, options = f"{tmp_path / 'on_ray.py'}:OnRay", {"notes": str(notes)}
    predict(spec, small_suite, tmp_path / "one", options=options)
    # Of this machine alone. Ray takes 127.0.0.1 in an address for the machine's outward one, where
    # nothing listens.
    node = {"num_cpus": 1, "num_gpus": 1, "node_ip_address": "127.0.0.2"}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        cluster.add_node(**node)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        predict(spec, small_suite, tmp_path / "ray", options=options, workers=2, engine="ray")
    finally:
        cluster.shutdown()
    one, two = contents(tmp_path / "one"), contents(tmp_path / "ray")
    assert {n: d for n, d in one.items() if n != MANIFEST} == {
        n: d for n, d in two.items() if n != MANIFEST
    }
    loads = [path.name.split() for path in notes.iterdir()]
    assert len({node for node, _, _ in loads}) == len(loads) == 2
    assert {gpu for _, _, gpu in loads} == {"0"}


def test_bounds_need_the_full_view(small_public: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nearest-seen looks at the answers"):
        predict("nearest-seen", small_public, tmp_path)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"prompt": "tasks"}, "'task'"),
        ({"pairs": "shufled"}, "'shuffled'"),
        ({"track": "opn"}, "'open'"),
        ({"limit": 0}, "limit of 0"),
    ],
)
def test_wrong_settings_are_told(
    settings: dict[str, Any], sentence: str, small_suite: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=sentence):
        predict("copy-b", small_suite, tmp_path / "p", **settings)
    assert not (tmp_path / "p").exists()


# Reading


@pytest.fixture
def bare(small_suite: Dataset, truth: dict[str, Image.Image], tmp_path: Path) -> Path:
    folder = tmp_path / "bare"
    folder.mkdir()
    for i, (key, image) in enumerate(sorted(truth.items())):
        ext = ("png", "webp")[i % 2]
        (folder / f"{key}.{ext}").write_bytes(encode(image, ext))
    return folder


def test_a_bare_folder_needs_a_name_and_reads_every_format(
    bare: Path, small_suite: Dataset, truth: dict[str, Image.Image]
) -> None:
    with pytest.raises(InputError, match="--name"):
        open_predictions(bare, small_suite)
    (bare / "README.txt").write_text("made by hand")
    opened = open_predictions(bare, small_suite, "mine")
    assert opened.manifest.method.name == "mine"
    assert opened.manifest.track == "open"
    assert {key: pixel_hash(opened[key]) for key in opened} == {
        key: pixel_hash(image) for key, image in truth.items()
    }


def test_shards_of_images_read_like_files(bare: Path, small_suite: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "sharded"
    folder.mkdir()
    for n in range(2):
        with tarfile.open(folder / f"{n:06d}.tar", "w") as tar:
            for path in sorted(bare.iterdir())[n::2]:
                tar.add(path, path.name)
    plain, sharded = (
        open_predictions(bare, small_suite, "x"),
        open_predictions(folder, small_suite, "x"),
    )
    assert {k: pixel_hash(plain[k]) for k in plain} == {k: pixel_hash(sharded[k]) for k in sharded}
    with tarfile.open(folder / "000002.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../../evil.png"), io.BytesIO())
    with pytest.raises(InputError, match="evil"):
        open_predictions(folder, small_suite, "x")
    (folder / "000002.tar").write_bytes((folder / "000000.tar").read_bytes()[:700])
    with pytest.raises(InputError, match="cut or damaged"):
        open_predictions(folder, small_suite, "x")


def test_extra_and_duplicate_keys_and_other_formats_are_refused(
    bare: Path, small_suite: Dataset
) -> None:
    first = sorted(bare.iterdir())[0]
    (bare / f"{first.stem}.jpg").write_bytes(encode(Image.new("RGB", (32, 32)), "jpg"))
    with pytest.raises(InputError, match=f"two predictions for '{first.stem}'"):
        open_predictions(bare, small_suite, "x")
    (bare / f"{first.stem}.jpg").rename(bare / "stranger.jpg")
    with pytest.raises(InputError, match="the first is 'stranger'"):
        open_predictions(bare, small_suite, "x")
    (bare / "stranger.jpg").rename(bare / f"{first.stem}.JPEG")
    with pytest.raises(InputError, match=f"two predictions for '{first.stem}'"):
        open_predictions(bare, small_suite, "x")
    (bare / f"{first.stem}.JPEG").rename(bare / f"{first.stem}.bmp")
    with pytest.raises(InputError, match="cannot be scored"):
        open_predictions(bare, small_suite, "x")


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_other_modes_are_read_as_the_colours_they_mean_and_holes_are_refused(
    bare: Path, small_suite: Dataset
) -> None:
    path = next(path for path in sorted(bare.iterdir()) if path.suffix == ".png")
    grey = Image.effect_noise((32, 32), 60)
    whole, holed = (
        Image.merge("RGBA", [*grey.convert("RGB").split(), Image.new("L", (32, 32), alpha)])
        for alpha in (255, 254)
    )
    for image in (grey, whole, grey.convert("RGB").quantize(256)):
        path.write_bytes(png(image))
        read = open_predictions(bare, small_suite, "x")[path.stem]
        assert read.mode == "RGB"
        assert pixel_hash(read) == pixel_hash(image.convert("RGB"))
    path.write_bytes(png(holed))
    with pytest.raises(InputError, match=f"{path.name} has transparent pixels"):
        open_predictions(bare, small_suite, "x")[path.stem]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-12],
        lambda data: b"",
        lambda data: b"GIF89a",
    ],
)
def test_a_damaged_image_is_named_when_it_is_scored(
    spoil: Callable[[bytes], bytes], bare: Path, small_suite: Dataset
) -> None:
    path = next(path for path in sorted(bare.iterdir()) if path.suffix == ".png")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(
        InputError, match=f"{path.name} is not a whole png, jpg or webp image"
    ) as error:
        score(bare, small_suite, ["mse"], name="x")
    assert "\n" not in str(error.value)


def test_another_size_is_refused_or_resized_and_counted(bare: Path, small_suite: Dataset) -> None:
    path = next(path for path in sorted(bare.iterdir()) if path.suffix == ".png")
    path.write_bytes(encode(Image.new("RGB", (16, 8))))
    with pytest.raises(InputError, match=f"'{path.stem}' is 16x8, b is 32x32.*--resize"):
        score(bare, small_suite, ["mse"], name="x")
    with pytest.raises(InputError, match="another aspect.*--resize crop, pad or stretch"):
        score(bare, small_suite, ["mse"], name="x", resize=True)
    for mode in ("crop", "pad", "stretch"):
        report = score(bare, small_suite, ["mse"], name="x", resize=mode)
        assert (report.resized, report.resize) == (1, mode)
    path.write_bytes(encode(Image.new("RGB", (16, 16))))
    assert score(bare, small_suite, ["mse"], name="x", resize=True).resized == 1
    with pytest.raises(InputError, match="way to resize 'squash'"):
        score(bare, small_suite, ["mse"], name="x", resize="squash")


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (10, 5), (7, 30)])
def test_cropped_padded_and_stretched_answers_are_what_the_words_say(size: tuple[int, int]) -> None:
    """A picture that is red on its left half and blue on its right, brought to 20x20."""
    width, height = size
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, : width // 2, 0], picture[:, width // 2 :, 2] = 255, 255
    image = Image.fromarray(picture)

    def brought(mode: Any) -> np.ndarray:
        result, resized = fitted(image, "k", (20, 20), mode)
        assert (result.size, resized) == ((20, 20), True)
        return np.asarray(result).astype(int)

    stretched, cropped, padded = brought("stretch"), brought("crop"), brought("pad")
    for whole in (stretched, cropped):
        assert whole.sum(2).min() > 150  # no black anywhere
        assert (whole[:, 0, 0] > 200).all()
        assert (whole[:, -1, 2] > 200).all()
    black = padded.sum(2) == 0
    assert black.any()
    covered = 20 * min(width, height) / max(width, height)
    if width > height:  # black rows above and below, as many of each to a pixel
        assert abs((~black.all(1)).sum() - covered) <= 1
        assert abs(int(black[:10].all(1).sum()) - int(black[10:].all(1).sum())) <= 1
    else:
        assert abs((~black.all(0)).sum() - covered) <= 1
        assert abs(int(black[:, :10].all(0).sum()) - int(black[:, 10:].all(0).sum())) <= 1


def test_an_answer_of_nearly_b_s_aspect_is_scaled() -> None:
    """Sizes that a model rounds to multiples of 16 are the same aspect to a pixel of b, or they are
    not.
    """
    image = Image.new("RGB", (512, 336))
    assert fitted(image, "k", (480, 315), "scale")[0].size == (480, 315)
    with pytest.raises(InputError, match="another aspect"):
        fitted(image, "k", (480, 300), "scale")


def test_nothing_to_read_is_told(small_suite: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        open_predictions(tmp_path / "nowhere", small_suite, "x")
    with pytest.raises(InputError, match="no predictions by key"):
        open_predictions(tmp_path, small_suite, "x")
    with pytest.raises(InputError, match="no predictions by key"):
        open_predictions({}, small_suite)


def test_predictions_for_another_suite_are_refused(small_suite: Dataset, tmp_path: Path) -> None:
    predict("copy-b", small_suite, tmp_path / "p")
    content = json.loads((tmp_path / "p" / MANIFEST).read_text())
    for change, sentence in (
        (
            {"suite": {"name": "small", "version": "2", "fingerprint": "f" * 64}},
            "predictions for small 2 .* not for small 1",
        ),
        ({"format_version": 2}, "format_version"),
        ({"surprise": 1}, "surprise"),
    ):
        shutil.rmtree(tmp_path / "q", ignore_errors=True)
        shutil.copytree(tmp_path / "p", tmp_path / "q")
        (tmp_path / "q" / MANIFEST).write_text(json.dumps(content | change))
        with pytest.raises(InputError, match=sentence):
            open_predictions(tmp_path / "q", small_suite)
    with pytest.raises(InputError, match="--name is for bare folders"):
        open_predictions(tmp_path / "p", small_suite, "somebody-else")


def test_two_trainings_of_one_checkpoint_are_never_mixed(
    small_suite: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lorweb_bench.methods import base

    class Entry:
        name, value = "checkpoint", "x:y"

        def load(self) -> Any:
            return lambda folder: Recorder()

    monkeypatch.setattr(base, "installed", lambda *a, **k: {"checkpoint": Entry()})
    folder = tmp_path / "ckpt"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"1")
    predict(str(folder), small_suite, tmp_path / "p", limit=2)
    predict(str(folder), small_suite, tmp_path / "p", limit=3)
    (folder / "adapter_model.safetensors").write_bytes(b"2")
    with pytest.raises(InputError, match="method.checkpoint_sha256"):
        predict(str(folder), small_suite, tmp_path / "p", limit=4)


# What a folder of predictions is

DARKENING = """
class Darkening:
    name = "darkening"
    def predict(self, triplets):
        return [t.b.point(lambda level: level // {by}) for t in triplets]
"""


def command(*words: object) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own: a module is imported once in each."""
    called = [sys.executable, "-m", "lorweb_bench", *map(str, words)]
    return subprocess.run(called, capture_output=True, text=True)


def test_predictions_of_edited_code_are_refused_or_made_anew(
    small_suite: Dataset, tmp_path: Path
) -> None:
    file, folder = tmp_path / "darkening.py", tmp_path / "p"
    file.write_text(DARKENING.format(by=2))
    run = ("predict", "--method", f"{file}:Darkening", "--suite", small_suite.path, "-o", folder)
    assert command(*run, "--limit", 4).returncode == 0
    goes_on = command(*run, "--limit", 6)
    assert goes_on.returncode == 0
    assert "4 of 6 predictions are kept from an earlier run" in goes_on.stderr
    again = command(*run, "--limit", 6)
    assert "all 6 predictions are kept from an earlier run" in again.stderr
    before = contents(folder)
    file.write_text(DARKENING.format(by=3))
    refused = command(*run, "--limit", 6)
    assert refused.returncode == 2
    assert "an earlier state of the method's code made" in refused.stderr
    assert "choose another folder with -o, or make them anew with --overwrite" in refused.stderr
    assert contents(folder) == before
    anew = command(*run, "--limit", 6, "--overwrite")
    assert (anew.returncode, "kept" in anew.stderr) == (0, False)
    opened = open_predictions(folder, small_suite)
    for key, q in ((q.key, q) for s in SUITE_SPLITS for q in small_suite.quadruplets(s)):
        if key in opened:
            assert (np.asarray(opened[key]) == np.asarray(q.b) // 3).all()
    assert len(opened) == 6


def test_overwrite_deletes_predictions_alone(small_suite: Dataset, tmp_path: Path) -> None:
    predict("copy-b", small_suite, tmp_path / "p", limit=3)
    predict("copy-a-prime", small_suite, tmp_path / "p", limit=2, overwrite=True)
    opened = open_predictions(tmp_path / "p", small_suite)
    assert (opened.manifest.method.name, len(opened)) == ("copy-a-prime", 2)
    (tmp_path / "holiday.png").write_bytes(b"x")
    with pytest.raises(InputError, match="something else"):
        predict("copy-b", small_suite, tmp_path, overwrite=True)
    assert (tmp_path / "holiday.png").read_bytes() == b"x"
    with pytest.raises(InputError, match="--overwrite with --shard"):
        predict("copy-b", small_suite, tmp_path / "q", overwrite=True, shard=(1, 2))


class Choosy(Recorder):
    """Has no answer to every fourth item: it raises, or gives None."""

    def __init__(self, raises: bool) -> None:
        super().__init__()
        self.raises = raises

    def predict(self, triplets: Sequence[Triplet]) -> list[Any]:
        hard = [int(t.key, 16) % 4 == 0 for t in triplets]
        if self.raises and any(hard):
            raise ValueError("too hard")
        return [None if h else t.b for h, t in zip(hard, triplets, strict=True)]


@pytest.mark.parametrize("raises", [True, False])
def test_a_method_that_cannot_answer_some_items_can_be_scored(
    raises: bool, small_suite: Dataset, tmp_path: Path
) -> None:
    hard = {key for key in keys_of(small_suite) if int(key, 16) % 4 == 0}
    with pytest.raises(InputError, match="leave these out with --allow-missing"):
        predict(Choosy(raises), small_suite, tmp_path / "p")
    manifest = predict(Choosy(raises), small_suite, tmp_path / "p", allow_missing=True)
    assert manifest is not None
    assert set(manifest.unanswered) == hard != set()
    assert set(manifest.unanswered.values()) == {
        "ValueError: too hard" if raises else "it gave None, not a PIL image"
    }
    assert (manifest.samples, manifest.partial) == (48 - len(hard), False)
    assert read_manifest(tmp_path / "p") == manifest
    report = score(tmp_path / "p", small_suite, ["edit_recovery"])
    columns = report.per_sample or {}
    assert report.missing == len(hard)
    assert set(columns["key"][columns["missing"]]) == hard
    assert set(columns["edit_recovery"][columns["missing"]]) == {-1.0}
    assert predict(Choosy(raises), small_suite, tmp_path / "p", allow_missing=True) == manifest


def test_what_an_unfinished_run_has_can_be_scored_on_request(
    small_suite: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        predict(Recorder(stop_after=12), small_suite, tmp_path / "p", seed=4)
    with pytest.raises(InputError, match="unfinished predictions.*--allow-missing"):
        score(tmp_path / "p", small_suite, ["mse"])
    report = score(tmp_path / "p", small_suite, ["mse"], allow_missing=True)
    assert (report.method.name, report.seed) == ("recorder", 4)
    assert report.missing == 48 - len(list((tmp_path / "p").glob("*.png")))


WRONG = """
from PIL import Image
class Wrong:
    name, batch_size = "wrong", 8
    def __init__(self, notes, fault):
        self.notes, self.fault = notes, fault
    def predict(self, triplets):
        with open(self.notes, "a") as f:
            f.write("x" * len(triplets))
        images = [t.b for t in triplets]
        return {
            "size": [image.resize((7, 5)) for image in images],
            "type": [str(image) for image in images],
            "mode": [image.convert("L") for image in images],
            "number": images[1:],
            "no list": None,
        }[self.fault]
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("size", "7x5, b is 32x32"),
        ("type", "it gave str"),
        ("mode", "mode L, not RGB"),
        ("number", "0 images came back for 1 triplets"),
        ("no list", "None came back for a list of 1 triplets"),
    ],
)
def test_a_wrong_kind_of_answer_is_told_after_the_first_image(
    workers: int, fault: str, sentence: str, small_suite: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    notes = tmp_path / "notes"
    with pytest.raises(InputError, match=f"'wrong' was stopped at .*{sentence}"):
        predict(
            f"{tmp_path / 'wrong.py'}:Wrong",
            small_suite,
            tmp_path / "p",
            options={"notes": str(notes), "fault": fault},
            workers=workers,
        )
    # With workers up to four pieces are on their way when the first one tells; each asks for one
    # image.
    assert len(notes.read_text()) <= (1 if workers == 1 else 4)


def test_endings_are_read_in_either_case(
    small_suite: Dataset, truth: dict[str, Image.Image], tmp_path: Path
) -> None:
    for i, (key, image) in enumerate(sorted(truth.items())):
        ext = ("PNG", "jpeg", "JPG", "WebP")[i % 4]
        image.save(tmp_path / f"{key}.{ext}", "JPEG" if ext[:2].lower() == "jp" else ext)
    assert set(open_predictions(tmp_path, small_suite, "x")) == set(truth)


def test_a_folder_further_down_is_named(bare: Path, small_suite: Dataset, tmp_path: Path) -> None:
    (tmp_path / "outer").mkdir()
    bare.rename(tmp_path / "outer" / "images")
    with pytest.raises(InputError, match="outer/images holds 48; give that"):
        open_predictions(tmp_path / "outer", small_suite, "x")
    inner = tmp_path / "outer" / "images"
    (inner / "more").mkdir()
    for path in sorted(inner.glob("*.png"))[:5]:
        path.rename(inner / "more" / path.name)
    with pytest.raises(InputError, match="images/more holds 5 of the predictions that .* lacks"):
        open_predictions(inner, small_suite, "x")


def test_a_bare_folder_can_say_how_it_was_made(bare: Path, small_suite: Dataset) -> None:
    manifest = open_predictions(
        bare, small_suite, "x", prompt="instruction", track="closed"
    ).manifest
    assert (manifest.prompt_mode, manifest.track) == ("instruction", "closed")
    report = score(bare, small_suite, ["mse"], name="x", prompt="task")
    assert (report.prompt_mode, report.track) == ("task", "open")
    with pytest.raises(InputError, match="'tasks'"):
        score(bare, small_suite, ["mse"], name="x", prompt="tasks")


def test_what_a_manifest_says_cannot_be_said_otherwise(
    small_suite: Dataset, tmp_path: Path
) -> None:
    predict("copy-b", small_suite, tmp_path / "p")
    with pytest.raises(InputError, match="--prompt is for bare folders"):
        open_predictions(tmp_path / "p", small_suite, prompt="task")
    with pytest.raises(InputError, match="--track is for bare folders"):
        open_predictions(tmp_path / "p", small_suite, track="open")
