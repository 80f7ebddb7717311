"""Panels without edits: whose they are, how many, and the same ones again."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datagen.making.loose_panels import LoosePanels, write_panels
from datagen.sources.scenes.compose import scene
from lorweb_bench.cli.main import main
from lorweb_bench.errors import InputError


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Three photographs, one of them too small, and a file of credits."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for seed, side in enumerate((96, 80, 20)):
        Image.fromarray(scene(seed, side, side + 16)).save(folder / f"view-{seed}.png")
    (folder / "credits.csv").write_text(
        "file,licence,attribution\nview-0.png,CC0-1.0,A. Painter\nview-1.png,CC-BY-4.0,B. Sees\n"
    )
    return folder


def settings(photographs: Path, **changes: object) -> LoosePanels:
    """Panels of 32 pixels of the photographs, a bundled one and scenes."""
    return LoosePanels(
        **{
            "photographs": photographs,
            "credits": photographs / "credits.csv",
            "bundled": ["coffee"],
            "crops": 3,
            "scenes": 2,
            "first_scene": 7,
            "side": 32,
            **changes,
        }  # type: ignore[arg-type]
    )


def test_each_photograph_gives_its_crops_and_each_scene_a_panel(
    photographs: Path, tmp_path: Path
) -> None:
    count, skipped = write_panels(settings(photographs), tmp_path / "out")
    panels = np.load(tmp_path / "out" / "panels.npy")
    assert panels.shape == (11, 32, 32, 3) and panels.dtype == np.uint8 and count == 11
    assert len({panel.tobytes() for panel in panels}) == 11
    assert np.array_equal(panels[9], scene(7, 32, 32))
    about = json.loads((tmp_path / "out" / "sources.json").read_text())
    assert about["side"] == 32
    names = [(s["name"], s["panels"]) for s in about["sources"]]
    assert names == [
        ("view-0", 3),
        ("view-1", 3),
        ("coffee", 3),
        ("scene-000007", 1),
        ("scene-000008", 1),
    ]
    assert about["sources"][1]["licence"] == "CC-BY-4.0"
    assert [str(note).partition(":")[0] for note in skipped] == ["view-2.png"]


def test_the_same_settings_give_the_same_panels_and_another_seed_others(
    photographs: Path, tmp_path: Path
) -> None:
    for name, changes in (("one", {}), ("two", {}), ("three", {"seed": 5})):
        write_panels(settings(photographs, **changes), tmp_path / name)
    one, two, three = (np.load(tmp_path / n / "panels.npy") for n in ("one", "two", "three"))
    assert np.array_equal(one, two) and not np.array_equal(one, three)


def test_nothing_asked_for_and_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither photographs nor scenes"):
        write_panels(LoosePanels(), tmp_path / "out")
    with pytest.raises(InputError, match="did you mean 'coffee'"):
        write_panels(LoosePanels(bundled=["cofee"]), tmp_path / "out")


def test_the_command_says_how_many_panels_it_made(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    command = ["datagen", "panels", "-o", str(output), "--photographs", str(photographs)]
    with pytest.raises(SystemExit) as stop:
        main([*command, "--side", "32", "--crops", "2", "--scenes", "1"])
    assert stop.value.code == 0
    told = capsys.readouterr()
    assert f"{output}: 5 panels" in told.out and "view-2.png" in told.err
