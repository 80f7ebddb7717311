"""Instruction-editing datasets by `datasets`: columns, tasks by instruction, resuming, and what is
wrong with rows.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datagen.build import build
from datagen.recipe.reading import read_recipe
from datagen.recipe.sources import ColumnsSection, HubSection
from datagen.sources import hub as reading
from datagen.sources.hub import hub
from datagen.sources.scenes.compose import scene
from lorweb_bench.errors import InputError
from lorweb_bench.suites.verify import verify

datasets = pytest.importorskip("datasets")
COLUMNS = ColumnsSection(before="src", after="dst", instruction="words", licence="terms")


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight rows: two tasks of three, a lone one, and a row whose image is cut."""
    words = [
        "Make it negative",
        "make it  negative.",
        "mirror it",
        "mirror it",
        "Mirror it!",
        "only once",
        "make it negative",
        "mirror it",
    ]
    before = [{"bytes": png(scene(i, 40, 48)), "path": None} for i in range(8)]
    after = [{"bytes": png(255 - scene(i, 40, 48)), "path": None} for i in range(8)]
    after[7] = {"bytes": after[7]["bytes"][:200], "path": None}
    image, text = datasets.Image(), datasets.Value("string")
    features = datasets.Features({"src": image, "dst": image, "words": text, "terms": text})
    table = datasets.Dataset.from_dict(
        {"src": before, "dst": after, "words": words, "terms": ["CC0-1.0"] * 7 + [None]}, features
    )
    path = tmp_path_factory.mktemp("hub") / "edits.parquet"
    table.to_parquet(str(path))
    return path


def test_rows_with_one_instruction_are_one_task(parquet: Path, tmp_path: Path) -> None:
    found, skipped = hub(
        str(parquet), HubSection(columns=COLUMNS), tmp_path / "kept", licence="unknown"
    )
    assert [(p.task, p.name, p.licence) for p in found][:3] == [
        ("make-it-negative", "row-00000000", "CC0-1.0"),
        ("make-it-negative", "row-00000001", "CC0-1.0"),
        ("mirror-it", "row-00000002", "CC0-1.0"),
    ]
    assert len(found) == 6
    assert np.array_equal(found[0].before(), scene(0, 40, 48))
    assert len({pair.photograph for pair in found}) == 6
    assert {one.name: one.filter for one in skipped} == {
        "row 7": "unreadable",
        "row 5": "pairs_per_task",
    }
    with pytest.raises(InputError, match="row 7"):
        hub(str(parquet), HubSection(columns=COLUMNS), tmp_path / "kept", "fail")


def test_a_stopped_reading_goes_on(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PART", 2)
    stream, starts = reading._stream, []

    def cut(dataset: Any, section: HubSection, skip: int) -> Iterator[dict[str, Any]]:
        starts.append(skip)
        for number, row in enumerate(stream(dataset, section, skip)):
            if len(starts) == 1 and number == 5:
                raise ConnectionError("the line is down")
            yield row

    monkeypatch.setattr(reading, "_stream", cut)
    section = HubSection(columns=COLUMNS)
    with pytest.raises(InputError, match="goes on from row 4"):
        hub(str(parquet), section, tmp_path / "kept")
    resumed, _ = hub(str(parquet), section, tmp_path / "kept")
    whole, _ = hub(str(parquet), section, tmp_path / "whole")
    assert starts == [0, 4, 0]
    assert [(p.name, p.task, p.photograph) for p in resumed] == [
        (p.name, p.task, p.photograph) for p in whole
    ]
    rows = [
        json.loads(line)
        for part in sorted((tmp_path / "kept" / "rows").iterdir())
        for line in part.read_text().splitlines()
    ]
    assert [row["row"] for row in rows] == list(range(8))


def test_what_cannot_be_read_is_refused_in_words(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = ColumnsSection(before="srcc", after="dst", instruction="words")
    with pytest.raises(InputError, match="did you mean 'src'"):
        hub(str(parquet), HubSection(columns=wrong), tmp_path / "wrong")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError, match="hf download --repo-type dataset nobody/nothing --local-dir FOLDER"
    ):
        hub("nobody/nothing", HubSection(columns=COLUMNS), tmp_path / "offline")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="something else"):
        hub(str(parquet), HubSection(columns=COLUMNS), tmp_path / "mine")
    hub(str(parquet), HubSection(columns=COLUMNS, rows=7), tmp_path / "kept")
    with pytest.raises(InputError, match="another rows"):
        hub(str(parquet), HubSection(columns=COLUMNS), tmp_path / "kept")


