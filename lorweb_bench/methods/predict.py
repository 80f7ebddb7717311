"""Running a method over a suite: batches, prompt modes, shuffled pairs, parts, and resuming per sample."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from PIL import Image

from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.data.samples import Quadruplet, Triplet
from lorweb_bench.errors import InputError, unknown_name
from lorweb_bench.methods.base import TABLE, Method, checkpoint_digest, load_method
from lorweb_bench.predictions.format import MethodId, PredictionsManifest, suite_id, suite_keys
from lorweb_bench.predictions.shuffled_pairs import pair_reader, shuffled_pairs
from lorweb_bench.predictions.writer import PredictionsWriter, cost_of
from lorweb_bench.protocol import PREDICT_SEED, PROMPT_MODES, PUBLISH_SALT, TRACKS
from lorweb_bench.runtime.files import canonical_json
from lorweb_bench.runtime.plugins import absolute
from lorweb_bench.runtime.progress import track as show
from lorweb_bench.runtime.workers import run_pieces

BATCH = 16  # items a call, where the method has no batch_size
NAMED = 5  # further failures that are named
GIVE_UP = 8  # failed batches in a row, none of whose items came through
TASK_PROMPT = "Apply to the third image the change that turns the first image into the second."
PromptMode = Literal["none", "task", "instruction"]
Pairs = Literal["true", "shuffled"]
PAIRS = ("true", "shuffled")


@dataclass(frozen=True)
class Task:
    """All that decides what a method is asked, and in what batches.

    `pair_of` names whose pair an item is shown, where that is not its own; `options` are what the method is made with.
    """

    method: str | Method
    suite: Dataset
    prompt: PromptMode
    seed: int
    pair_of: Mapping[str, str] = field(default_factory=dict)
    batch: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """Some items of one shard."""

    split: str
    shard: int
    keys: tuple[str, ...]


def predict(
    method: str | Method,
    suite: Dataset | str | Path,
    out: str | Path,
    *,
    prompt: PromptMode = "none",
    pairs: Pairs = "true",
    seed: int = PREDICT_SEED,
    limit: int | None = None,
    shard: tuple[int, int] | None = None,
    track: str | None = None,
    batch: int | None = None,
    options: Mapping[str, Any] | None = None,
    workers: int = 1,
    engine: str = "local",
) -> PredictionsManifest | None:
    """Run a method on every item of a suite, or of its public view, and write predictions to the folder `out`.

    What is there of the same settings is kept. `limit` takes the first items of the public order; `shard` (i, n), counted from
    1, takes every n-th: runs over all parts may share a folder, and the one that completes it writes the manifest (None is
    given back while some are missing). `batch` is how many triplets the method gets at once, in place of its own
    `batch_size`; `options` are what a method named by SPEC is made with, and are kept with the predictions. More than one
    worker, or the engine "ray", loads the method in each process.
    InputError when the settings do not fit, and, after all other items, when the method failed on some: they are named, and
    the same call tries them again.
    """
    suite = suite if isinstance(suite, Dataset) else open_suite(Path(suite).resolve())
    options = dict(options or {})
    loaded = _load(method, options)
    _check_words(prompt, pairs, track)
    _check(loaded, suite, limit, shard, batch)
    whose = describe_method(
        loaded, checkpoint_digest(method) if isinstance(method, str) else None, options
    )
    asked: dict[str, Any] = {
        "track": track or getattr(loaded, "track", "open"),
        "prompt_mode": prompt,
        "pairs": pairs,
        "seed": seed,
    }
    settings = PredictionsManifest(suite=suite_id(suite), method=whose, samples=0, **asked)
    writer = PredictionsWriter(Path(out).resolve(), settings)
    before, wanted = writer.finished(), chosen_keys(suite, limit, shard)
    if before is not None and wanted <= writer.done():
        return before
    writer.begin()
    todo = [piece for piece in _pieces(suite, wanted - writer.done()) if piece.keys]
    pair_of = shuffled_pairs(suite, seed) if pairs == "shuffled" else {}
    in_task = (
        loaded
        if workers == 1 and engine == "local"
        else absolute(method, TABLE)
        if isinstance(method, str)
        else method
    )
    _run(
        Task(in_task, suite, prompt, seed, pair_of, batch, options),
        writer,
        todo,
        workers,
        engine,
        getattr(loaded, "gpus", 0),
    )
    complete = chosen_keys(suite, limit, None) <= writer.done()
    return (
        writer.finish(sum(suite.split(split).samples for split in suite.scored_splits))
        if complete
        else None
    )


def _load(method: str | Method, options: dict[str, Any]) -> Method:
    if isinstance(method, str):
        return load_method(method, **options)
    if options:
        raise InputError(
            f"{method.name} is made already; options are for a method that is named by a SPEC."
        )
    return method


def describe_method(
    method: Method, checkpoint: str | None = None, options: Mapping[str, Any] | None = None
) -> MethodId:
    """The name, version and own description of a method, its options and its checkpoint's digest, as its predictions record them."""
    describe = getattr(method, "describe", None)
    described = dict(describe()) if callable(describe) else {}
    if options:
        described["options"] = dict(options)
    if checkpoint is not None:
        described["checkpoint_sha256"] = checkpoint
    try:
        whole = canonical_json(
            {"version": getattr(method, "version", None), **described, "name": method.name}
        )
        return MethodId.model_validate_json(whole)
    except (TypeError, ValueError) as e:
        raise InputError(
            f"The method {method.name!r} describes itself in a way that cannot be kept: {e}."
        ) from None


