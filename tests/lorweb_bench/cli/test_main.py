"""The command line: quick help, one sentence and exit code 2 for bad input, 130 on Ctrl-C, a
traceback only for faults of ours.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from lorweb_bench.cli import main
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process: exit code, stdout, stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main.main([str(word) for word in words])
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


def test_every_command_in_the_table_exists() -> None:
    for name, (target, short) in main.COMMANDS.items():
        module, _, attribute = target.partition(":")
        assert find_spec(module) is not None, name
        assert short[0].isupper()
        assert short.endswith(".")
        assert attribute


@pytest.mark.parametrize("command", ["inspect", "verify", "publish", "leaks"])
def test_the_short_help_is_what_the_command_says_of_itself(command: str, run: Run) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"lorweb-bench {command}" in out


HEAVY = """
import sys
from lorweb_bench.cli import main
try:
    main.main(sys.argv[1:])
finally:
    heavy = {"numpy", "torch", "cv2", "PIL", "pydantic", "rich", "scipy", "matplotlib"}
    heavy |= {"datagen", "reference_model", "leaderboard"}
    print("HEAVY", sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["inspect", "--help"],
        ["verify", "--help"],
        ["publish", "--help"],
        ["leaks", "--help"],
    ],
)
def test_the_help_imports_nothing_heavy(words: list[str]) -> None:
    """The time of `--help` is in what it imports; a clock would fail on a busy machine."""
    done = python("-c", HEAVY, *words)
    assert "HEAVY []" in done.stdout
    assert words != ["--help"] or all(name in done.stdout for name in main.COMMANDS)


def test_importing_the_package_imports_nothing_and_offers_its_names() -> None:
    code = (
        "import sys, lorweb_bench as lb; "
        "print({'numpy', 'PIL', 'torch', 'pydantic'} & set(sys.modules)); "
        "print(lb.__version__, dir(lb))"
    )
    assert python("-c", code).stdout.startswith("set()\n0.")
    import lorweb_bench as lb

    assert lb.InputError is InputError
    assert callable(lb.open_suite)
    assert lb.Triplet.__name__ == "Triplet"
    with pytest.raises(AttributeError, match="nonsense"):
        _ = lb.nonsense


@pytest.mark.parametrize("words", [["inspect", "set"], ["leaks", "set", "set"]])
def test_a_sheet_under_another_name_than_png_is_refused_before_any_work(
    run: Run, words: list[str]
) -> None:
    code, _, err = run(*words, "-o", "sheet.jpg")
    assert (code, "give a name that ends in .png" in err) == (2, True)


def test_usage_errors_exit_with_2_and_name_the_nearest(run: Run) -> None:
    code, _, err = run("verfy")
    assert (code, "did you mean 'verify'?" in err) == (2, True)
    assert run("quux")[0] == 2
    assert run("verify")[0] == 2
    assert run("verify", "--nonsense")[0] == 2
    assert run("verify", "x", "--workers", "0")[0] == 2


def test_the_version_is_told(run: Run) -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("lorweb-bench, version ")


def test_bad_input_is_one_sentence(run: Run, tmp_path: Path) -> None:
    for words in (
        ("verify", tmp_path / "no"),
        ("inspect", tmp_path),
        ("publish", tmp_path, "-o", tmp_path / "x"),
        ("leaks", tmp_path, tmp_path),
    ):
        code, _, err = run(*words)
        assert code == 2
        assert err.startswith("Error: ")
        assert err.count("\n") == 1
        assert str(tmp_path) in err


def command_that(effect: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def probe() -> None:
        effect()

    monkeypatch.setattr(main.LazyGroup, "get_command", lambda self, ctx, name: probe)


def raises(error: BaseException) -> Callable[[], object]:
    def effect() -> None:
        raise error

    return effect


def test_ctrl_c_exits_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(raises(KeyboardInterrupt()), monkeypatch)
    assert run("verify")[0] == 130


def test_what_the_machine_refuses_is_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(raises(OSError(28, "No space left on device", "/data/x.tar")), monkeypatch)
    assert run("verify")[::2] == (2, "Error: /data/x.tar: No space left on device.\n")


def test_faults_of_ours_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(raises(ZeroDivisionError("oops")), monkeypatch)
    with pytest.raises(ZeroDivisionError):
        main.main(["verify"])


SLEEPS = """
import time
from lorweb_bench.cli import main
from lorweb_bench.suites import verify
verify.verify = lambda *words: (print("on", flush=True), time.sleep(60))
main.main()
"""


def test_a_real_ctrl_c_stops_a_real_command(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SLEEPS, "verify", str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err


def test_the_data_commands_do_what_they_say(
    run: Run, small_suite: Dataset, tiny: Dataset, tmp_path: Path
) -> None:
    code, out, _ = run(
        "inspect",
        small_suite.path,
        "-o",
        tmp_path / "sheet.png",
        "--html",
        tmp_path / "page.html",
        "--per-tier",
        2,
    )
    assert (code, (tmp_path / "sheet.png").exists(), (tmp_path / "page.html").exists()) == (
        0,
        True,
        True,
    )
    assert all(word in out for word in ("seen_single", "new_family", small_suite.fingerprint[:20]))
    code, out, _ = run("verify", small_suite.path)
    assert (code, "all equal" in out) == (0, True)
    code, out, _ = run("publish", small_suite.path, "-o", tmp_path / "public")
    assert (code, small_suite.fingerprint in out) == (0, True)
    assert run("leaks", tiny.path, small_suite.path)[0] == 0
    code, out, err = run("leaks", small_suite.path, small_suite.path, "-o", tmp_path / "pairs.png")
    assert (code, (tmp_path / "pairs.png").exists()) == (2, True)
    assert err.startswith(f"Error: {small_suite.path} leaks: ")
    assert run("inspect", tiny.path, "-o", tmp_path / "sheet.jpg")[0] == 2
    assert run("inspect", tiny.path, "--sources")[0] == 2


def test_verify_lists_all_and_names_the_first(run: Run, tiny: Dataset) -> None:
    for name in ("000000", "000002"):
        (tiny.path / "train" / f"{name}.tar").unlink()
    code, out, err = run("verify", tiny.path)
    assert code == 2
    assert "000000.tar is missing" in err
    assert "000002.tar is missing" in out


def test_it_runs_as_a_module() -> None:
    done = python("-m", "lorweb_bench", "--help")
    assert (done.returncode, "Usage: lorweb-bench" in done.stdout) == (0, True)