def written(path: Path, **columns: Any) -> Path:
    """A parquet file of four pairs with one instruction; `columns` are other values for its
    columns.
    """
    import pyarrow
    from pyarrow import parquet as files

    rows = {
        "src": [{"bytes": png(scene(i, 40, 48)), "path": f"{i}.png"} for i in range(4)],
        "dst": [{"bytes": png(255 - scene(i, 40, 48)), "path": None} for i in range(4)],
        "words": ["invert it"] * 4,
        "terms": [None] * 4,
    }
    files.write_table(pyarrow.table(rows | columns), path)
    return path


def test_images_come_as_bytes_alone_and_instructions_as_lists(tmp_path: Path) -> None:
    bare = [png(scene(i, 40, 48)) for i in range(4)]
    words = [["invert it", "negate it"], ["Invert it."], ["", "invert it"], []]
    found, skipped = hub(
        str(written(tmp_path / "a.parquet", src=bare, words=words)),
        HubSection(columns=COLUMNS),
        tmp_path / "kept",
    )
    assert [(p.task, p.instruction) for p in found] == [
        ("invert-it", "invert it"),
        ("invert-it", "Invert it."),
        ("invert-it", "invert it"),
    ]
    assert [(one.name, str(one.reason)) for one in skipped] == [
        ("row 3", "no instruction and no task")
    ]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"src": [1, 2, 3, 4]},
            "the column 'src', source.hub.columns.before, holds int64 and no images",
        ),
        (
            {"dst": [[png(scene(0, 20, 20))]] * 4},
            "the column 'dst', source.hub.columns.after, holds",
        ),
        (
            {"src": [str(i) for i in range(4)]},
            "no 2 rows that can be used have one task; the first row left out: row 0 (no image "
            "before)",
        ),
        (
            {"words": list("abcd")},
            "the first row left out: row 0 (fewer than 2 pairs have its task)",
        ),
    ],
)
def test_columns_that_do_not_serve_are_told(
    tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as error:
        hub(
            str(written(tmp_path / "a.parquet", **columns)),
            HubSection(columns=COLUMNS),
            tmp_path / "kept",
        )
    assert said in str(error.value)


def test_a_dataset_reads_no_file_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(scene(0, 40, 48)))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "own.png").write_bytes(png(scene(1, 40, 48)))
    names = ["own.png", "own.png", "../secret.png", str(tmp_path / "secret.png")]
    path = written(
        tmp_path / "data" / "a.parquet", src=[{"bytes": None, "path": name} for name in names]
    )
    found, skipped = hub(str(path), HubSection(columns=COLUMNS), tmp_path / "kept")
    assert [pair.name for pair in found] == ["row-00000000", "row-00000001"]
    assert [str(one.reason) for one in skipped] == ["no image before"] * 2


def test_a_column_that_was_mended_and_a_file_that_changed_are_read_anew(tmp_path: Path) -> None:
    path, wrong = (
        written(tmp_path / "a.parquet"),
        ColumnsSection(before="scr", after="dst", instruction="words"),
    )
    with pytest.raises(InputError, match="did you mean 'src'"):
        hub(str(path), HubSection(columns=wrong), tmp_path / "kept")
    assert len(hub(str(path), HubSection(columns=COLUMNS), tmp_path / "kept")[0]) == 4
    written(path, words=["invert it", "invert it", "lone", "another"])
    with pytest.raises(InputError, match="another content; name another folder"):
        hub(str(path), HubSection(columns=COLUMNS), tmp_path / "kept")
    assert len(hub(str(path), HubSection(columns=COLUMNS), tmp_path / "new")[0]) == 2


def test_what_is_no_dataset_is_told_without_a_way_to_the_hub(tmp_path: Path) -> None:
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    for path in (tmp_path / "cut.parquet", tmp_path / "gone.parquet", tmp_path):
        with pytest.raises(InputError, match="cannot be reached .* give parquet files, a folder"):
            hub(str(path), HubSection(columns=COLUMNS), tmp_path.parent / f"{path.name}-kept")


def test_small_images_are_left_out(tmp_path: Path) -> None:
    sides = [40, 40, 20, 40]
    before, after = (
        [{"bytes": png(scene(i, side, 48)), "path": None} for i, side in enumerate(sides)]
        for _ in range(2)
    )
    found, skipped = hub(
        str(written(tmp_path / "a.parquet", src=before, dst=after)),
        HubSection(columns=COLUMNS),
        tmp_path / "kept",
        "fail",
        min_side=32,
    )
    assert len(found) == 3
    assert [(one.name, one.filter) for one in skipped] == [("row 2", "minimum_side")]


