"""Options of recipes: filters that look at images, pinned files, credits, and a file with families
of one's own.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from datagen.build import build
from datagen.pinning import pin
from datagen.planning.source_roles import read_photographs
from datagen.recipe.reading import read_recipe
from datagen.sources.photographs import folder
from datagen.sources.scenes.compose import scene
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import encode
from lorweb_bench.data.transformation_library import FAMILIES_VARIABLE
from lorweb_bench.errors import InputError
from lorweb_bench.metrics.base import load_metric, unsupported
from lorweb_bench.metrics.clip import Clip
from lorweb_bench.suites.verify import verify

OWN = """
from datagen.transformations import Parameter, family, presets
import numpy as np
@family("own_roll", kind="geometry", presets=presets("times", 1, 2),
        times=Parameter("how often", 1, 3, whole=True), instruction="roll down {times} times")
def roll(image, times):
    return np.roll(image, 9 * times, 0)
"""


def photographs(root: Path, number: int = 12) -> Path:
    root.mkdir()
    for i in range(number):
        (root / f"p{i:02d}.png").write_bytes(encode(scene(9000 + i, 48, 64)))
    return root


def brighter(root: Path) -> None:
    """Near-equal copies of two photographs under other names."""
    for i in (0, 5):
        picture = scene(9000 + i, 48, 64).astype(int) + 3
        (root / f"q{i:02d}.png").write_bytes(encode(picture.clip(0, 255).astype(np.uint8)))


def source(root: Path, **more: object) -> str:
    return "source=" + json.dumps({"kind": "photographs", "path": str(root), **more})


def test_near_duplicates_and_small_photographs_are_left_out_and_counted(
    write, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    root = photographs(tmp_path / "photos")
    brighter(root)
    (root / "small.png").write_bytes(encode(scene(9100, 40, 64)))
    settings = [
        source(root),
        "filters={near_duplicates: true, minimum_side: 45}",
        "tiers={}",
        "splits={train: 4}",
    ]
    dataset = build(
        read_recipe(write(), [*settings, "transformations={families: [invert, tint]}"]),
        tmp_path / "out",
    ).dataset
    assert {
        name: dataset.manifest.left_out[name] for name in ("near_duplicate", "minimum_side")
    } == {
        "near_duplicate": 2,
        "minimum_side": 1,
    }
    kept, notes = read_photographs(read_recipe(write(), settings))
    assert [one.name for one in kept] == [f"p{i:02d}" for i in range(12)]
    assert any(str(note).startswith("q05: it looks like p05") for note in notes)


def test_near_duplicate_pairs_of_a_task_are_left_out(write, tmp_path: Path) -> None:
    root = tmp_path / "pairs" / "negative"
    root.mkdir(parents=True)
    for i, extra in enumerate((0, 0, 0, 3)):
        picture = (scene(9200 + i % 3, 48, 64).astype(int) + extra).clip(0, 255).astype(np.uint8)
        (root / f"{i}.before.png").write_bytes(encode(picture))
        (root / f"{i}.after.png").write_bytes(encode(255 - picture))
    settings = [
        f"source={{kind: pairs, path: {tmp_path / 'pairs'}}}",
        "panel={long_edge: 64}",
        "tiers={}",
        "splits={train: all}",
    ]
    settings += ["transformations={}", "filters={near_duplicates: true}"]
    dataset = build(read_recipe(write(), settings), tmp_path / "out").dataset
    assert dataset.split("train").samples == 3 * 2
    assert dataset.manifest.left_out == {"near_duplicate": 1}


def cosine(clip: Clip, panels: list[np.ndarray]) -> float:
    a, a_prime, b, b_prime = clip.features(panels)
    first, second = a_prime - a, b_prime - b
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def test_items_whose_changes_disagree_are_dropped_and_the_encoder_scores_no_more(
    write, tower: str, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    settings = [
        "transformations={families: [invert, flip, tint]}",
        "tiers={}",
        "splits={train: 24}",
    ]

    def cosines(dataset: Dataset) -> dict[str, float]:
        images = {
            q.key: [np.asarray(getattr(q, r)) for r in ("a", "a_prime", "b", "b_prime")]
            for q in dataset.quadruplets("train")
        }
        return {key: cosine(Clip(tower), panels) for key, panels in images.items()}

    everything = build(read_recipe(write(), settings), tmp_path / "all").dataset
    before = cosines(everything)
    least = round(float(np.median(list(before.values()))) + 1e-3, 3)
    wanted = f"filters.clip_direction={{model: {tower}, minimum: {least}}}"
    chosen = build(read_recipe(write(), [*settings, wanted]), tmp_path / "chosen").dataset
    assert set(cosines(chosen)) == {key for key, value in before.items() if value >= least}
    assert (
        chosen.manifest.left_out["clip_direction"]
        == len(before) - chosen.split("train").samples
        > 0
    )
    assert list(chosen.manifest.chosen_with) == [Clip(tower).name]
    metric = load_metric(f"clip_image[{tower}]")
    assert "its own choice" in str(unsupported(metric, chosen))
    assert unsupported(metric, everything) is None
    assert unsupported(load_metric("clip_image[ViT-B-32/openai]"), chosen) is None
    with pytest.raises(InputError, match="do not exist"):
        build(
            read_recipe(
                write(), [*settings, "filters.clip_direction.model=tiny-filter/gone.safetensors"]
            ),
            tmp_path / "none",
        )


def test_a_pinned_recipe_builds_the_same_from_another_folder(write, tmp_path: Path) -> None:
    first = photographs(tmp_path / "first")
    brighter(first)
    settings = [
        "filters={near_duplicates: true}",
        "transformations={families: [invert, tint]}",
        "tiers={}",
        "splits={train: 6}",
    ]
    count, notes = pin(write(), tmp_path / "pinned.yaml", [source(first), *settings])
    assert (count, len(notes)) == (12, 2)
    second = tmp_path / "second"
    first.rename(second)
    (second / "later.png").write_bytes(encode(scene(9300, 48, 64)))
    one, other = (
        build(
            read_recipe(tmp_path / "pinned.yaml", [f"source.path={second}"]), tmp_path / name
        ).dataset
        for name in ("one", "other")
    )
    assert one.fingerprint == other.fingerprint
    assert one.manifest.left_out["not_pinned"] == 3
    (second / "p03.png").write_bytes(encode(scene(1, 48, 64)))
    with pytest.raises(InputError, match=r"p03\.png has the sha256"):
        build(
            read_recipe(tmp_path / "pinned.yaml", [f"source.path={second}"]), tmp_path / "changed"
        )
    (second / "p03.png").unlink()
    with pytest.raises(InputError, match=r"p03\.png is pinned by its sha256 but missing"):
        build(read_recipe(tmp_path / "pinned.yaml", [f"source.path={second}"]), tmp_path / "gone")
    assert not (tmp_path / "changed").exists() and not (tmp_path / "gone").exists()
    with pytest.raises(InputError, match="only photographs in a folder can be pinned"):
        pin("photos-mini", tmp_path / "mini.yaml")


def test_credits_travel_with_each_photograph(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos", 3)
    listing = tmp_path / "credits.csv"
    listing.write_text("file,licence,attribution\np00.png,CC-BY-4.0,Ada\np02.png,,Grace\n")
    found, _ = folder(root, licence="CC0-1.0", attribution="us", credits=listing)
    assert [(one.licence, one.attribution) for one in found] == [
        ("CC-BY-4.0", "Ada"),
        ("CC0-1.0", "us"),
        ("CC0-1.0", "Grace"),
    ]
    listing.write_text("file,licence,attribution\ngone.png,CC0,Ada\n")
    with pytest.raises(InputError, match=r"names 'gone\.png'"):
        folder(root, credits=listing)
    listing.write_text("name,licence\np00.png,CC0\n")
    with pytest.raises(InputError, match="needs the columns file, licence and attribution"):
        folder(root, credits=listing)


def test_a_file_of_families_is_named_in_the_recipe(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    own = tmp_path / "my_families.py"
    own.write_text(OWN)
    settings = [
        f"transformations={{library: {own}, families: [own_roll, invert]}}",
        "tiers={}",
        "splits={train: 8}",
    ]
    dataset = build(read_recipe(write(), settings), tmp_path / "out", workers=2).dataset
    assert "own_roll-times_2" in dataset.manifest.transformations
    assert str(dataset.manifest.transformation_library).startswith("datagen+my_families-")
    with pytest.raises(InputError, match=rf"the file my_families\.py .*{FAMILIES_VARIABLE}"):
        verify(dataset.path, rerun=True)
    monkeypatch.setenv(FAMILIES_VARIABLE, str(own))
    assert verify(dataset.path, rerun=True).problems == []
    own.write_text(OWN.replace("9 * times", "8 * times"))
    with pytest.raises(InputError, match="does not list that very file"):
        verify(dataset.path, rerun=True)


def edits(root: Path, task: str, number: int, side: int = 48) -> None:
    (root / task).mkdir(parents=True, exist_ok=True)
    for i in range(number):
        picture = scene(9300 + len(list(root.rglob("*.png"))), side, 64)
        (root / task / f"{side}-{i}.before.png").write_bytes(encode(picture))
        (root / task / f"{side}-{i}.after.png").write_bytes(encode(255 - picture))


def pair_recipe(write, root: Path, *settings: str):  # type: ignore[no-untyped-def]
    given = [
        f"source={{kind: pairs, path: {root}}}",
        "panel={square: 32}",
        "transformations={}",
        "tiers={}",
        "splits={train: all}",
    ]
    return read_recipe(write(), [*given, *settings])


def test_pairs_smaller_than_the_panel_are_counted_and_the_others_built(
    write, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    edits(tmp_path / "pairs", "negative", 3)
    edits(tmp_path / "pairs", "negative", 2, side=24)
    built = build(pair_recipe(write, tmp_path / "pairs"), tmp_path / "out")
    assert built is not None
    assert built.dataset.manifest.left_out == {"minimum_side": 2}
    assert built.dataset.manifest.splits["train"].samples == 3 * 2
    with pytest.raises(InputError, match="short side under 64"):
        build(pair_recipe(write, tmp_path / "pairs", "panel.square=64"), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_one_pair_of_each_task_makes_no_analogy_and_the_reason_is_told(
    write, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    edits(tmp_path / "pairs", "negative", 1)
    edits(tmp_path / "pairs", "negative", 1, side=24)
    with pytest.raises(
        InputError,
        match=r"no task has two pairs \(1 were left out, the first: negative/24-0: 64 x 24 pixels",
    ):
        build(pair_recipe(write, tmp_path / "pairs"), tmp_path / "out")


def test_a_task_called_as_another_one_backwards_is_refused(write, tmp_path: Path) -> None:
    for task in ("snow", "snow-reversed"):
        edits(tmp_path / "pairs", task, 2)
    built = build(pair_recipe(write, tmp_path / "pairs"), tmp_path / "out")
    assert built is not None
    assert set(built.dataset.manifest.transformations) == {"snow", "snow-reversed"}
    with pytest.raises(
        InputError, match="has the task 'snow-reversed', as 'snow' used backwards would be called"
    ):
        build(pair_recipe(write, tmp_path / "pairs", "source.directions=both"), tmp_path / "both")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ColoredPencil Filtr", "115-colored-pencil-filter"),
        ("disney", "9-disney_style"),
        ("SNOWS", "snow"),
    ],
)
def test_the_nearest_task_is_named_for_one_that_is_not_there(
    write, tmp_path: Path, given: str, meant: str
) -> None:  # type: ignore[no-untyped-def]
    for task in ("115-Colored Pencil Filter", "9-Disney_Style", "Snow"):
        edits(tmp_path / "pairs", task, 2)
    with pytest.raises(InputError, match=f"{given}'; did you mean '{meant}'"):
        build(pair_recipe(write, tmp_path / "pairs", f"tiers.new_task=[{given}]"), tmp_path / "out")


def test_a_suite_of_both_directions_shows_no_answer(write, tmp_path: Path) -> None:
    for task in ("negative", "other"):  # of the same photographs
        (tmp_path / "pairs" / task).mkdir(parents=True)
        for i in range(10):
            picture = scene(9300 + i, 48, 64)
            edited = 255 - picture if task == "negative" else picture[:, ::-1]
            (tmp_path / "pairs" / task / f"{i}.before.png").write_bytes(encode(picture))
            (tmp_path / "pairs" / task / f"{i}.after.png").write_bytes(
                encode(np.ascontiguousarray(edited))
            )
    settings = [
        "source.shares={a: 0.4, b: 0.6}",
        "source.directions=both",
        "tiers.new_task=all",
        "splits={unseen: all}",
        "panel={long_edge: 64}",
    ]
    built = build(pair_recipe(write, tmp_path / "pairs", *settings), tmp_path / "out")
    assert built is not None
    assert set(built.dataset.manifest.transformations) == {
        "negative",
        "other",
        "negative-reversed",
        "other-reversed",
    }
    assert not verify(tmp_path / "out").problems


def test_filters_that_nothing_passes_leave_no_folder_behind(write, tmp_path: Path) -> None:
    edits(tmp_path / "pairs", "negative", 3)
    strict = pair_recipe(write, tmp_path / "pairs", "filters={maximum_change: 9}")
    with pytest.raises(InputError, match="6 items did not pass maximum_change"):
        build(strict, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert build(pair_recipe(write, tmp_path / "pairs"), tmp_path / "out") is not None


def test_linked_photographs_are_pinned_by_the_names_that_they_have_in_the_folder(
    write, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    elsewhere, root = photographs(tmp_path / "elsewhere"), tmp_path / "photos"
    root.mkdir()
    (root / "sub").symlink_to(elsewhere)
    (root / "one more.png").symlink_to(elsewhere / "p00.png")
    count, _ = pin(write(), tmp_path / "pinned.yaml", [source(root), "tiers={}"])
    pins = read_recipe(tmp_path / "pinned.yaml").source.sha256
    assert pins is not None
    assert (count, len(pins)) == (12, 12)
    assert set(pins) == {"one more.png", *(f"sub/p{i:02d}.png" for i in range(1, 12))}
    assert len(read_photographs(read_recipe(tmp_path / "pinned.yaml"))[0]) == 12


def test_a_file_of_families_that_changed_is_run_as_it_is_now(write, tmp_path: Path) -> None:
    file, made = tmp_path / "own.py", []
    for step in (9, 11):
        file.write_text(OWN.replace("9 *", f"{step} *"))
        settings = [
            f"transformations={{library: {file}, families: [own_roll]}}",
            "tiers={}",
            "splits={train: 4}",
        ]
        built = build(read_recipe(write(), settings), tmp_path / str(step))
        assert built is not None
        pictures = next(iter(built.dataset.quadruplets("train")))
        shift = step * int(pictures.record.transformation[-1])
        made.append(
            np.array_equal(np.asarray(pictures.a_prime), np.roll(np.asarray(pictures.a), shift, 0))
        )
    assert made == [True, True]
