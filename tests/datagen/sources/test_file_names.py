"""File names are found in another system's spelling, in pairs, lists, pins and credits."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from datagen.build import build
from datagen.recipe.reading import read_recipe
from datagen.sources.file_names import NameIndex, find_file
from datagen.sources.image_files import file_sha256
from datagen.sources.pair_reader import pairs
from datagen.sources.photographs import folder
from datagen.sources.scenes.compose import scene
from lorweb_bench.data.images import encode

CAFE, CAFE_OF_A_MAC = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


def save(file: Path, seed: int, after: bool = False) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = scene(seed, 24, 32)
    file.write_bytes(encode(255 - picture if after else picture, file.suffix[1:].lower()))
    return file


def test_a_name_means_the_file_that_is_spelled_so_or_the_one_that_could_be() -> None:
    index = NameIndex(["a.png", "A.png", "b.png", CAFE, "in/c.png"])
    assert [index.find(name) for name in ("a.png", "A.png", "B.PNG")] == ["a.png", "A.png", "b.png"]
    assert index.find(CAFE_OF_A_MAC.upper()) == CAFE
    assert index.find("In\\C.png") == "in/c.png"
    assert index.find("d.png") is None
    assert NameIndex(["x.png", "X.png"]).find("x.PNG") is None


def test_files_are_found_by_their_folders_names_too(tmp_path: Path) -> None:
    file = save(tmp_path / "In" / f"{CAFE_OF_A_MAC}.png", 1)
    for name in (f"in\\{CAFE}.PNG", f"IN/{CAFE}.png", str(file).upper()[1:]):
        there = find_file(tmp_path if not name.startswith("T") else Path("/"), name)
        assert there.exists() and there.samefile(file), name
    assert find_file(tmp_path, "no/such.png") == tmp_path / "no/such.png"
    assert find_file(tmp_path, "\0") == tmp_path / "\0"


def test_pairs_of_two_systems_belong_together(tmp_path: Path) -> None:
    save(tmp_path / "edit" / "before" / f"{CAFE}.png", 1)
    save(tmp_path / "edit" / "after" / f"{CAFE_OF_A_MAC}.png", 1, after=True)
    save(tmp_path / "edit" / "before" / "IMG_2.JPG", 2)
    save(tmp_path / "edit" / "after" / "img_2.png", 2, after=True)
    found, notes = pairs(tmp_path)
    assert len(found) == 2 and not notes


def test_names_that_case_alone_keeps_apart_stay_apart(tmp_path: Path) -> None:
    for name, seed in (("x", 1), ("X", 2)):
        save(tmp_path / f"{name}.before.png", seed)
        save(tmp_path / f"{name}.after.png", seed, after=True)
    found, notes = pairs(tmp_path)
    assert len(found) == 2 and not notes
    assert len({pair.name for pair in found}) == 2


def test_a_list_written_on_windows(tmp_path: Path) -> None:
    lines = []
    for i in range(2):
        save(tmp_path / "in" / f"{i}.png", i)
        save(tmp_path / "out" / f"{i}.png", i, after=True)
        lines.append(json.dumps({"before": f"in\\{i}.png", "after": f"OUT\\{i}.png"}))
    (tmp_path / "l.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    found, notes = pairs(tmp_path / "l.jsonl")
    assert [pair.name for pair in found] == ["in-0", "in-1"] and not notes


def test_pins_and_credits_of_another_system(tmp_path: Path) -> None:
    home = tmp_path / "photos"
    file = save(home / "Sub" / f"{CAFE_OF_A_MAC}.png", 1)
    save(home / "other.png", 2)
    (tmp_path / "c.csv").write_text(
        f"file,licence,attribution\nsub\\{CAFE}.PNG,CC0-1.0,me\n", encoding="utf-8"
    )
    sources, _ = folder(home, credits=tmp_path / "c.csv")
    assert {source.licence for source in sources} == {"CC0-1.0", "unknown"}
    pins = {f"Sub\\{CAFE}.png": file_sha256(file)}
    (only,), notes = folder(home, sha256=pins)
    assert np.array_equal(only.load(), scene(1, 24, 32))
    assert [str(note) for note in notes] == ["other.png: not among the files that the recipe pins"]


def test_captions_beside_the_images_say_the_edit(tmp_path: Path) -> None:
    for i in range(2):
        save(tmp_path / "t" / "before" / f"{i}.png", i)
        save(tmp_path / "t" / "after" / f"{i}.png", i, after=True)
        (tmp_path / "t" / "after" / f"{i}.txt").write_text(f"turn\nround {i}\n")
    save(tmp_path / "t" / "before" / "2.png", 2)
    save(tmp_path / "t" / "after" / "2.png", 2, after=True)
    (tmp_path / "t" / "instruction.txt").write_text("for all")
    found, _ = pairs(tmp_path)
    assert [pair.instruction for pair in found] == ["turn round 0", "turn round 1", "for all"]


def test_the_folders_of_pix2pix(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for i in range(2):
            save(tmp_path / "maps" / f"{split}A" / f"{i}.jpg", i)
            save(tmp_path / "maps" / f"{split}B" / f"{i}.jpg", i, after=True)
    found, notes = pairs(tmp_path)
    assert {pair.task for pair in found} == {"maps"} and not notes
    assert [pair.name for pair in found] == [
        *("maps-test-0", "maps-test-1", "maps-train-0", "maps-train-1")
    ]
    assert found[0].before().mean() != found[0].after().mean()


def test_the_folders_of_instruct_pix2pix(tmp_path: Path) -> None:
    for number in range(2):
        place = tmp_path / f"000000{number}"
        for seed in (17, 42):
            save(place / f"{seed}_0.jpg", seed)
            save(place / f"{seed}_1.jpg", seed, after=True)
        prompt = {"input": "a boat", "edit": f"make it {number}", "output": "a ship"}
        (place / "prompt.json").write_text(json.dumps(prompt))
    found, notes = pairs(tmp_path)
    assert [(pair.task, pair.instruction) for pair in found] == [
        *[("0000000", "make it 0")] * 2,
        *[("0000001", "make it 1")] * 2,
    ]
    assert {pair.photograph for pair in found} == {"17", "42"} and not notes


def test_images_whose_names_tell_nothing_are_named(tmp_path: Path) -> None:
    save(tmp_path / "x.before.png", 1)
    save(tmp_path / "x.after.png", 1, after=True)
    save(tmp_path / "x.mask.png", 3)
    notes = pairs(tmp_path)[1]
    assert notes == ["1 image was not used, its name tells no role: x.mask.png"]


def test_texts_that_are_no_instruction_are_named(tmp_path: Path) -> None:
    save(tmp_path / "t" / "before" / "0.png", 1)
    save(tmp_path / "t" / "after" / "0.png", 1, after=True)
    for name in ("t/after/0.txt", "t/instruction.txt", "t/after/7.txt", "README.txt"):
        (tmp_path / name).write_text("invert")
    assert pairs(tmp_path)[1] == [
        "2 texts were not used, they are no instructions of a set: README.txt, t/after/7.txt"
    ]


def test_fields_of_lines_that_nobody_asks_for_are_named(tmp_path: Path) -> None:
    save(tmp_path / "0.png", 1)
    save(tmp_path / "1.png", 1, after=True)
    line = {"before": "0.png", "after": "1.png", "prompt": "invert", "score": 3}
    (tmp_path / "edits.jsonl").write_text(json.dumps(line) + "\n")
    ((pair,), notes) = pairs(tmp_path / "edits.jsonl")
    assert pair.instruction == ""
    assert notes == ["2 fields of the lines were not used: prompt, score"]


@pytest.mark.parametrize("text", ["{", "[]", '{"edit": 3}', '{"other": "x"}'])
def test_a_prompt_that_says_nothing_is_no_instruction(tmp_path: Path, text: str) -> None:
    save(tmp_path / "p" / "1_0.jpg", 1)
    save(tmp_path / "p" / "1_1.jpg", 1, after=True)
    (tmp_path / "p" / "prompt.json").write_text(text)
    ((pair,), _) = pairs(tmp_path)
    assert pair.instruction in ("", "3")


def test_a_task_with_one_pair_is_named_and_counted(tmp_path: Path) -> None:
    for task, number in (("lonely", 1), ("negative", 3)):
        for i in range(number):
            save(tmp_path / "p" / task / f"{i}.before.png", i)
            save(tmp_path / "p" / task / f"{i}.after.png", i, after=True)
    (tmp_path / "r.yaml").write_text(
        f"name: one\nversion: '1'\nseed: 1\nsource: {{kind: pairs, path: {tmp_path / 'p'}}}\n"
        "panel: {square: 16}\nsplits: {train: all}\n"
    )
    built = build(read_recipe(tmp_path / "r.yaml"), tmp_path / "out")
    assert built is not None
    assert built.dataset.manifest.left_out == {"pairs_per_task": 1}
    assert list(map(str, built.notes)) == [
        "lonely: the task has one pair, and an analogy is made of two"
    ]
