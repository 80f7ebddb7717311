"""Scoring end to end on known truths: the oracle, a copy of b, missing predictions, order,
workers, and reports on disk.
"""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import lorweb_bench as lb
from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import encode, to_array
from lorweb_bench.errors import InputError
from lorweb_bench.predictions.reader import open_predictions
from lorweb_bench.protocol import SEEN_TIERS, UNSEEN_TIERS
from lorweb_bench.reports.report import Report, open_report, read_per_sample
from lorweb_bench.scoring.evaluate import evaluate, predict, score
from lorweb_bench.scoring.score import _pieces

GROUPS = ("seen", "unseen", *SEEN_TIERS, *UNSEEN_TIERS[:3])
EXACT = ("mse", "psnr", "ssim", "edit_recovery", "retrieval")


def means(report: Report) -> dict[tuple[str, str], float]:
    return {
        (group, metric): s.mean for group, of in report.scores.items() for metric, s in of.items()
    }


@pytest.fixture(scope="module")
def noisy(truth: dict[str, Image.Image]) -> dict[str, Image.Image]:
    """Predictions that are neither right nor wrong, so that an order or a worker could change a
    digit.
    """
    rng = np.random.default_rng(0)
    images = {}
    for key, image in truth.items():
        array = to_array(image).astype(int)
        images[key] = Image.fromarray(
            (array + rng.integers(-60, 60, array.shape)).clip(0, 255).astype(np.uint8)
        )
    return images


def test_the_oracle_scores_one_everywhere(
    small_suite: Dataset, truth: dict[str, Image.Image]
) -> None:
    report = score(truth, small_suite)
    assert report.metrics == EXACT
    assert set(GROUPS) <= set(report.scores)
    assert {"unseen_hard", "seen_single_hard"} <= set(report.scores)
    assert any(group.startswith("unseen/") for group in report.scores)
    for group in report.scores.values():
        assert [group[m].mean for m in EXACT] == [0.0, 50.0, 1.0, 1.0, 1.0]
        assert [group[m].higher_is_better for m in EXACT] == [False, True, True, True, True]
    assert report.missing == 0
    assert report.chance == {"retrieval": pytest.approx(0.02)}
    assert (
        report.gap is None
    )  # nobody knows what a folder of images was trained on: the track is open


def test_a_copy_of_b_recovers_exactly_nothing(small_suite: Dataset) -> None:
    report = evaluate("copy-b", small_suite, ["edit_recovery"])
    assert set(means(report).values()) == {0.0}
    assert report.gap is not None
    assert report.gap["new_parameters"]["edit_recovery"]["gap"] == 0.0


def test_nothing_but_the_metrics_asked_for(
    small_suite: Dataset, truth: dict[str, Image.Image]
) -> None:
    assert score(truth, small_suite, ["psnr", "mse"]).metrics == ("psnr", "mse")


@given(data=st.data())
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_leaving_out_any_predictions_never_raises_a_score(
    data: st.DataObject,
    small_suite: Dataset,
    truth: dict[str, Image.Image],
    noisy: dict[str, Image.Image],
) -> None:
    """Whole predictions are right, noisy or inverted, item by item; then any of them are left
    out.
    """
    kinds = {key: data.draw(st.sampled_from("rni"), label=key) for key in sorted(truth)}
    inverted = {key: Image.fromarray(255 - to_array(image)) for key, image in truth.items()}
    whole = {key: {"r": truth, "n": noisy, "i": inverted}[kind][key] for key, kind in kinds.items()}
    dropped = data.draw(
        st.sets(st.sampled_from(sorted(truth)), min_size=1, max_size=len(truth) - 1)
    )
    metrics = ["mse", "psnr", "ssim", "edit_recovery", "retrieval"]
    before = score(whole, small_suite, metrics)
    after = score(
        {key: image for key, image in whole.items() if key not in dropped}, small_suite, metrics
    )
    assert after.missing == len(dropped)
    for group, of in before.scores.items():
        for metric, value in of.items():
            change = after.scores[group][metric].mean - value.mean
            assert (change if value.higher_is_better else -change) <= 1e-12
            assert after.scores[group][metric].samples == value.samples


