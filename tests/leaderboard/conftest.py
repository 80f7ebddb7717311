"""Shared by the leaderboard's tests: predictions for the small suite, a card, and a packed submission."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from leaderboard.submission import pack
from lorweb_bench.dataset import Dataset
from lorweb_bench.evaluation import predict

EXAMPLE = Path(__file__).parents[2] / "docs/example-card.yaml"


@pytest.fixture(scope="session")
def example_card() -> dict[str, Any]:
    """The card in docs, parsed."""
    content: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    return content


@pytest.fixture
def write_card(example_card: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """Write the example card with other fields."""

    def write(**fields: Any) -> Path:
        path = tmp_path / "card.yaml"
        path.write_text(yaml.safe_dump(example_card | fields, allow_unicode=True))
        return path

    return write


@pytest.fixture(scope="session")
def copies(small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of copy-b for the small suite."""
    folder = tmp_path_factory.mktemp("predictions") / "copy-b"
    predict("copy-b", small_suite, folder)
    return folder


@pytest.fixture(scope="session")
def good_zip(copies: Path, small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """These packed with the card in docs."""
    return pack(copies, small_suite, EXAMPLE, tmp_path_factory.mktemp("packed") / "good.zip")
