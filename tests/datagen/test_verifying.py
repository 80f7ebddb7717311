"""`verify` says whether it ran transformations again, and if not, why."""

from pathlib import Path

import pytest

from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.suites.publish import publish
from lorweb_bench.suites.verify import verify


def test_a_suite_is_made_again(suite: Dataset) -> None:
    checked = verify(suite.path)
    assert checked.rerun > 0 and checked.not_rerun == ""


def test_why_transformations_were_not_run_again(
    train: Dataset, suite: Dataset, tmp_path: Path
) -> None:
    public = publish(suite.path, tmp_path / "public")
    assert verify(public.path).not_rerun == "a public view does not say what they are"
    assert verify(suite.path, rerun=False).not_rerun == "--no-rerun was given"
    assert verify(train.path).not_rerun == "it is training data; --rerun runs them"
    assert verify(train.path, rerun=True).not_rerun == ""


def test_the_command_says_so(train: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["verify", str(train.path)])
    assert "No transformation was run again: it is training data" in capsys.readouterr().out
