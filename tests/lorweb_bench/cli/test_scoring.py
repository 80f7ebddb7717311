"""The commands methods, predict, score, evaluate and compare, as a user runs them: exit codes,
sentences, files.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lorweb_bench.cli.main import main
from lorweb_bench.data.images import encode

Run = Callable[..., tuple[int, str, str]]
MINE = (
    "class Mine:\n    name = 'mine'\n    def predict(self, triplets):\n"
    "        return [t.b for t in triplets]\nmine = Mine()\n"
)
FAULTY = (
    "class Faulty:\n    name = 'faulty'\n    def predict(self, triplets):\n"
    "        return [None for t in triplets]\n"
)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command line in an empty folder; gives the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def command(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        said = capsys.readouterr()
        return int(stopped.value.code or 0), said.out, said.err

    return command


def test_a_method_in_a_file_is_evaluated_in_one_command(run: Run, small_suite_path: Path) -> None:
    Path("mine.py").write_text(MINE)
    code, out, _ = run(
        "evaluate", "--method", "mine.py:mine", "--suite", small_suite_path, "-o", "mine"
    )
    assert code == 0
    assert all(
        word in out
        for word in (
            "mine on small 1",
            "seen_composition",
            "edit_recovery",
            "chance in retrieval: 0.02",
            "mine/index.html",
        )
    )
    assert max(map(len, out.splitlines())) <= 80
    scores = json.loads(Path("mine/report.json").read_text())["scores"]
    assert scores["unseen"]["edit_recovery"]["mean"] == 0.0
    assert len(list(Path("mine/predictions").glob("*.png"))) == 48


def test_images_made_by_anything_are_scored(
    run: Run, small_suite_path: Path, truth: dict[str, Image.Image]
) -> None:
    Path("oracle").mkdir()
    for key, image in list(truth.items())[:-3]:
        Path(f"oracle/{key}.png").write_bytes(encode(image))
    code, _, err = run("score", "oracle", "--suite", small_suite_path, "-o", "r")
    assert (code, "--name" in err) == (2, True)
    code, out, _ = run(
        "score",
        "oracle",
        "--name",
        "oracle",
        "--suite",
        small_suite_path,
        "-o",
        "r",
        "--metrics",
        "edit_recovery, mse",
    )
    assert code == 0
    assert "3 predictions are missing and count the worst value" in out
    report = json.loads(Path("r/report.json").read_text())
    assert (report["missing"], report["method"]["name"], list(report["scores"]["seen"])) == (
        3,
        "oracle",
        ["edit_recovery", "mse"],
    )


def test_predict_score_and_compare(run: Run, small_suite_path: Path) -> None:
    for method in ("copy-b", "color-transfer"):
        code, out, _ = run(
            "predict", "--method", method, "--suite", small_suite_path, "-o", f"p-{method}"
        )
        assert (code, f"48 predictions of {method}" in out) == (0, True)
        assert run("score", f"p-{method}", "--suite", small_suite_path, "-o", f"r-{method}")[0] == 0
    code, out, _ = run("compare", "r-copy-b", "r-color-transfer")
    assert code == 0
    assert "copy-b" in out
    assert "color-transfer" in out


def test_workers_and_ray_write_the_same_scores(run: Run, small_suite_path: Path) -> None:
    pytest.importorskip("ray")
    assert (
        run("predict", "--method", "color-transfer", "--suite", small_suite_path, "-o", "p")[0] == 0
    )
    found = []
    for name, words in (
        ("one", ()),
        ("two", ("--workers", 2)),
        ("ray", ("--workers", 2, "--engine", "ray")),
    ):
        assert run("score", "p", "--suite", small_suite_path, "-o", name, *words)[0] == 0
        found.append(
            (Path(name, "report.json").read_bytes(), Path(name, "per_sample.parquet").read_bytes())
        )
    assert found[0] == found[1] == found[2]


def test_seeds_of_one_method_are_compared_as_its_trainings(
    run: Run, small_suite_path: Path
) -> None:
    for seed, by in enumerate((20, 30, 45)):
        body = f"return [t.b.point(lambda v: v - {by}) for t in triplets]"
        Path(f"m{seed}.py").write_text(
            f"class M:\n    name = 'darker'\n    def predict(self, triplets):\n        {body}\n"
        )
        assert (
            run(
                "evaluate",
                "--method",
                f"m{seed}.py:M",
                "--suite",
                small_suite_path,
                "-o",
                f"r{seed}",
                "--metrics",
                "mse",
            )[0]
            == 0
        )
    code, out, _ = run("compare", "--trainings", "r0", "r1", "r2")
    assert (code, "3 trainings" in out) == (0, True)
    code, _, err = run("compare", "--trainings", "r0", "r0")
    assert (code, "of one training of darker, not of two" in err) == (2, True)


def test_parts_and_limits_say_what_they_are(run: Run, small_suite_path: Path) -> None:
    predict = ("predict", "--method", "copy-b", "--suite", small_suite_path)
    assert "completes the folder" in run(*predict, "-o", "p", "--shard", "1/2")[1]
    assert "48 predictions of copy-b" in run(*predict, "-o", "p", "--shard", "2/2")[1]
    assert "a part of the suite" in run(*predict, "-o", "q", "--limit", "4")[1]
    _, out, _ = run("score", "q", "--suite", small_suite_path, "-o", "r", "--metrics", "mse")
    assert "44 predictions are missing" in out
    assert "of a part of the suite" in out


def test_methods_are_listed(run: Run) -> None:
    code, out, _ = run("methods")
    assert code == 0
    names = (
        "copy-b",
        "color-transfer",
        "patch-analogy",
        "library-search",
        "nearest-seen",
        "checkpoint",
        "ceiling",
        "visualcloze",
    )
    starts = {line.split()[0]: line for line in out.splitlines() if not line.startswith(" ")}
    assert set(names) <= set(starts)
    assert (
        len({len(line) - len(line.split(maxsplit=1)[1]) for line in starts.values()}) == 1
    )  # one column, whatever the names


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("evaluate", "--method", "copy_b", "--suite", "SUITE", "-o", "x"),
            "did you mean 'copy-b'",
        ),
        (
            (
                "evaluate",
                "--method",
                "copy-b",
                "--suite",
                "SUITE",
                "-o",
                "x",
                "--metrics",
                "edit_recovry",
            ),
            "did you mean 'edit_recovery'",
        ),
        (("predict", "--method", "copy-b", "--suite", "nowhere", "-o", "x"), "nowhere"),
        (("predict", "--method", "copy-b", "--suite", "SUITE", "-o", "full"), "something else"),
        (
            ("predict", "--method", "copy-b", "--suite", "SUITE", "-o", "x", "--shard", "3/2"),
            "give I/N",
        ),
        (
            ("predict", "--method", "copy-b", "--suite", "SUITE", "-o", "x", "--engine", "ray"),
            "pip install 'lorweb-bench[ray]'",
        ),
        (("predict", "--method", "full", "--suite", "SUITE", "-o", "x"), "full is no checkpoint"),
        (
            ("predict", "--method", "faulty.py:Faulty", "--suite", "SUITE", "-o", "x"),
            "it gave None",
        ),
        (("score", "nowhere", "--suite", "SUITE", "-o", "x"), "nowhere is not a folder"),
        (("score", "full", "--name", "x", "--suite", "SUITE", "-o", "x"), "no predictions"),
        (("score", "full", "--name", "x", "--suite", "PUBLIC", "-o", "x"), "public view"),
        (("compare", "full"), "two reports or more"),
        (("compare", "full", "nowhere"), "report.json"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    words: tuple[str, ...],
    sentence: str,
    run: Run,
    small_suite_path: Path,
    small_public: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    Path("faulty.py").write_text(FAULTY)
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    places = {"SUITE": small_suite_path, "PUBLIC": getattr(small_public, "path", None)}
    code, _, err = run(*(places.get(word, word) for word in words))
    assert code == 2
    assert sentence in err
    assert "Traceback" not in err
    assert Path("full/notes.txt").read_text() == "mine"


def test_ctrl_c_exits_130_and_keeps_what_is_done(run: Run, small_suite_path: Path) -> None:
    Path("stops.py").write_text(
        "class Stops:\n    name = 'stops'\n    batch_size = 4\n    calls = 0\n"
        "    def predict(self, triplets):\n        self.calls += 1\n"
        "        if self.calls == 3:\n            raise KeyboardInterrupt\n"
        "        return [t.b for t in triplets]\n"
    )
    code, _, err = run(
        "predict", "--method", "stops.py:Stops", "--suite", small_suite_path, "-o", "p"
    )
    assert (code, "Stopped." in err) == (130, True)
    assert len(list(Path("p").glob("*.png"))) == 1 + 4  # the first item is asked for alone


def test_help_imports_nothing_heavy() -> None:
    """The bound is half a second; what would break it is an import, which a busy machine does not
    blur.
    """
    script = (
        "import sys\nfrom lorweb_bench.cli.main import main\n"
        "try:\n    main([sys.argv[1], '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'torch', 'pydantic', 'rich', 'cv2', 'skimage', 'pyarrow', "
        "'matplotlib', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    for command in ("methods", "predict", "score", "evaluate", "compare", "judge"):
        subprocess.run([sys.executable, "-c", script, command], check=True, capture_output=True)
