"""Metrics: one small module each, found by name.

A metric is any object like `Metric`. A user's own is named by entry point (group
`lorweb_bench.metrics`), `package.module:attribute` or `path/to/file.py:attribute`, as methods are.
`name[backbone/weights]` makes one with an argument.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from lorweb_bench.data.images import to_array
from lorweb_bench.data.samples import Quadruplet, Record
from lorweb_bench.errors import InputError
from lorweb_bench.metrics.weights import digest
from lorweb_bench.runtime.plugins import find

if TYPE_CHECKING:
    from lorweb_bench.data.dataset import Dataset

GROUP = "lorweb_bench.metrics"
TABLE = {
    "mse": "lorweb_bench.metrics.pixel:Mse",
    "psnr": "lorweb_bench.metrics.pixel:Psnr",
    "ssim": "lorweb_bench.metrics.ssim:Ssim",
    "edit_recovery": "lorweb_bench.metrics.edit_recovery:EditRecovery",
    "retrieval": "lorweb_bench.metrics.retrieval:Retrieval",
    "lpips_to_b": "lorweb_bench.metrics.lpips:LpipsToB",
    "lpips_to_b_prime": "lorweb_bench.metrics.lpips:LpipsToBPrime",
    "clip_direction": "lorweb_bench.metrics.clip:ClipDirection",
    "clip_image": "lorweb_bench.metrics.clip:ClipImage",
    "dino_direction": "lorweb_bench.metrics.dino:DinoDirection",
    "dino_image": "lorweb_bench.metrics.dino:DinoImage",
    "l1": "lorweb_bench.metrics.pixel:L1",
}


@dataclass(frozen=True)
class Scored:
    """A prediction beside the quadruplet that it answers.

    Arrays are uint8 H x W x 3 RGB, all of one size.
    """

    quadruplet: Quadruplet
    prediction: np.ndarray

    @property
    def key(self) -> str:
        """The sample's key."""
        return self.quadruplet.key

    @property
    def record(self) -> Record:
        """The sample's labels."""
        return self.quadruplet.record

    @cached_property
    def a(self) -> np.ndarray:
        """a as an array."""
        return to_array(self.quadruplet.a)

    @cached_property
    def a_prime(self) -> np.ndarray:
        """a_prime as an array."""
        return to_array(self.quadruplet.a_prime)

    @cached_property
    def b(self) -> np.ndarray:
        """b as an array."""
        return to_array(self.quadruplet.b)

    @cached_property
    def b_prime(self) -> np.ndarray:
        """The true answer as an array."""
        if self.quadruplet.b_prime is None:
            raise InputError(
                f"Sample {self.key!r} has no answer: neither a public view nor a set without "
                "answers can be scored with a metric that compares with one."
            )
        return to_array(self.quadruplet.b_prime)


@runtime_checkable
class Metric(Protocol):
    """What scores a prediction.

    A metric may also offer `unsupported(suite) -> str | None` (why the suite cannot have it),
    `unavailable() -> str | None` (what it lacks on this machine, and where to get it),
    `needs_weights` or `on_request` (then it is computed only where it is asked for), `settings() ->
    dict` (which the report keeps), `weights() -> Path | None` (their file, where it is there: a
    suite whose items were chosen with them refuses the metric) and `chance(suite) -> float`.

    Attributes:
        identity: Names all that the value depends on (backbone, weights, kernel). Two identities
            are never compared.
        higher_is_better: Whether a larger value is better.
        worst: What a missing prediction counts.
    """

    identity: str
    higher_is_better: bool
    worst: float

    def values(self, batch: Sequence[Scored], suite: "Dataset") -> np.ndarray:
        """One finite value per item, each independent of its batch."""
        ...


@dataclass(frozen=True)
class Chosen:
    """The metrics to compute, in order, and by name why others that were asked for cannot be."""

    metrics: list[Metric]
    not_computed: dict[str, str]


def load_metric(spec: str) -> Metric:
    """The metric that a SPEC names.

    `name[argument]` calls what `name` stands for with the argument: `clip_image[ViT-B-32/openai]`.

    Raises:
        InputError: There is none (the sentence has the nearest name), or it is no metric.

    >>> load_metric("mse").identity
    'mse'
    """
    name, bracket, argument = spec.partition("[")
    arguments = (argument.removesuffix("]"),) if bracket and spec.endswith("]") else ()
    metric = find(name if arguments else spec, "metric", TABLE, GROUP)
    is_factory = callable(metric) and not hasattr(metric, "values")
    if arguments or inspect.isclass(metric) or is_factory:
        try:
            metric = metric(*arguments)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"The metric {spec!r} cannot be made: {type(error).__name__}: {error}."
            ) from error
    if not isinstance(metric, Metric):
        raise InputError(
            f"{spec!r} is no metric: it needs identity, higher_is_better, worst and "
            "values(batch, suite)."
        )
    return metric