def test_missing_predictions_count_the_worst(
    small_suite: Dataset, truth: dict[str, Image.Image]
) -> None:
    key = sorted(truth)[0]
    report = score({k: v for k, v in truth.items() if k != key}, small_suite)
    table = report.per_sample
    assert table is not None
    row = table["key"].tolist().index(key)
    assert [table[m][row] for m in EXACT] == [1.0, 0.0, -1.0, -1.0, 0.0]
    assert table["missing"].tolist() == [k == key for k in table["key"]]


def test_scores_do_not_depend_on_order_workers_or_format(
    small_suite: Dataset,
    noisy: dict[str, Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = score(noisy, small_suite)
    assert score(dict(sorted(noisy.items(), reverse=True)), small_suite).scores == expected.scores
    assert score(noisy, small_suite, workers=2).scores == expected.scores
    for ext in ("png", "webp"):
        folder = tmp_path / ext
        folder.mkdir()
        for key, image in noisy.items():
            (folder / f"{key}.{ext}").write_bytes(encode(image, ext))
        assert score(folder, small_suite, name="x").scores == expected.scores
    monkeypatch.setattr("lorweb_bench.scoring.score.BATCH", 5)
    assert score(noisy, small_suite).scores == expected.scores
    monkeypatch.setenv("LORWEB_BENCH_CACHE", "")
    assert (
        score(noisy, Dataset(small_suite.path, small_suite.manifest), ["retrieval"]).scores[
            "unseen"
        ]["retrieval"]
        == (expected.scores["unseen"]["retrieval"])
    )


@pytest.mark.parametrize(
    "metrics", [None, ["edit_recovery", "OWN"]], ids=["built-in", "from a file"]
)
def test_ray_gives_the_same_numbers(
    metrics: list[str] | None,
    small_suite: Dataset,
    noisy: dict[str, Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(
        "import numpy as np\nclass Red:\n    identity = 'red'\n"
        "    higher_is_better = True\n    worst = -1.0\n"
        "    def values(self, batch, suite):\n"
        "        return np.array([s.prediction[..., 0].mean() / 255 for s in batch])\n"
    )
    chosen = metrics and [name.replace("OWN", "own.py:Red") for name in metrics]
    expected = score(noisy, small_suite, chosen)
    found = score(noisy, small_suite, chosen, engine="ray", workers=2)
    assert found.scores == expected.scores
    assert found.per_sample is not None and expected.per_sample is not None
    assert {k: v.tolist() for k, v in found.per_sample.items()} == {
        k: v.tolist() for k, v in expected.per_sample.items()
    }


def test_every_item_is_in_exactly_one_piece(
    small_suite: Dataset, noisy: dict[str, Image.Image]
) -> None:
    opened = open_predictions(noisy, small_suite)
    for workers in (None, 1, 2, 30):
        pieces = list(_pieces(small_suite, opened, workers))
        assert sorted(key for piece in pieces for key in piece.keys) == sorted(noisy)
        assert all(set(piece.predictions) == set(piece.keys) for piece in pieces)


def test_a_report_folder_holds_what_the_design_says(small_suite: Dataset, tmp_path: Path) -> None:
    report = evaluate("color-transfer", small_suite, out=tmp_path / "r")
    assert {p.name for p in (tmp_path / "r").iterdir()} == {
        "report.json",
        "per_sample.parquet",
        "index.html",
        "items",
        "predictions",
    }
    content = json.loads((tmp_path / "r" / "report.json").read_text())
    assert (content["format"], content["format_version"]) == ("lorweb-bench/report", 1)
    assert {
        "suite",
        "method",
        "track",
        "prompt_mode",
        "scores",
        "gap",
        "missing",
        "cost",
        "environment",
    } <= set(content)
    score_keys = {"mean", "ci_low", "ci_high", "transformations", "samples", "higher_is_better"}
    assert set(content["scores"]["unseen"]["psnr"]) == score_keys
    assert content["scores"]["seen"]["psnr"]["ci_low"] is None  # six families only
    table = read_per_sample(tmp_path / "r" / "per_sample.parquet")
    labels = {
        "key",
        "split",
        "transformation",
        "family",
        "kind",
        "tier",
        "a_source",
        "b_source",
        "hard",
        "missing",
        "resized",
    }
    assert set(table) == labels | set(EXACT)
    assert len(table["key"]) == 48
    again = open_report(tmp_path / "r")
    assert again.scores == report.scores
    assert again.per_sample is not None
    assert again.per_sample["psnr"].tolist() == table["psnr"].tolist()
    assert content["environment"]["numpy"] == np.__version__


def test_evaluate_resumes_and_refuses_another_method(small_suite: Dataset, tmp_path: Path) -> None:
    predict("copy-b", small_suite, tmp_path / "r" / "predictions", shard=(1, 4))
    (tmp_path / "r" / ".building").write_text('{"format": "lorweb-bench/report", "identity": null}')
    first = evaluate("copy-b", small_suite, ["psnr"], out=tmp_path / "r")
    made = (tmp_path / "r" / "predictions" / "predictions.json").stat().st_mtime_ns
    assert evaluate("copy-b", small_suite, ["psnr"], out=tmp_path / "r").scores == first.scores
    assert (tmp_path / "r" / "predictions" / "predictions.json").stat().st_mtime_ns == made
    with pytest.raises(InputError, match="'copy-b' instead of 'copy-a-prime'"):
        evaluate("copy-a-prime", small_suite, ["psnr"], out=tmp_path / "r")


def test_five_lines_of_python(small_suite_path: Path) -> None:
    class Method:
        name = "five-lines"

        def predict(self, triplets: Any) -> Any:
            return [t.b for t in triplets]

    suite = lb.open_suite(small_suite_path)
    lb.evaluate(Method(), suite, metrics=["psnr"])
    report = lb.evaluate(
        Method(), suite, metrics=["edit_recovery", "psnr"]
    )  # no submodule hides the name once imported
    assert report.method.name == "five-lines"
    assert report.track == "open"
    assert report.scores["unseen"]["edit_recovery"].mean == 0.0


def test_methods_and_metrics_by_file_run_in_other_processes(
    small_suite: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "class Mine:\n    name = 'mine'\n    def predict(self, triplets):\n"
        "        return [t.a for t in triplets]\nmine = Mine()\n"
        "class Mean:\n    identity = 'mean[1]'\n    higher_is_better = True\n    worst = 0.0\n"
        "    def values(self, batch, suite):\n"
        "        return [s.prediction.mean() / 255 for s in batch]\n"
    )
    one = evaluate(f"{path}:mine", small_suite, [f"{path}:Mean", "psnr"])
    two = evaluate(f"{path}:mine", small_suite, [f"{path}:Mean", "psnr"], workers=2)
    assert one.scores == two.scores
    assert one.metrics == ("mean[1]", "psnr")


def test_shuffled_pairs_cost_what_a_method_takes_from_them(
    small_suite: Dataset, tmp_path: Path
) -> None:
    """Paired by item: copying b loses exactly nothing, fitting the colours of another pair loses
    much.
    """
    for method in ("copy-b", "color-transfer"):
        evaluate(
            method, small_suite, ["edit_recovery", "mse"], out=tmp_path / method, pairs="shuffled"
        )
    blind = evaluate("copy-b", small_suite, ["edit_recovery"], shuffled=tmp_path / "copy-b")
    assert blind.shuffled is not None
    assert {of["edit_recovery"]["drop"] for of in blind.shuffled.values()} == {0.0}
    looks = evaluate(
        "color-transfer",
        small_suite,
        ["mse", "edit_recovery", "psnr"],
        shuffled=tmp_path / "color-transfer",
    )
    other = open_report(tmp_path / "color-transfer")
    assert looks.shuffled is not None and set(looks.shuffled) == set(looks.scores)
    for group, of in looks.shuffled.items():
        assert list(of) == ["mse", "edit_recovery"]
        for metric, told in of.items():
            assert told["shuffled"] == other.scores[group][metric].mean
            assert told["drop"] == pytest.approx(
                looks.scores[group][metric].mean - other.scores[group][metric].mean
            )
    assert looks.shuffled["unseen"]["edit_recovery"]["drop"] > 0.1


def test_a_report_holds_the_command_that_repeats_it(
    small_suite: Dataset,
    truth: dict[str, Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").symlink_to(small_suite.path)
    first = evaluate("copy-b", "small", ["mse"], out="r", pairs="shuffled", seed=3)
    said = (
        "lorweb-bench evaluate --method copy-b --suite small --exemplars 1 --metrics mse "
        "--pairs shuffled --prompt none --seed 3 -o REPORT"
    )
    assert open_report("r").command == first.command == said
    again = score("r/predictions", "small", seed=4)
    assert again.command == "lorweb-bench score r/predictions --suite small --seed 4 -o REPORT"
    assert score(tmp_path / "r" / "predictions", tmp_path / "small", ["mse"]).command == (
        # as they are reached from here
        "lorweb-bench score r/predictions --suite small --metrics mse -o REPORT"
    )
    assert score(truth, small_suite, ["mse"]).command is None


BRIGHTER = """
class Brighter:
    name = "brighter"

    def __init__(self, by: float = 0, words: str = "", off: bool = True, steps: list | None = None):
        assert (words, off, steps) == ("no: 7", False, [1, 2])
        self.by = by * 1e7

    def predict(self, triplets):
        added = [self.by * len(triplets) + triplet.seed % 9 for triplet in triplets]
        return [
            triplet.b.point(lambda level, add=add: min(255, int(level + add)))
            for triplet, add in zip(triplets, added, strict=True)
        ]
"""


def test_the_command_of_a_report_repeats_all_of_it(
    small_suite: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options, batch, pairs, seed, prompt, limit, track, metrics and the shuffled run: the
    command that is printed is run.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "suites of mine").symlink_to(small_suite.path.parent)
    Path("brighter.py").write_text(BRIGHTER)
    options = {"by": 1e-6, "words": "no: 7", "off": False, "steps": [1, 2]}
    asked = {
        "options": options,
        "batch": 3,
        "seed": 5,
        "prompt": "task",
        "limit": 12,
        "track": "closed",
    }
    suite, method = "suites of mine/small", "brighter.py:Brighter"
    evaluate(method, suite, ["mse", "psnr"], out="shuffled", pairs="shuffled", **asked)
    evaluate(
        method,
        suite,
        ["mse", "psnr"],
        out="first",
        shuffled=tmp_path / "shuffled",
        skip_unavailable=True,
        **asked,
    )
    score("first/predictions", suite, ["mse"], out="scored", seed=8, resize=True)
    for made in ("first", "scored"):
        command = open_report(made).command
        assert command is not None
        words = [word if word != "REPORT" else f"again-{made}" for word in shlex.split(command)]
        with pytest.raises(SystemExit) as stopped:
            main(words[1:])
        assert not stopped.value.code
        one, other = (open_report(folder).model_dump() for folder in (made, f"again-{made}"))
        for report in (one, other):
            report.pop("cost")
        assert one == other


def test_a_report_of_another_run_is_no_shuffled_one(
    small_suite: Dataset, truth: dict[str, Image.Image], tmp_path: Path
) -> None:
    evaluate("copy-b", small_suite, ["mse"], out=tmp_path / "true")
    evaluate("copy-b", small_suite, ["mse"], out=tmp_path / "shuffled", pairs="shuffled")
    for method, report, sentence in (
        ("copy-b", "true", "its pairs is 'true', not 'shuffled'"),
        ("copy-a-prime", "shuffled", "its method is 'copy-b', not 'copy-a-prime'"),
        ("copy-b", "nowhere", "does not exist"),
    ):
        with pytest.raises(InputError, match=sentence):
            evaluate(method, small_suite, ["mse"], shuffled=tmp_path / report)
    with pytest.raises(InputError, match="made from shuffled pairs themselves"):
        score(
            tmp_path / "shuffled" / "predictions",
            small_suite,
            ["mse"],
            shuffled=tmp_path / "shuffled",
        )


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("return [float('nan')] * len(batch)", "gave nan for"),
        ("return [1.0]", "gave values of shape"),
    ],
)
def test_metrics_that_give_nonsense_are_named(
    body: str, sentence: str, small_suite: Dataset, truth: dict[str, Image.Image], tmp_path: Path
) -> None:
    fields = "    identity = 'bad'\n    higher_is_better = True\n    worst = 0.0\n"
    (tmp_path / "bad.py").write_text(
        f"class Bad:\n{fields}    def values(self, batch, suite):\n        {body}\n"
    )
    with pytest.raises(InputError, match=f"bad {sentence}"):
        score(truth, small_suite, [f"{tmp_path}/bad.py:Bad"])


def test_a_wrong_size_is_refused_or_resized_and_counted(
    small_suite: Dataset, truth: dict[str, Image.Image]
) -> None:
    key = sorted(truth)[3]
    larger = {**truth, key: truth[key].resize((64, 64))}
    with pytest.raises(InputError, match=f"'{key}' is 64x64, b is 32x32"):
        score(larger, small_suite, ["mse"])
    report = score(larger, small_suite, ["mse"], resize=True)
    assert report.resized == 1
    assert report.scores["seen"]["mse"].mean + report.scores["unseen"]["mse"].mean > 0


def test_images_that_are_no_images_are_named(
    small_suite: Dataset, truth: dict[str, Image.Image], tmp_path: Path
) -> None:
    key = sorted(truth)[0]
    data = encode(truth[key])
    (tmp_path / f"{key}.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=f"{key}.png"):
        score(tmp_path, small_suite, name="x")
    with pytest.raises(InputError, match=f"'{key}' is no RGB image"):
        floats = np.zeros((32, 32, 3))
        score({**truth, key: floats}, small_suite, ["mse"])  # type: ignore[dict-item]
    grey = {**truth, key: truth[key].convert("L")}
    assert score(grey, small_suite, ["mse"]).missing == 0


def test_a_public_view_cannot_be_scored(
    small_public: Dataset, truth: dict[str, Image.Image]
) -> None:
    with pytest.raises(InputError, match="public view"):
        score(truth, small_public)
    with pytest.raises(InputError, match="public view"):
        evaluate("copy-b", small_public)


def test_a_report_of_another_version_or_a_damaged_one_is_refused(
    small_suite: Dataset, tmp_path: Path
) -> None:
    evaluate("copy-b", small_suite, ["mse"], out=tmp_path)
    good = json.loads((tmp_path / "report.json").read_text())
    for content, sentence in (
        (good | {"format_version": 2}, "version 1"),
        ({"x": 1}, "no report"),
        (good | {"missing": "many"}, "missing"),
    ):
        (tmp_path / "report.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=sentence):
            open_report(tmp_path)
    (tmp_path / "report.json").write_text(json.dumps(good))
    (tmp_path / "per_sample.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="Parquet"):
        open_report(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        open_report(tmp_path / "nowhere" / "report.json")


def test_the_report_goes_nowhere_else(
    small_suite: Dataset, truth: dict[str, Image.Image], tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="something else"):
        score(truth, small_suite, out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_suite_is_the_denominator_not_its_sidecars(
    small_suite: Dataset, truth: dict[str, Image.Image], tmp_path: Path
) -> None:
    """A sidecar that names fewer or other keys than its shard does not shrink what is scored."""
    import shutil

    copy = tmp_path / "suite"
    shutil.copytree(small_suite.path, copy)
    sidecar = copy / "unseen" / "000000.json"
    content = json.loads(sidecar.read_text())
    content["items"][0]["key"] = "somebody-else"
    sidecar.write_text(json.dumps(content))
    with pytest.raises(InputError):
        score(
            {k: v for k, v in truth.items() if k in {i["key"] for i in content["items"]}},
            copy,
            ["mse"],
        )
    content["items"] = content["items"][1:]
    sidecar.write_text(json.dumps(content))
    kept = {k: v for k, v in truth.items() if k in {i["key"] for i in content["items"]}}
    with pytest.raises(InputError):
        score(kept, copy, ["mse"])
