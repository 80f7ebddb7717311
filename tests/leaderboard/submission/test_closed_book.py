"""A closed-book board from the keeper's own photographs and families, through the command line.

Nothing of them goes out.
"""

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from datagen.sources.scenes.compose import scene
from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import open_dataset, open_suite
from lorweb_bench.data.transformation_library import FAMILIES_VARIABLE

EXAMPLE = Path(__file__).parents[3] / "docs/example-card.yaml"
SEED = int(hashlib.sha256(b"a keeper keeps it").hexdigest(), 16)  # of 256 bits
OWN = """
import numpy as np
from datagen.transformations import Parameter, family, presets

@family("ripple", kind="wavelike", presets=presets("period depth", (8, 3), (12, 5)),
        period=Parameter("rows of a wave", 2, 64), depth=Parameter("rows it reaches", 0, 16),
        instruction="bend the rows by {depth}")
def ripple(image, period, depth):
    rows = np.arange(len(image)) + depth * np.sin(np.arange(len(image)) * 2 * np.pi / period)
    return image[rows.round().astype(int).clip(0, len(image) - 1)]

@family("weave", kind="wavelike", presets=presets("width", 2, 4),
        width=Parameter("side of a square", 1, 16, unit="pixels", whole=True),
        instruction=lambda width: "swap every other square")
def weave(image, width):
    y, x = np.indices(image.shape[:2]) // width
    return np.where(((x + y) % 2 == 0)[..., None], image, image[..., ::-1])
"""
TELLTALE = (
    "ripple",
    "weave",
    "wavelike",
    "bend the rows",
    "swap every other",
    "own_families",
    str(SEED),
    "keeper/photos",
)
TRAINING = {
    "name": "train",
    "seed": 1,
    "source": {
        "kind": "photographs",
        "path": "photos",
        "shares": {"train": 0.8, "calibration": 0.2},
    },
    "transformations": {"families": ["invert", "grayscale", "flip"]},
    "splits": {"train": 8},
}
CLOSED = {
    "name": "closed",
    "seed": 0,
    "source": {
        "kind": "photographs",
        "path": "keeper/photos",
        "shares": {"a": 0.35, "b": 0.5, "calibration": 0.15},
    },
    "transformations": {"library": "keeper/own_families.py"},
    "tiers": {"relative_to": "train", "new_family": ["ripple", "weave"], "transformations": 4},
    "splits": {"seen": 6, "unseen": 16},
}
SWAP = '''
class Swap:
    """Hands a' back, brightness aside."""
    name, track, version = "swap", "closed", "1"
    def predict(self, triplets):
        return [t.a_prime for t in triplets]
swap = Swap()
'''
CARD = {
    "method": "swap",
    "base_model": "none",
    "track": "closed",
    "prompt_mode": "none",
    "seeds": [0],
}


def run(*words: object, code: int = 0) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    assert int(ended.value.code or 0) == code, words


def write(path: str, content: Any) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(content if isinstance(content, str) else yaml.safe_dump(content))