def needs_weights(metric: Metric) -> bool:
    """Whether the metric needs weights that are downloaded."""
    return bool(getattr(metric, "needs_weights", False))


def settings_of(metric: Metric) -> dict[str, Any] | None:
    """What a value depends on besides the images, as the metric says, or None where it says
    nothing.
    """
    settings = getattr(metric, "settings", None)
    return settings() if callable(settings) else None


def chance_of(metric: Metric, suite: "Dataset") -> float | None:
    """What guessing gets, where the metric knows it."""
    chance = getattr(metric, "chance", None)
    return float(chance(suite)) if callable(chance) else None


def unsupported(metric: Metric, suite: "Dataset") -> str | None:
    """Why this suite cannot have this metric, or None where it can."""
    if name := _encoder_that_chose(metric, suite.manifest.chosen_with):
        return (
            f"its items were chosen with {name}, which would judge its own choice; "
            "take another backbone"
        )
    if getattr(metric, "needs_answer", False) and not suite.has_answers:
        return "it compares with b', and nobody has the answers to this suite"
    ask = getattr(metric, "unsupported", None)
    return ask(suite) if ask is not None else None


def _encoder_that_chose(metric: Metric, chosen_with: Mapping[str, str]) -> str | None:
    """The encoder that a suite's items were chosen with, where the metric has the same one.

    It is known by its name or by the bytes of its weights: one file may have two names.
    """
    if not chosen_with:
        return None
    ask = getattr(metric, "weights", None)
    file = ask() if ask is not None else None
    weights = digest(file) if file else None
    for name, digest_of_encoder in chosen_with.items():
        if f"[{name}]" in metric.identity or digest_of_encoder == weights:
            return name
    return None


def unavailable(metric: Metric) -> str | None:
    """What the metric lacks on this machine, with the way out, or None where it can be computed."""
    ask = getattr(metric, "unavailable", None)
    return ask() if ask is not None else None


def choose_metrics(
    wanted: Sequence[str | Metric] | None, suite: "Dataset", skip_unavailable: bool = False
) -> Chosen:
    """The metrics to compute on a suite.

    Args:
        wanted: Which, in order. None is every built-in without downloaded weights that the suite
            supports, but for those on request.
        suite: The suite.
        skip_unavailable: Leave out metrics whose weights or packages are not there, with the
            reason.

    Raises:
        InputError: A name is unknown, the suite does not support a metric, an identity occurs
            twice, or weights or packages are not there.
    """
    if wanted is None:
        chosen = _default_metrics(suite)
    else:
        chosen = [load_metric(m) if isinstance(m, str) else m for m in wanted]
        for metric in chosen:
            if reason := unsupported(metric, suite):
                raise InputError(
                    f"{suite.path} does not support the metric {metric.identity}: {reason}; "
                    f"it supports {_offered(suite)}."
                )
    identities = [metric.identity for metric in chosen]
    if twice := next((i for i in identities if identities.count(i) > 1), None):
        raise InputError(f"The metric {twice} is asked for twice.")
    lacking = {m.identity: reason for m in chosen if (reason := unavailable(m))}
    available = [metric for metric in chosen if metric.identity not in lacking]
    if lacking and not (skip_unavailable and available):
        identity, reason = next(iter(lacking.items()))
        rest = "--skip-unavailable scores the rest" if available else "no other metric is left"
        raise InputError(f"{identity} cannot be computed here: {reason}; {rest}.")
    if not available:
        raise InputError(f"No metric is left for {suite.path}; name some with --metrics.")
    return Chosen(available, lacking)


def _default_metrics(suite: "Dataset") -> list[Metric]:
    """Every built-in without downloaded weights that the suite supports, but for those on "
    "request."""
    metrics = []
    for metric in map(load_metric, TABLE):
        asked_for = needs_weights(metric) or getattr(metric, "on_request", False)
        if not asked_for and unsupported(metric, suite) is None:
            metrics.append(metric)
    if not metrics:
        raise InputError(
            f"{suite.path} has no metric that needs no weights; "
            f"name some with --metrics: {_offered(suite)}."
        )
    return metrics


def _offered(suite: "Dataset") -> str:
    """The built-in metrics that a suite supports, as a list to choose from."""
    return ", ".join(name for name in TABLE if unsupported(load_metric(name), suite) is None)


def inexact(suite: "Dataset") -> str | None:
    """Why a metric that compares with the true answer does not suit: some transformation has no
    single right answer.
    """
    open_ended = [
        name
        for name, info in suite.manifest.transformations.items()
        if info.tier and not info.deterministic
    ]
    return f"{open_ended[0]} has no single right answer" if open_ended else None
