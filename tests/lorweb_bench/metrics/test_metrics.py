"""Metrics against independent implementations and known truths."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import pixel_hash
from lorweb_bench.data.samples import Quadruplet, Record
from lorweb_bench.errors import InputError
from lorweb_bench.metrics.base import Metric, Scored, choose_metrics, load_metric
from lorweb_bench.metrics.candidates import (
    CandidateStore,
    Sketches,
    block_means,
    block_side,
    candidates_folder,
)
from lorweb_bench.metrics.edit_recovery import edit_recovery
from lorweb_bench.metrics.pixel import mse, psnr
from lorweb_bench.metrics.retrieval import bounds, is_retrieved
from lorweb_bench.metrics.ssim import ssim

CLASSIC = ("mse", "psnr", "ssim", "edit_recovery", "retrieval")
IMAGES = arrays(np.uint8, st.tuples(st.integers(7, 12), st.integers(7, 12), st.just(3)))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    first = draw(IMAGES)
    return first, draw(arrays(np.uint8, first.shape))


def scored_items(suite: Dataset, count: int = 4) -> list[Scored]:
    quadruplets = list(suite.quadruplets("unseen"))[:count]
    return [Scored(q, np.asarray(q.b_prime)) for q in quadruplets]


@given(pairs())
def test_pixel_metrics_agree_with_scikit_image(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = pair
    assert mse(x, y) == pytest.approx(mean_squared_error(x / 255, y / 255), abs=1e-12)
    if (x != y).any():
        assert psnr(x, y) == pytest.approx(
            min(50.0, peak_signal_noise_ratio(y / 255, x / 255, data_range=1.0))
        )


@given(pairs())
def test_ssim_agrees_with_scikit_image(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = pair
    assert ssim(x, y) == pytest.approx(
        structural_similarity(x, y, channel_axis=2, data_range=255), abs=1e-9
    )


def test_ssim_of_larger_images_agrees_with_scikit_image() -> None:
    x = np.random.default_rng(0).integers(0, 256, (65, 94, 3), dtype=np.uint8)
    y = (x * 0.7 + 20).astype(np.uint8)
    assert ssim(x, y) == pytest.approx(
        structural_similarity(x, y, channel_axis=2, data_range=255), abs=1e-12
    )
    with pytest.raises(InputError, match="at least 7"):
        ssim(x[:6], y[:6])


def test_pixel_metrics_and_ssim_agree_with_torchmetrics() -> None:
    """torchmetrics divides variances by n and scikit-image by n - 1, here 49 and 48: so its
    flat-window SSIM is met within 0.02.
    """
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.image")
    rng = np.random.default_rng(2)
    for _ in range(5):
        x = rng.integers(0, 256, (24, 31, 3), dtype=np.uint8)
        y = np.clip(x.astype(int) + rng.integers(-50, 50, x.shape), 0, 255).astype(np.uint8)
        a, b = (torch.tensor(image.transpose(2, 0, 1)[None] / 255.0) for image in (x, y))
        assert mse(x, y) == pytest.approx(float(torch.nn.functional.mse_loss(a, b)), abs=1e-12)
        assert psnr(x, y) == pytest.approx(
            float(functional.peak_signal_noise_ratio(a, b, data_range=1.0)), abs=1e-5
        )
        theirs = functional.structural_similarity_index_measure(
            a, b, gaussian_kernel=False, kernel_size=7, sigma=1.0, data_range=1.0
        )
        assert ssim(x, y) == pytest.approx(float(theirs), abs=2e-2)


@given(pairs())
def test_edit_recovery_has_its_fixed_points_and_range(pair: tuple[np.ndarray, np.ndarray]) -> None:
    b, b_prime = pair
    assert edit_recovery(b_prime, b, b_prime) == 1.0
    if (b != b_prime).any():
        assert edit_recovery(b, b, b_prime) == 0.0
    assert -1.0 <= edit_recovery(255 - b, b, b_prime) <= 1.0


def test_edit_recovery_is_the_share_of_squared_error() -> None:
    b = np.zeros((8, 8, 3), np.uint8)
    b_prime = np.full_like(b, 100)
    assert edit_recovery(np.full_like(b, 50), b, b_prime) == pytest.approx(0.75)
    assert edit_recovery(np.full_like(b, 255), b, b_prime) == -1.0
    assert edit_recovery(b, b, b) == 1.0
    assert edit_recovery(b_prime, b, b) == -1.0


def test_a_constant_shift_and_a_blur_move_metrics_as_their_docs_say() -> None:
    from cv2 import GaussianBlur

    truth = np.random.default_rng(1).integers(40, 200, (32, 32, 3), dtype=np.uint8)
    b = 255 - truth
    shifted, blurred = truth + 10, GaussianBlur(truth, (0, 0), 2.0)
    assert mse(shifted, truth) == pytest.approx((10 / 255) ** 2)
    assert psnr(shifted, truth) == pytest.approx(20 * math.log10(255 / 10))
    assert ssim(shifted, truth) > 0.98 > 0.5 > ssim(blurred, truth)
    assert 1 > edit_recovery(shifted, b, truth) > edit_recovery(blurred, b, truth) > 0


@pytest.mark.parametrize("name", CLASSIC)
def test_built_in_metrics_keep_the_protocol(name: str, small_suite: Dataset) -> None:
    metric = load_metric(name)
    assert isinstance(metric, Metric)
    assert metric.identity == name
    assert type(metric).__doc__
    items = scored_items(small_suite)
    whole = metric.values(items, small_suite)
    single = [metric.values([item], small_suite)[0] for item in items]
    assert whole.tolist() == single
    assert metric.values(items[::-1], small_suite).tolist() == single[::-1]
    better = 1 if metric.higher_is_better else -1
    assert all(better * (value - metric.worst) > 0 for value in single)


def test_retrieval_knows_the_truth_from_b_and_from_a_candidate(small_suite: Dataset) -> None:
    retrieval = load_metric("retrieval")
    items = scored_items(small_suite, 6)
    assert retrieval.values(items, small_suite).tolist() == [1.0] * 6
    item = items[0]
    other = next(
        name for name in item.record.candidates or () if name != item.record.transformation
    )
    image = small_suite.library().apply(small_suite.manifest.transformations[other].spec, item.b)
    assert retrieval.values([Scored(item.quadruplet, image)], small_suite).tolist() == [0.0]
    assert retrieval.chance(small_suite) == pytest.approx(1 / 50)  # type: ignore[attr-defined]


def brute_force(item: Scored, suite: Dataset) -> float:
    """Retrieval as its definition says: every candidate is run on b and compared with the
    prediction.
    """
    errors = {}
    for name in item.record.candidates or ():
        image = suite.library().apply(suite.manifest.transformations[name].spec, item.b)
        errors[name] = int(np.square(image.astype(np.int64) - item.prediction).sum())
    truth = errors.pop(item.record.transformation)
    return float(truth < min(errors.values()))


def attempts(item: Scored, rng: np.random.Generator) -> list[np.ndarray]:
    """Predictions near the truth, near b, between them, near a candidate, and of something else."""
    b, truth = item.b.astype(float), item.b_prime.astype(float)
    noise = rng.normal(0, 12, b.shape)
    images = [truth, b, item.a_prime, truth + noise, b + noise, (b + truth) / 2]
    images += [
        truth.mean((0, 1)) + 0 * b,
        0.2 * b + 0.8 * truth,
        truth + 30,
        rng.random(b.shape) * 255,
    ]
    return [np.asarray(image).round().clip(0, 255).astype(np.uint8) for image in images]


@pytest.mark.parametrize("cached", [True, False])
def test_retrieval_is_what_brute_force_says(
    cached: bool, small_suite: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For good, middling and bad predictions alike; and again from what is remembered."""
    monkeypatch.setenv("LORWEB_BENCH_CACHE", str(tmp_path) if cached else "")
    rng = np.random.default_rng(0)
    items = [
        Scored(item.quadruplet, image)
        for item in scored_items(small_suite, 2)
        for image in attempts(item, rng)
    ]
    expected = [brute_force(item, small_suite) for item in items]
    assert 0 < sum(expected) < len(expected)
    for _ in range(2):
        store = CandidateStore(small_suite)
        assert [float(is_retrieved(item, small_suite, store)) for item in items] == expected
    assert any((tmp_path / "candidates").rglob("*.npz")) == cached


