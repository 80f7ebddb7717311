"""Figures: the same items across methods."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorweb_bench.compare.figure import write_figure
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import UNSEEN_TIERS
from lorweb_bench.reports.report import open_report, write_report
from lorweb_bench.reports.report_page import chosen_items
from lorweb_bench.scoring.evaluate import evaluate


@pytest.fixture(scope="module")
def reports(small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("figure")
    names = ("copy-b", "color-transfer")
    for name in names:
        evaluate(name, small_suite, ["edit_recovery", "mse"], out=folder / name)
    return [folder / name for name in names]


def test_by_default_the_best_median_and_worst_of_each_unseen_tier_are_rows(
    reports: list[Path], small_suite: Dataset, tmp_path: Path
) -> None:
    shown = write_figure(reports, tmp_path / "f.png", suite=small_suite)
    table = open_report(reports[0]).per_sample
    chosen = chosen_items(table, "edit_recovery", True)
    expected = [key for tier in UNSEEN_TIERS if tier in chosen for key in chosen[tier].values()]
    assert list(shown) == list(dict.fromkeys(expected))
    with Image.open(tmp_path / "f.png") as figure:
        assert figure.width > 6 * 192 and figure.height > len(shown) * 192


def test_items_of_a_key_show_their_panels_in_order(
    reports: list[Path], small_suite: Dataset, tmp_path: Path
) -> None:
    key = str(open_report(reports[0]).per_sample["key"][5])
    split = str(open_report(reports[0]).per_sample["split"][5])
    assert write_figure(reports, tmp_path / "f.png", suite=small_suite, keys=[key]) == (key,)
    [q] = list(small_suite.quadruplets(split, keys={key}))
    figure = np.asarray(Image.open(tmp_path / "f.png").convert("RGB")).astype(float)
    row = figure[16 + 22 : 16 + 22 + 192]
    for column, panel in enumerate((q.a, q.a_prime, q.b, q.b)):  # copy-b hands b back
        left = 16 + column * 200
        shown = row[20:172, left + 20 : left + 172].mean(axis=(0, 1))
        size = panel.width
        inner = np.asarray(panel)[size // 10 : -size // 10, size // 10 : -size // 10]
        np.testing.assert_allclose(shown, inner.mean(axis=(0, 1)), atol=6)


def test_a_figure_is_a_pdf_too_and_finds_suite_and_predictions_by_itself(
    small_suite_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_suite_path, "suite")
    evaluate("copy-b", "suite", ["mse"], out="report")
    shown = write_figure(["report"], "figures/f.pdf", tiers=["new_family"], choose=["worst"])
    assert len(shown) == 1 and Path("figures/f.pdf").read_bytes().startswith(b"%PDF")


def test_what_cannot_be_drawn_is_refused(
    reports: list[Path], small_suite: Dataset, tmp_path: Path
) -> None:
    def draw(name: str = "f.png", **options) -> None:
        write_figure(reports, tmp_path / name, **({"suite": small_suite} | options))

    for match, options in (
        (r"f\.svg: a figure is written as \.png or \.pdf", {"name": "f.svg"}),
        ("has no item 'nowhere'", {"keys": ["nowhere"]}),
        ("'middling' is no tier and none of best", {"choose": ["middling"]}),
        ("no items of the tier new_task", {"tiers": ["new_task"]}),
        ("2 reports and 1 folders of predictions", {"predictions": [tmp_path]}),
        ("has no metric 'ssim'", {"metric": "ssim"}),
    ):
        with pytest.raises(InputError, match=match):
            draw(**options)
    assert not list(tmp_path.iterdir())


def test_a_report_made_from_objects_names_no_suite_and_no_predictions(
    reports: list[Path], small_suite: Dataset, tmp_path: Path
) -> None:
    shutil.copytree(reports[0], tmp_path / "r", ignore=shutil.ignore_patterns("predictions"))
    write_report(tmp_path / "r", open_report(reports[0]).model_copy(update={"command": None}))
    with pytest.raises(InputError, match="name it with --suite"):
        write_figure([tmp_path / "r"], tmp_path / "f.png")
    with pytest.raises(InputError, match="name those of each report with --predictions"):
        write_figure([tmp_path / "r"], tmp_path / "f.png", suite=small_suite)
    given = [reports[0] / "predictions"]
    assert write_figure(
        [tmp_path / "r"], tmp_path / "f.png", suite=small_suite, predictions=given, choose=["best"]
    )