def photographs(folder: str, first: int, count: int) -> None:
    Path(folder).mkdir(parents=True)
    for number in range(first, first + count):
        Image.fromarray(scene(number, 48, 48)).save(f"{folder}/{number}.png")


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a keeper made a training dataset for everybody, and of their own a suite
    and its public view.
    """
    folder = tmp_path_factory.mktemp("closed")
    common = {"version": "1", "panel": {"square": 32}, "analogies_per_pair": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        photographs("photos", 9_000_000, 10)
        photographs("keeper/photos", 9_100_000, 14)
        write("train.yaml", TRAINING | common)
        write("keeper/own_families.py", OWN)
        write("keeper/closed.yaml", CLOSED | common)
        run("datagen", "build", "train.yaml", "-o", "train")
        run(
            "datagen", "build", "keeper/closed.yaml", "-o", "keeper/closed", "--set", f"seed={SEED}"
        )
        run("publish", "keeper/closed", "-o", "public")
    return folder


@pytest.fixture(autouse=True)
def _there(keeper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(keeper)
    monkeypatch.delenv(FAMILIES_VARIABLE, raising=False)


def told(folder: str) -> list[tuple[Path, str]]:
    """What of the families, the seed or the photographs' place stands in a folder's files, in
    whatever form.
    """
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return [
        (path, word)
        for path in files
        for word in TELLTALE
        if word.encode() in path.read_bytes() or word in str(path)
    ]


def test_the_public_view_holds_nothing_of_families_or_answers() -> None:
    assert told("keeper/closed"), "the full view does: these words are what there is to find"
    assert told("public") == []
    suite, public = open_suite("keeper/closed"), open_dataset("public")
    truths = {
        q.b_prime.tobytes()
        for split in suite.scored_splits
        for q in suite.quadruplets(split)
        if q.b_prime
    }
    shown = {image.tobytes() for q in public.quadruplets("test") for image in (q.a, q.a_prime, q.b)}
    assert len(truths) == 22 and not truths & shown
    for path in Path("public").rglob("*.tar"):
        with tarfile.open(path) as tar:
            assert {name.partition(".")[2].partition(".")[0] for name in tar.getnames()} == {
                "a",
                "a_prime",
                "b",
                "json",
            }
    assert set(json.loads(Path("public/dataset.json").read_text())) == {
        *("format", "format_version", "name", "version", "view", "splits", "fingerprint", "canary")
    }


def test_from_the_public_view_to_a_closed_book_board(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("swap.py", SWAP)
    declared = [{"name": "train", "fingerprint": open_dataset("train").fingerprint}]
    write("card.yaml", yaml.safe_load(EXAMPLE.read_text()) | CARD | {"training_data": declared})
    run("predict", "--method", "swap.py:swap", "--suite", "public", "-o", "predictions")
    run(
        "leaderboard",
        "pack",
        "predictions",
        "--suite",
        "public",
        "--card",
        "card.yaml",
        "-o",
        "swap.zip",
    )
    run("leaderboard", "verify", "swap.zip", "--suite", "public", code=2)
    assert "is a public view, which has no answers" in capsys.readouterr().err
    run("leaderboard", "verify", "swap.zip", "--suite", "keeper/closed", code=2)
    assert f"{FAMILIES_VARIABLE} does not list that very file" in capsys.readouterr().err, (
        "no suite makes code run unasked"
    )

    monkeypatch.setenv(FAMILIES_VARIABLE, "keeper/own_families.py")
    run("verify", "keeper/closed")
    run("leaks", "train", "keeper/closed")
    run("leaderboard", "verify", "swap.zip", "--suite", "keeper/closed")
    run(
        "leaderboard",
        "add",
        "swap.zip",
        "--suite",
        "keeper/closed",
        "--store",
        "board",
        "--training",
        "train",
    )
    run("leaderboard", "references", "--suite", "keeper/closed", "--store", "board")
    said = capsys.readouterr().out
    assert (
        "Accepted, re-scored: swap on closed 1." in said and "nearest-seen is now in board" in said
    )
    assert "library-search is left out: the public library holds none of the families" in said

    run("leaderboard", "render", "--store", "board", "-o", "site")
    assert told("site") == []
    (suite,) = json.loads(Path("site/board.json").read_text())["suites"]
    assert (suite["book"], suite["standing"]) == ("closed-book", "private") and suite["about"][
        "book"
    ] == {"families": 2, "held": 0}
    assert (
        suite["about"]["transformation_library"] == "datagen and families of the keeper's own"
        and "kinds" not in suite["about"]
    )
    levels = {row["method"]: row["verdict"] for row in suite["rows"]}
    trivial = ("copy-b", "copy-a-prime", "color-transfer", "nearest-seen")
    assert levels == {"swap": "re-scored"} | dict.fromkeys(trivial, "reproduced")
    index = Path("site/index.html").read_text()
    assert (
        "Closed-book: the library that ships with lorweb-bench holds none of the 2 families"
        in index
        and "library-search</a>" not in index
    )


def test_a_suite_of_public_families_is_an_open_book_and_says_what_that_gets(
    small_suite_path: Path,
) -> None:
    run("leaderboard", "references", "--suite", small_suite_path, "--store", "open")
    run("leaderboard", "render", "--store", "open", "-o", "open-site")
    index = Path("open-site/index.html").read_text()
    assert (
        "<strong>library-search</strong>, which does just that, gets" in index
        and ">open book</span>" in index
    )