def test_the_bounds_hold_for_sizes_that_blocks_do_not_divide() -> None:
    """Of ever other images, with what is remembered of candidates made here from their pixels."""
    rng = np.random.default_rng(3)
    for height, width in ((40, 56), (33, 50), (9, 70), (64, 64)):
        shape = (height, width, 3)
        b, truth, p = (rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(3))
        candidates = [p, b, truth, 255 - b, b // 2, np.roll(truth, 3, 1), truth // 2 + p // 2]
        sketches = Sketches(
            np.array([np.square(c.astype(float) - truth).sum() for c in candidates]),
            np.array([np.square(c.astype(float) - b).sum() for c in candidates]),
            np.stack([np.rint(block_means(c, 16) * 257) for c in candidates]).astype(np.uint16),
        )
        q = Quadruplet(
            "k",
            *map(Image.fromarray, (b, truth, b, truth)),
            Record(id="k", width=width, height=height),
        )
        low, high = bounds(Scored(q, p), sketches, 16)
        exact = np.array([np.square(c.astype(float) - p).sum() for c in candidates])
        assert (low <= exact).all()
        assert (exact <= high).all()
        # A prediction that is b itself, or the truth, is known exactly but for rounding.
        for prediction, distances in ((b, sketches.to_b), (truth, sketches.to_truth)):
            low, high = bounds(Scored(q, prediction), sketches, 16)
            assert (high - low <= 0.02 * distances + 1e4).all()


def test_candidates_of_items_with_one_b_are_run_once(
    small_suite: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORWEB_BENCH_CACHE", str(tmp_path))
    quadruplets = [q for s in small_suite.scored_splits for q in small_suite.quadruplets(s)]
    everything = [Scored(q, np.asarray(q.b_prime)) for q in quadruplets]
    pairs = {(pixel_hash(s.b), name) for s in everything for name in s.record.candidates or ()}
    truths = {(pixel_hash(s.b), s.record.transformation) for s in everything}
    runs: list[int] = []
    library = small_suite.library()

    class Counting:
        def apply(self, spec: Any, image: np.ndarray) -> np.ndarray:
            runs.append(1)
            return library.apply(spec, image)

    monkeypatch.setattr(Dataset, "library", lambda suite: Counting())
    store = CandidateStore(small_suite)
    assert all(is_retrieved(item, small_suite, store) for item in everything)
    assert len(runs) <= len(pairs | truths) < 49 * len(everything)
    runs.clear()
    again = CandidateStore(small_suite)
    assert all(is_retrieved(item, small_suite, again) for item in everything)
    assert not runs  # an exact answer is known from what is remembered


def test_damaged_sketches_are_made_again(
    small_suite: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORWEB_BENCH_CACHE", str(tmp_path))
    (item,) = scored_items(small_suite, 1)
    sketches = CandidateStore(small_suite).sketches(item, pixel_hash(item.b))
    path = next((tmp_path / "candidates").rglob(f"{item.key}.npz"))
    whole = path.read_bytes()
    spoilt = bytearray(whole)
    spoilt[len(whole) // 2] ^= 1
    for damaged in (bytes(spoilt), whole[:50], b""):
        path.write_bytes(damaged)
        again = CandidateStore(small_suite).sketches(item, pixel_hash(item.b))
        for name, array in vars(sketches).items():
            assert (getattr(again, name) == array).all()
    assert path.read_bytes() == whole


def test_sketches_stay_within_their_room_on_disk(
    small_suite: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lorweb_bench.metrics import candidates

    assert block_side(small_suite) == 16
    monkeypatch.setattr(candidates, "MAX_BYTES", 48 * 50 * 6)
    assert block_side(small_suite) == 32  # one block a panel
    assert candidates_folder(small_suite, 16) != candidates_folder(small_suite, 32)
    assert candidates_folder(small_suite) == candidates_folder(small_suite)


def test_candidates_can_be_kept_nowhere(
    small_suite: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORWEB_BENCH_CACHE", "")
    assert candidates_folder(small_suite) is None


def test_unknown_metrics_name_the_nearest(small_suite: Dataset) -> None:
    with pytest.raises(InputError, match="did you mean 'edit_recovery'"):
        choose_metrics(["edit_recovry"], small_suite)
    with pytest.raises(InputError, match="asked for twice"):
        choose_metrics(["mse", "mse"], small_suite)


def test_a_suite_gets_only_the_metrics_that_it_supports(small_suite: Dataset) -> None:
    manifest = small_suite.manifest
    nameless = Dataset(
        small_suite.path, manifest.model_copy(update={"transformation_library": None})
    )
    assert [m.identity for m in choose_metrics(None, nameless).metrics] == [
        "mse",
        "psnr",
        "ssim",
        "edit_recovery",
    ]
    with pytest.raises(InputError, match="does not support the metric retrieval"):
        choose_metrics(["retrieval"], nameless)
    name = next(n for n, info in manifest.transformations.items() if info.tier)
    open_ended = {
        **manifest.transformations,
        name: manifest.transformations[name].model_copy(update={"deterministic": False}),
    }
    edited = Dataset(small_suite.path, manifest.model_copy(update={"transformations": open_ended}))
    with pytest.raises(InputError, match="no single right answer"):
        choose_metrics(["mse"], edited)


OWN = (
    "import numpy as np\nclass Red:\n    higher_is_better = True\n    worst = -1.0\n"
    "    def __init__(self, share='1'):\n        self.share = float(share)\n"
    "        self.identity = f'red[{share}]'\n"
    "    def values(self, batch, suite):\n"
    "        return np.array([self.share * s.prediction[..., 0].mean() / 255 for s in batch])\n"
)


def test_an_installed_package_brings_metrics(
    tmp_path: Path, small_suite: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real little distribution on the path: by entry point, by module, with an argument, and
    never unasked.
    """
    (tmp_path / "little_metrics.py").write_text(OWN)
    info = tmp_path / "little_metrics-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: little-metrics\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lorweb_bench.metrics]\nredness = little_metrics:Red\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    whole, half = (load_metric(spec) for spec in ("redness", "redness[0.5]"))
    assert (whole.identity, half.identity) == ("red[1]", "red[0.5]")
    assert load_metric("little_metrics:Red").identity == "red[1]"
    items = scored_items(small_suite)
    assert half.values(items, small_suite).tolist() == pytest.approx(
        whole.values(items, small_suite) / 2
    )
    with pytest.raises(InputError, match="did you mean 'redness'"):
        load_metric("rednes")
    with pytest.raises(InputError, match="cannot be made: ValueError: could not convert"):
        load_metric("redness[much]")
    assert [m.identity for m in choose_metrics(None, small_suite).metrics] == list(CLASSIC)


def test_retrieval_forgives_a_blur_and_a_shift_but_not_another_edit(small_suite: Dataset) -> None:
    """As its docs say: a right edit that is blurred or a little too bright is still nearest to the
    truth; a faint one may not be.
    """
    from cv2 import GaussianBlur

    items = scored_items(small_suite, 12)
    retrieval, quality = load_metric("retrieval"), load_metric("psnr")
    blurred = [Scored(s.quadruplet, GaussianBlur(s.b_prime, (0, 0), 0.6)) for s in items]
    shifted = [
        Scored(s.quadruplet, np.clip(s.b_prime.astype(int) + 3, 0, 255).astype(np.uint8))
        for s in items
    ]
    faint = [Scored(s.quadruplet, s.b) for s in items]
    assert retrieval.values(blurred, small_suite).mean() > 0.7
    assert retrieval.values(shifted, small_suite).mean() > 0.7
    assert retrieval.values(faint, small_suite).mean() < 0.5
    assert (
        quality.values(blurred, small_suite).mean() < 40 < quality.values(items, small_suite).mean()
    )


def test_a_metric_of_ones_own_is_named_by_file(tmp_path: Path, small_suite: Dataset) -> None:
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "class Red:\n"
        "    identity = 'red[own]'\n    higher_is_better = True\n    worst = -1.0\n"
        "    def values(self, batch, suite):\n"
        "        return np.array([s.prediction[..., 0].mean() / 255 for s in batch])\n"
        "number = 3\n"
    )
    metric = load_metric(f"{tmp_path}/own.py:Red")
    assert metric.identity == "red[own]"
    assert len(metric.values(scored_items(small_suite, 2), small_suite)) == 2
    with pytest.raises(InputError, match="is no metric"):
        load_metric(f"{tmp_path}/own.py:number")


def test_l1_is_the_mean_absolute_error_and_is_computed_on_request(small_suite: Dataset) -> None:
    items = scored_items(small_suite)
    shifted = [Scored(item.quadruplet, 255 - item.b_prime) for item in items]
    values = load_metric("l1").values(shifted, small_suite)
    for item, value in zip(shifted, values, strict=True):
        error = np.abs(item.prediction.astype(float) - item.b_prime) / 255
        assert value == pytest.approx(error.mean(), abs=1e-12)
    assert "l1" not in [metric.identity for metric in choose_metrics(None, small_suite).metrics]
    assert [m.identity for m in choose_metrics(["l1"], small_suite).metrics] == ["l1"]