def _check_words(prompt: str, pairs: str, track: str | None) -> None:
    for value, what, known in (
        (prompt, "prompt mode", PROMPT_MODES),
        (pairs, "way to pair", PAIRS),
        (track or "open", "track", TRACKS),
    ):
        if value not in known:
            raise unknown_name(what, value, known)


def _check(
    method: Method,
    suite: Dataset,
    limit: int | None,
    shard: tuple[int, int] | None,
    batch: int | None,
) -> None:
    if batch is not None and batch < 1:
        raise InputError(f"A batch of {batch} is none; give 1 or more.")
    if limit is not None and limit < 1:
        raise InputError(f"A limit of {limit} leaves nothing to predict; give 1 or more.")
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise InputError(f"There is no part {shard[0]} of {shard[1]}; parts are counted from 1.")
    if getattr(method, "needs_full_view", False) and suite.public:
        raise InputError(
            f"{method.name} looks at the answers, so it needs the suite's full view, not {suite.path}."
        )


def chosen_keys(suite: Dataset, limit: int | None, shard: tuple[int, int] | None) -> set[str]:
    """The keys of the first `limit` items of the public order, and of these every n-th; all of them where both are None."""
    keys = [
        key for split in suite.scored_splits for keys in suite_keys(suite, split) for key in keys
    ]
    if limit is None and shard is None:
        return set(keys)
    mixed = sorted(keys, key=lambda key: hashlib.sha256(f"{PUBLISH_SALT} {key}".encode()).digest())[
        :limit
    ]
    return set(mixed if shard is None else mixed[shard[0] - 1 :: shard[1]])


def _pieces(suite: Dataset, wanted: set[str]) -> Iterator[Piece]:
    for split in suite.scored_splits:
        for shard, keys in enumerate(suite_keys(suite, split)):
            yield Piece(split, shard, tuple(key for key in keys if key in wanted))


