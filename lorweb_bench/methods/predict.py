"""Running a method over a suite: batches, prompt modes, shuffled pairs, parts, and resuming per
sample.
"""

import hashlib
import pickle
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.data.samples import Quadruplet, Triplet
from lorweb_bench.errors import InputError, unknown_name
from lorweb_bench.methods.base import TABLE, LoadedMethod, load_method
from lorweb_bench.predictions.format import PredictionsManifest, suite_id, suite_keys
from lorweb_bench.predictions.shuffled_pairs import panel_reader, shuffled_pairs
from lorweb_bench.predictions.writer import PredictionsWriter, cost_of
from lorweb_bench.protocol import PREDICT_SEED, PROMPT_MODES, PUBLISH_SALT, TRACKS
from lorweb_bench.runtime.files import canonical_json
from lorweb_bench.runtime.hub import local_folder
from lorweb_bench.runtime.plugins import absolute
from lorweb_bench.runtime.progress import track as show
from lorweb_bench.runtime.workers import run_pieces

NAMED = 5  # further failures that are named
GIVE_UP = 8  # failed batches in a row, none of whose items came through
PIECE = 64  # items that a worker is given at a time, at most
TASK_PROMPT = "Apply to the third image the change that turns the first image into the second."
PromptMode = Literal["none", "task", "instruction"]
Pairs = Literal["true", "shuffled"]
PAIRS = ("true", "shuffled")


class WrongOutput(Exception):
    """A method gave something else than one RGB image of b's size per triplet."""


@dataclass(frozen=True)
class Task:
    """All that decides what a method is asked, and in what batches.

    Attributes:
        method: The SPEC to load in each process, or the method itself.
        suite: What it is run on.
        prompt: The prompt mode.
        seed: What the items' seeds are made from.
        pair_of: By item, whose pair it is shown, where that is not its own.
        batch: Triplets a call, or None for the method's own number.
        options: What a method named by a SPEC is made with.
        allow_missing: Whether items without an answer are left out rather than failures.
    """

    method: str | LoadedMethod
    suite: Dataset
    prompt: PromptMode
    seed: int
    pair_of: Mapping[str, str] = field(default_factory=dict)
    batch: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    allow_missing: bool = False
    exemplars: int = 1


@dataclass(frozen=True)
class Piece:
    """Some items of one shard."""

    split: str
    shard: int
    keys: tuple[str, ...]


def predict(
    method: Any,
    suite: Dataset | str | Path,
    out: str | Path,
    *,
    prompt: PromptMode = "none",
    pairs: Pairs = "true",
    exemplars: int = 1,
    seed: int = PREDICT_SEED,
    limit: int | None = None,
    shard: tuple[int, int] | None = None,
    track: str | None = None,
    batch: int | None = None,
    options: Mapping[str, Any] | None = None,
    allow_missing: bool = False,
    overwrite: bool = False,
    workers: int = 1,
    engine: str = "local",
) -> PredictionsManifest | None:
    """Run a method on every item of a suite, or of its public view, and write its predictions.

    Predictions of the same settings and the same code are kept, which is said on stderr.

    Args:
        method: A SPEC, an object with `name` and `predict(triplets)`, or a function of triplets.
        suite: The suite or its public view, or its folder.
        out: The folder to write.
        prompt: What text the method is given.
        pairs: `shuffled` shows each item the pair of another transformation.
        exemplars: How many of the item's pairs are shown, from the first on.
        seed: What the items' seeds are made from.
        limit: Take the first items of the public order; the predictions are then partial.
        shard: (i, n), counted from 1, takes every n-th item. Runs over all parts may share a
            folder, and the one that completes it writes the manifest.
        track: In place of the method's own.
        batch: Triplets a call, in place of the method's `batch_size`.
        options: What a method named by a SPEC is made with.
        allow_missing: Leave out items that the method gives None for or fails on; they are named in
            the manifest, and count the worst when they are scored.
        overwrite: Make all predictions anew, whatever the folder held of them.
        workers: Processes; each loads the method.
        engine: `local` or `ray`.

    Returns:
        The manifest, or None while other parts of the folder are missing.

    Raises:
        InputError: The settings do not fit, the method gives no RGB images of b's size, or, after
            all other items, it failed on some: they are named, and the same call tries them again.
    """
    suite = (
        suite
        if isinstance(suite, Dataset)
        else open_suite(local_folder(suite, "dataset").resolve())
    )
    options = dict(options or {})
    loaded = _load(method, options)
    _check_words(prompt, pairs, track or loaded.track)
    _check(loaded, suite, limit, shard, batch, overwrite)
    _check_exemplars(suite, exemplars, pairs)
    settings = PredictionsManifest(
        suite=suite_id(suite),
        method=loaded.identity(),
        samples=0,
        track=track or loaded.track,  # type: ignore[arg-type]
        prompt_mode=prompt,
        pairs=pairs,
        exemplars=exemplars,
        seed=seed,
    )
    writer = PredictionsWriter(Path(out).resolve(), settings)
    if overwrite:
        writer.discard()
    finished, keys = writer.finished(), chosen_keys(suite, limit, shard)
    answered = set(finished.unanswered) if finished and allow_missing else set()
    if finished is not None and keys <= writer.done() | answered:
        _say_kept(writer, keys & writer.done(), keys)
        return finished
    writer.begin()
    _say_kept(writer, keys & writer.done(), keys)
    todo = [piece for piece in _pieces(suite, keys - writer.done()) if piece.keys]
    pair_of = shuffled_pairs(suite, seed) if pairs == "shuffled" else {}
    in_process = workers == 1 and engine == "local"
    by_spec = isinstance(method, str) and not in_process
    task = Task(
        absolute(method, TABLE) if by_spec else loaded,
        suite,
        prompt,
        seed,
        pair_of,
        batch,
        options,
        allow_missing,
        exemplars,
    )
    if in_process:
        unanswered = _run_here(task, loaded, writer, todo)
    else:
        unanswered = _run_in_workers(task, loaded, writer, todo, workers, engine)
    if unanswered:
        writer.leave_out(unanswered)
    if not chosen_keys(suite, limit, None) <= writer.done() | set(writer.left_out()):
        return None
    return writer.finish(sum(suite.split(split).samples for split in suite.scored_splits))