def turns(path: Path, sessions: int) -> Path:
    """A parquet file of edits in two turns: a picture, its negative, and that mirrored."""
    import pyarrow
    from pyarrow import parquet as files

    pictures = [scene(i, 40, 48) for i in range(sessions)]
    steps = [(x, 255 - x, "invert it") for x in pictures] + [
        (255 - x, 255 - x[:, ::-1], "mirror it") for x in pictures
    ]
    columns = {
        "src": [{"bytes": png(a), "path": None} for a, _, _ in steps],
        "dst": [{"bytes": png(b), "path": None} for _, b, _ in steps],
    }
    files.write_table(
        pyarrow.table(
            {**columns, "words": [words for _, _, words in steps], "terms": [None] * len(steps)}
        ),
        path,
    )
    return path


def test_edits_of_edits_are_of_one_photograph_and_a_suite_shows_no_answer(tmp_path: Path) -> None:
    path = turns(tmp_path / "a.parquet", 10)
    found, _ = hub(str(path), HubSection(columns=COLUMNS), tmp_path / "kept")
    assert len({pair.photograph for pair in found}) == 10
    assert [pair.as_b for pair in found] == [True] * 10 + [False] * 10
    settings = {
        "kind": "hub",
        "path": str(path),
        "hub": {"columns": COLUMNS.model_dump()},
        "keep": str(tmp_path / "kept"),
    }
    recipe = {
        "name": "turns",
        "version": "1",
        "seed": 2,
        "source": {**settings, "shares": {"a": 0.5, "b": 0.5}},
        "panel": {"long_edge": 48},
        "tiers": {"new_task": "all"},
        "splits": {"unseen": "all"},
    }
    (tmp_path / "turns.yaml").write_text(json.dumps(recipe))
    built = build(read_recipe(tmp_path / "turns.yaml"), tmp_path / "out")
    assert built is not None
    assert {record.instruction for record in built.dataset.records("unseen")} == {"invert it"}
    assert "10 pairs start or end where another edit" in " ".join(built.notes)
    assert not verify(tmp_path / "out").problems


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows as some sets have them: a list of images, what was asked in JSON, and no task."""
    pictures = [[png(scene(i, 40, 48)), png(255 - scene(i, 40, 48))] for i in range(4)]
    images = [[{"bytes": data, "path": None} for data in row] for row in pictures]
    asked = [json.dumps({"ask": {"words": "invert it"}, "by": ["me"]})] * 3 + ["no json"]
    listed = datasets.Sequence(datasets.Image())
    features = datasets.Features({"images": listed, "json": datasets.Value("string")})
    path = tmp_path_factory.mktemp("nested") / "rows.parquet"
    datasets.Dataset.from_dict({"images": images, "json": asked}, features).to_parquet(str(path))
    return path


def test_a_name_leads_into_lists_and_json(nested: Path, tmp_path: Path) -> None:
    columns = ColumnsSection(
        before="images.0", after="images.1", instruction="json.ask.words", attribution="json.by.0"
    )
    found, notes = hub(str(nested), HubSection(columns=columns), tmp_path / "kept")
    assert [(pair.task, pair.attribution) for pair in found] == [("invert-it", "me")] * 3
    assert np.array_equal(found[1].before(), scene(1, 40, 48))
    assert np.array_equal(found[1].after(), 255 - scene(1, 40, 48))
    assert list(map(str, notes)) == ["row 3: no instruction and no task"]


def test_a_dataset_with_one_constant_task(nested: Path, tmp_path: Path) -> None:
    columns = ColumnsSection(before="images.0", after="images.1")
    section = HubSection(columns=columns, task="Depth to image")
    for _ in range(2):  # read, and taken from the folder
        found, notes = hub(str(nested), section, tmp_path / "kept")
        assert [pair.task for pair in found] == ["depth-to-image"] * 4
        assert notes == ["1 column was not used: json"]


def test_a_list_of_images_needs_a_number(nested: Path, tmp_path: Path) -> None:
    columns = ColumnsSection(before="images", after="images.1")
    with pytest.raises(InputError, match=r"holds lists of images; .* for instance images\.0"):
        hub(str(nested), HubSection(columns=columns, task="x"), tmp_path / "kept")