def _run(
    task: Task, writer: PredictionsWriter, todo: list[Piece], workers: int, engine: str, gpus: float
) -> None:
    total = sum(len(piece.keys) for piece in todo)
    failures: dict[str, str] = {}
    if workers == 1 and engine == "local":
        ready = _prepared(task)
        outcomes = (outcome for piece in todo for outcome in _batches(task, ready, writer, piece))
        items = ((key, reason) for outcome in outcomes for key, reason in outcome.items())
        failures = {
            key: reason for key, reason in show(items, total, "predicting") if reason is not None
        }
    else:
        if not isinstance(task.method, str) and workers > 1:
            _require_picklable(task.method)
        size = max(1, min(64, -(-total // (4 * workers))))
        small = [
            replace(p, keys=p.keys[i : i + size]) for p in todo for i in range(0, len(p.keys), size)
        ]
        for outcome in run_pieces(
            partial(_predict_piece, task, writer), small, workers, engine, "predicting", gpus
        ):
            failures |= {key: reason for key, reason in outcome.items() if reason is not None}
    if failures:
        (key, reason), *others = sorted(failures.items())
        also = (
            f" (then {', '.join(repr(k) for k, _ in others[:NAMED])}{', …' if len(others) > NAMED else ''})"
            if others
            else ""
        )
        raise InputError(
            f"The method failed on {len(failures)} of {total} samples, the first is {key!r}: {reason}{also}. "
            f"The others are kept in {writer.folder}; mend the method and run the same command again."
        )


def _require_picklable(method: Method) -> None:
    import pickle

    try:
        pickle.dumps(method)
    except Exception as e:
        raise InputError(
            f"{method.name} cannot be sent to other processes ({e}); name it by file.py:attribute, or use one worker."
        ) from None


def _predict_piece(task: Task, writer: PredictionsWriter, piece: Piece) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for outcome in _batches(task, _loaded_once(task), writer, piece):
        found |= outcome
    return found


_LOADED: dict[Any, Method] = {}


def _loaded_once(task: Task) -> Method:
    """The method, loaded and prepared at most once in a worker process."""
    key = (
        (task.method, canonical_json(task.options), task.suite.fingerprint)
        if isinstance(task.method, str)
        else id(task.method)
    )
    if key not in _LOADED:
        _LOADED.clear()
        _LOADED[key] = _prepared(task)
    return _LOADED[key]


def _prepared(task: Task) -> Method:
    method = (
        load_method(task.method, **task.options) if isinstance(task.method, str) else task.method
    )
    prepare = getattr(method, "prepare", None)
    if callable(prepare):
        prepare(task.suite)
    return method


def _batches(
    task: Task, method: Method, writer: PredictionsWriter, piece: Piece
) -> Iterator[dict[str, str | None]]:
    """Predict and write a piece batch by batch; yields per batch why each key failed, or None where it is written."""
    size = task.batch or max(1, int(getattr(method, "batch_size", None) or BATCH))
    pairs = pair_reader(task.suite)
    failed: dict[str, str | None] = {}
    in_a_row = 0
    stream = task.suite.quadruplets(piece.split, shards=[piece.shard], keys=set(piece.keys))
    for batch in iter(lambda: list(islice(stream, size)), []):
        shown = [
            replace(q, **pairs.read(task.pair_of[q.key])) if task.pair_of else q for q in batch
        ]
        outcome = _predict_batch(task, method, writer, shown)
        in_a_row = in_a_row + 1 if all(outcome.values()) else 0
        failed |= {key: reason for key, reason in outcome.items() if reason}
        if in_a_row == GIVE_UP:
            key, reason = next(iter(failed.items()))
            raise InputError(
                f"The method failed on {len(failed)} samples in a row or nearly so, the first is {key!r}: {reason}. "
                f"What came before is kept in {writer.folder}; mend the method and run the same command again."
            )
        yield outcome


def _predict_batch(
    task: Task, method: Method, writer: PredictionsWriter, batch: list[Quadruplet]
) -> dict[str, str | None]:
    """Why each item failed, or None. A batch that raises is tried again item by item, so that one bad item costs only itself."""
    started = time.perf_counter()
    try:
        results = _ask(task, method, batch)
    except InputError:
        raise  # a sentence about the whole run, not about an item
    except Exception as e:
        if len(batch) > 1:
            return {
                k: reason
                for q in batch
                for k, reason in _predict_batch(task, method, writer, [q]).items()
            }
        return {batch[0].key: f"{type(e).__name__}: {e}"}
    seconds, written = time.perf_counter() - started, 0
    outcome = {q.key: _wrong(image, q) for q, image in zip(batch, results, strict=True)}
    for q, image in zip(batch, results, strict=True):
        if outcome[q.key] is None:
            writer.add(q.key, image)
            written += 1
    if written:
        writer.add_cost(batch[0].key, seconds, written, cost_of(method))
    return outcome


def _ask(task: Task, method: Method, batch: list[Quadruplet]) -> list[Any]:
    if getattr(method, "needs_full_view", False):
        results = list(cast(Any, method).predict_quadruplets(batch, task.suite))
    else:
        results = list(method.predict([_triplet(task, q) for q in batch]))
    if len(results) != len(batch):
        raise ValueError(f"{len(results)} images came back for {len(batch)} triplets")
    return results


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
    return q.triplet(prompt, sample_seed(task.seed, q.key))


def sample_seed(seed: int, key: str) -> int:
    """The seed that a method is given for an item, in [0, 2**31): it does not depend on order, batches or parts."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode()).digest()[:4]) >> 1


def _wrong(image: Any, q: Quadruplet) -> str | None:
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
    except Exception as e:  # a file that was opened and not read yet: Pillow raises nearly anything on a damaged one
        return f"it gave an image that cannot be read ({e})"
    return None