def _load(method: Any, options: dict[str, Any]) -> LoadedMethod:
    if isinstance(method, str):
        return load_method(method, **options)
    loaded = LoadedMethod.wrap(method)
    if options:
        raise InputError(
            f"{loaded.name} is made already; options are for a method that is named by a SPEC."
        )
    return loaded


def _say_kept(writer: PredictionsWriter, kept: set[str], wanted: set[str]) -> None:
    """Say on stderr how many predictions are taken over from an earlier run."""
    if kept:
        of = "all" if kept == wanted else f"{len(kept)} of"
        print(
            f"{of} {len(wanted)} predictions are kept from an earlier run in {writer.folder}; "
            "--overwrite makes them anew",
            file=sys.stderr,
            flush=True,
        )


def _check_words(prompt: str, pairs: str, track: str) -> None:
    for value, what, allowed in (
        (prompt, "prompt mode", PROMPT_MODES),
        (pairs, "way to pair", PAIRS),
        (track, "track", TRACKS),
    ):
        if value not in allowed:
            raise unknown_name(what, value, allowed)


def _check_exemplars(suite: Dataset, exemplars: int, pairs: str) -> None:
    there = suite.manifest.exemplars
    if not 1 <= exemplars <= there:
        pairs_phrase = f"{there} exemplar pair{'s' if there > 1 else ''}"
        way_out = f"give 1 to {there}" if there > 1 else "leave it out, or build with exemplars"
        raise InputError(
            f"--exemplars {exemplars}: an item of {suite.path} shows {pairs_phrase}; {way_out}."
        )
    if exemplars > 1 and pairs == "shuffled":
        raise InputError("Shuffled pairs are shown one at a time; leave --exemplars out.")


def _check(
    method: LoadedMethod,
    suite: Dataset,
    limit: int | None,
    shard: tuple[int, int] | None,
    batch: int | None,
    overwrite: bool,
) -> None:
    if batch is not None and batch < 1:
        raise InputError(f"A batch of {batch} is none; give 1 or more.")
    if limit is not None and limit < 1:
        raise InputError(f"A limit of {limit} leaves nothing to predict; give 1 or more.")
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise InputError(f"There is no part {shard[0]} of {shard[1]}; parts are counted from 1.")
    if shard is not None and overwrite:
        raise InputError(
            "--overwrite with --shard would delete what the other parts wrote; delete the folder "
            "first."
        )
    if method.needs_full_view and suite.public:
        raise InputError(
            f"{method.name} looks at the answers, so it needs the suite's full view, not "
            f"{suite.path}."
        )


def chosen_keys(suite: Dataset, limit: int | None, shard: tuple[int, int] | None) -> set[str]:
    """The keys of the first `limit` items of the public order, and of these every n-th; else all
    keys.
    """
    keys: list[str] = []
    for split in suite.scored_splits:
        for keys_of_shard in suite_keys(suite, split):
            keys += keys_of_shard
    if limit is None and shard is None:
        return set(keys)
    mixed = sorted(keys, key=lambda key: hashlib.sha256(f"{PUBLISH_SALT} {key}".encode()).digest())
    first = mixed[:limit]
    return set(first if shard is None else first[shard[0] - 1 :: shard[1]])


