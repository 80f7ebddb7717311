"""What the keeper of a board runs.

The reference rows that stand in every table, and a submitted method once more.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from leaderboard.store.store import Added, Store
from leaderboard.store.suites import PUBLIC, about
from leaderboard.submission.submission import open_submission, pack, sizes_of
from leaderboard.submission.verify import require_full
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.methods.reference_rows import DESCRIPTIONS, OPEN_BOOK, WITHOUT_MODEL
from lorweb_bench.protocol import PREDICT_SEED
from lorweb_bench.runtime.yaml_files import to_yaml
from lorweb_bench.scoring.evaluate import evaluate, predict, score


def references_of(suite: Dataset) -> tuple[str, ...]:
    """The reference rows that a suite can have.

    `nearest-seen` needs its transformation library, `library-search` an open book.
    """
    library, book = suite.manifest.transformation_library, about(suite)["book"]
    lacking = {"nearest-seen": not library, OPEN_BOOK: not (book and book["held"])}
    return tuple(name for name in WITHOUT_MODEL if not lacking.get(name))


def add_references(
    store: Store, suite: Dataset, workers: int = 1
) -> Iterable[tuple[str, Added | None]]:
    """Run each reference method on a suite and record it as `reproduced`.

    Yields its name and what came of it.

    None stands for one that is there already. InputError as of `evaluate` and `Store.add`.
    """
    require_full(suite)
    there = {
        e.submission.method
        for e in store.entries()
        if e.suite.fingerprint == suite.fingerprint and e.verdict.level == "reproduced"
    }
    for name in references_of(suite):
        if name in there:
            yield name, None
            continue
        with tempfile.TemporaryDirectory(prefix="lorweb-bench-") as folder:
            predictions, card = Path(folder) / "predictions", Path(folder) / "card.yaml"
            predict(
                name,
                _open_book(suite) if name == OPEN_BOOK else suite,
                predictions,
                workers=workers,
            )
            report = score(predictions, suite, workers=workers)
            card.write_text(to_yaml(_card(name)))
            archive = pack(predictions, suite, card, Path(folder) / f"{name}.zip")
            yield name, store.add(archive, suite, report, workers)


def _open_book(suite: Dataset) -> Dataset:
    """The suite as `library-search` is to see it.

    Families of the keeper's own are in no book that others can open.
    """
    return Dataset(suite.path, suite.manifest.model_copy(update={"transformation_library": PUBLIC}))


def _card(name: str) -> dict[str, object]:
    return {
        "method": name,
        "authors": [{"name": "the keeper of this board"}],
        "base_model": "none",
        "parameters": {"trainable": 0, "total": 0},
        "hardware": "CPU",
        "track": "closed",
        "training_data": [],
        "prompt_mode": "none",
        "seeds": [0],
        "licence": "Apache-2.0",
        "description": DESCRIPTIONS[name],
    }


def reproduce(
    path: Path | str, suite: Dataset, store: Store, method: str, workers: int = 1
) -> Added:
    """Run the method that a submission is of, by its SPEC, and record the verdict.

    It runs with the submission's seed, prompt mode and exemplars.

    It is `reproduced` where the keeper's scores lie within the intervals of the submitted images,
    else a refusal that says where they do not; what was recorded before stays. InputError as of
    `evaluate` and `Store.add`.
    """
    require_full(suite)
    submission = open_submission(path, suite, sizes_of(suite))
    manifest = submission.manifest
    seed = PREDICT_SEED if manifest.seed is None else manifest.seed
    report = evaluate(
        method,
        suite,
        prompt=manifest.prompt_mode,
        exemplars=manifest.exemplars,
        workers=workers,
        seed=seed,
    )
    if report.method.name != manifest.method.name:
        raise InputError(
            f"{method} is the method {report.method.name!r}; the submission is of "
            f"{manifest.method.name!r}."
        )
    return store.add(path, suite, report, workers)
