"""The photographs that come with the package: their pixels and their credits."""

import csv
import hashlib
import re
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
from sklearn.datasets import load_sample_image

from datagen.sources import bundled as module
from datagen.sources.bundled import bundled, bundled_from
from lorweb_bench.errors import InputError

# The first digits of the sha256 of the pixels of what scikit-image, scikit-learn and matplotlib
# distribute, as the packages decode them; of the rocket with the colours of its profile.
PIXELS = {
    "astronaut": "a8c429c18afa7b0f",
    "brick": "3501e216fb0968c3",
    "camera": "13e2b4aa92cb1649",
    "chelsea": "416b729128bfb2c3",
    "china": "e701459344fd6979",
    "coffee": "0ce2b51640b9c95f",
    "coins": "aaecc2ad43bd43e2",
    "flower": "3202904ed246795b",
    "grace_hopper": "f7f982de68dd296a",
    "grass": "c7ca5c984d6b5a27",
    "gravel": "e73bd88250cbfd7f",
    "hubble_deep_field": "9a3ea9548188f81e",
    "ihc": "c5b3ef509a92f16d",
    "moon": "a641c47851a3252e",
    "motorcycle_left": "ca829467c1d4f427",
    "retina": "3670e389d0dae9f7",
    "rocket": "3fb47bc912f5cb89",
}


def test_every_pixel_is_as_the_packages_decoded_it() -> None:
    sources = {source.name: source for source in bundled()}
    assert list(sources) == sorted(sources)
    assert {
        name: hashlib.sha256(sources[name].load().tobytes()).hexdigest()[:16] for name in PIXELS
    } == PIXELS
    assert np.array_equal(sources["astronaut"].load(), skimage.data.astronaut())
    assert np.array_equal(sources["camera"].load()[..., 1], skimage.data.camera())
    assert np.array_equal(sources["motorcycle_left"].load(), skimage.data.stereo_motorcycle()[0])
    assert np.array_equal(sources["china"].load(), load_sample_image("china.jpg"))


def test_every_photograph_is_whole_and_credited() -> None:
    for source in bundled():
        image = source.load()
        assert image.dtype == np.uint8
        assert min(image.shape[:2]) >= 180
        assert image.std() > 12
        assert source.licence
        assert source.attribution
        assert re.fullmatch("[a-z0-9_-]+", source.name)


def test_every_file_has_a_row_and_a_licence_in_the_readme() -> None:
    files = {path.name for path in module.FOLDER.iterdir()} - {"credits.csv", "README.md"}
    with (module.FOLDER / "credits.csv").open(encoding="utf-8", newline="") as file:
        assert {row["file"] for row in csv.DictReader(file)} == files
    readme = (module.FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in files if name not in readme] == []


def test_small_ones_are_left_out_by_name() -> None:
    large, small = bundled_from(500)
    assert "coins" not in {source.name for source in large}
    assert all(min(source.load().shape[:2]) >= 500 for source in large)
    assert len(large) + len(small) == len(bundled())


def test_a_broken_installation_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    with pytest.raises(InputError, match="credits.csv is missing; install lorweb-bench again"):
        bundled()
    (tmp_path / "credits.csv").write_text("file,licence,attribution\na.png,CC0-1.0,me\n")
    with pytest.raises(InputError, match=r"a\.png is missing; install lorweb-bench again"):
        bundled()


def test_reading_them_imports_no_heavy_package() -> None:
    code = (
        "import sys; from datagen.sources.bundled import bundled; bundled()[0].load();"
        "print([m for m in ('skimage', 'sklearn', 'matplotlib', 'scipy', 'torch') "
        "if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