def _pieces(suite: Dataset, wanted: set[str]) -> Iterator[Piece]:
    for split in suite.scored_splits:
        for shard, keys in enumerate(suite_keys(suite, split)):
            yield Piece(split, shard, tuple(key for key in keys if key in wanted))


def _run_here(
    task: Task, method: LoadedMethod, writer: PredictionsWriter, todo: list[Piece]
) -> dict[str, str]:
    """Predict all pieces in this process; gives why items have no answer, by key."""
    total = sum(len(piece.keys) for piece in todo)
    method.prepare(task.suite)
    runner = _Runner(task, method, writer)
    outcomes = (outcome for piece in todo for outcome in runner.batches(piece))
    items = (item for outcome in outcomes for item in outcome.items())
    reasons = dict(show(items, total, "predicting"))
    return _without_answer(task, writer, reasons, total)


def _run_in_workers(
    task: Task,
    method: LoadedMethod,
    writer: PredictionsWriter,
    todo: list[Piece],
    workers: int,
    engine: str,
) -> dict[str, str]:
    """Predict all pieces in other processes; gives why items have no answer, by key."""
    if not isinstance(task.method, str) and workers > 1:
        _require_picklable(task.method)
    total = sum(len(piece.keys) for piece in todo)
    size = max(1, min(PIECE, -(-total // (4 * workers))))
    small = [
        replace(piece, keys=piece.keys[start : start + size])
        for piece in todo
        for start in range(0, len(piece.keys), size)
    ]
    work = partial(_predict_piece, task, writer)
    reasons: dict[str, str | None] = {}
    for outcome in run_pieces(work, small, workers, engine, "predicting", method.gpus):
        reasons |= outcome
    return _without_answer(task, writer, reasons, total)


def _without_answer(
    task: Task, writer: PredictionsWriter, reasons: Mapping[str, str | None], total: int
) -> dict[str, str]:
    """The items without an answer; InputError that names them where none may be missing."""
    failures = sorted((key, reason) for key, reason in reasons.items() if reason is not None)
    if not failures or (task.allow_missing and writer.done()):
        return dict(failures)
    (key, reason), *others = failures
    names = [repr(key) for key, _ in others[:NAMED]] + ["…"] * (len(others) > NAMED)
    also = f" (then {', '.join(names)})" if others else ""
    raise InputError(
        f"The method failed on {len(failures)} of {total} samples, the first is {key!r}: "
        f"{reason}{also}. "
        f"The others are kept in {writer.folder}; mend the method and run the same command again, "
        "or leave these out with --allow-missing."
    )


def _require_picklable(method: LoadedMethod) -> None:
    try:
        pickle.dumps(method)
    except Exception as error:
        raise InputError(
            f"{method.name} cannot be sent to other processes ({error}); "
            "name it by file.py:attribute, or use one worker."
        ) from None


def _predict_piece(task: Task, writer: PredictionsWriter, piece: Piece) -> dict[str, str | None]:
    outcomes: dict[str, str | None] = {}
    for outcome in _runner_of_process(task, writer).batches(piece):
        outcomes |= outcome
    return outcomes


_RUNNERS: dict[Any, "_Runner"] = {}  # of a worker process: the one method that it has loaded


def _runner_of_process(task: Task, writer: PredictionsWriter) -> "_Runner":
    """The runner of a worker process, whose method is loaded and prepared at most once."""
    spec = task.method
    key: Any = id(spec)
    if isinstance(spec, str):
        key = (spec, canonical_json(task.options), task.suite.fingerprint)
    if key not in _RUNNERS:
        _RUNNERS.clear()
        method = load_method(spec, **task.options) if isinstance(spec, str) else spec
        method.prepare(task.suite)
        _RUNNERS[key] = _Runner(task, method, writer)
    return _RUNNERS[key]


@dataclass
class _Runner:
    """Asks a prepared method batch by batch, and writes what it gives.

    The first item is asked for alone, so that a method that gives something of the wrong type or
    size is told after one image.
    """

    task: Task
    method: LoadedMethod
    writer: PredictionsWriter
    proven: bool = False  # whether the method has given a right image in this process

    def batches(self, piece: Piece) -> Iterator[dict[str, str | None]]:
        """Predict and write a piece.

        Yields per batch why each key has no answer, or None where it has.
        """
        task = self.task
        panels = panel_reader(task.suite)
        failed: dict[str, str | None] = {}
        failed_in_a_row = 0
        stream = task.suite.quadruplets(piece.split, shards=[piece.shard], keys=set(piece.keys))
        while batch := list(islice(stream, self._batch_size())):
            if task.pair_of:
                batch = [replace(q, **panels.pair(task.pair_of[q.key])) for q in batch]
            outcome = self._predict(batch)
            failed_in_a_row = failed_in_a_row + 1 if all(outcome.values()) else 0
            failed |= {key: reason for key, reason in outcome.items() if reason}
            if failed_in_a_row == GIVE_UP and not (task.allow_missing and self.proven):
                key, reason = next(iter(failed.items()))
                raise InputError(
                    f"The method failed on {len(failed)} samples in a row or nearly so, "
                    f"the first is {key!r}: {reason}. What came before is kept in "
                    f"{self.writer.folder}; mend the method and run the same command again."
                )
            yield outcome

    def _batch_size(self) -> int:
        return (self.task.batch or self.method.batch_size) if self.proven else 1

    def _predict(self, batch: list[Quadruplet]) -> dict[str, str | None]:
        """Why each item has no answer, or None. A batch that raises is tried again item by item."""
        started = time.perf_counter()
        try:
            images = self._ask(batch)
        except InputError:
            raise  # a sentence about the whole run, not about an item
        except WrongOutput as error:
            raise InputError(self._stopped(batch[0].key, str(error))) from None
        except Exception as error:
            if len(batch) == 1:
                return {batch[0].key: f"{type(error).__name__}: {error}"}
            outcome: dict[str, str | None] = {}
            for q in batch:
                outcome |= self._predict([q])
            return outcome
        seconds, written = time.perf_counter() - started, 0
        outcome = {}
        for q, image in zip(batch, images, strict=True):
            reason = outcome[q.key] = wrong_with(image, q)
            if reason is not None and image is not None and not self.proven:
                raise InputError(self._stopped(q.key, reason))
            if reason is None:
                self.writer.add(q.key, image)
                self.proven = True
                written += 1
        if written:
            self.writer.add_cost(batch[0].key, seconds, written, cost_of(self.method))
        return outcome

    def _stopped(self, key: str, reason: str) -> str:
        return (
            f"The method {self.method.name!r} was stopped at {key!r}: {reason}; "
            "it has to give one RGB PIL image of b's size for each triplet."
        )

    def _ask(self, batch: list[Quadruplet]) -> list[Any]:
        task, method = self.task, self.method
        if method.needs_full_view:
            images = method.predict_quadruplets(batch, task.suite)
        else:
            images = method.predict([_triplet(task, q) for q in batch])
        if not isinstance(images, Iterable):
            output = "None" if images is None else f"one {type(images).__name__}"
            raise WrongOutput(f"{output} came back for a list of {len(batch)} triplets, not a list")
        images = list(images)
        if len(images) != len(batch):
            raise WrongOutput(f"{len(images)} images came back for {len(batch)} triplets")
        return images


def _triplet(task: Task, q: Quadruplet) -> Triplet:
    prompt = {
        "none": None,
        "task": TASK_PROMPT,
        "instruction": q.record.instruction or q.record.prompt,
    }[task.prompt]
    if task.prompt == "instruction" and not prompt:
        raise InputError(
            f"{task.suite.path}: sample {q.key!r} has no instruction; use --prompt none or task."
        )
    return q.triplet(prompt, sample_seed(task.seed, q.key), task.exemplars)


def sample_seed(seed: int, key: str) -> int:
    """The seed that a method is given for an item, in [0, 2**31), whatever the order, batch or
    part.

    >>> sample_seed(0, "00000000") == sample_seed(0, "00000000") != sample_seed(1, "00000000")
    True
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode()).digest()[:4]) >> 1


def wrong_with(image: Any, q: Quadruplet) -> str | None:
    """What is wrong with an output, or None."""
    if isinstance(image, np.ndarray):
        nan = " with NaN" if image.dtype.kind == "f" and bool(np.isnan(image).any()) else ""
        return f"it gave an array of {image.dtype} {image.shape}{nan}, not a PIL image"
    if not isinstance(image, Image.Image):
        return f"it gave {'None' if image is None else type(image).__name__}, not a PIL image"
    if image.mode != "RGB":
        return f"it gave an image of mode {image.mode}, not RGB"
    if image.size != q.b.size:
        return f"it gave an image of {image.width}x{image.height}, b is {q.b.width}x{q.b.height}"
    try:
        image.load()
    except Exception as error:  # Pillow raises nearly anything on a damaged file opened lazily
        return f"it gave an image that cannot be read ({error})"
    return None
