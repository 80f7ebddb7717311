"""Metrics: one small module each, found by name.

A metric is any object like `Metric`. A user's own is named by entry point (group `lorweb_bench.metrics`),
`package.module:attribute` or `path/to/file.py:attribute`, as methods are. `name[backbone/weights]` makes one with an argument.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable

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
}


@dataclass(frozen=True)
class Scored:
    """A prediction beside the quadruplet that it answers; arrays are uint8 H x W x 3 RGB, all of one size."""

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
            raise InputError(f"Sample {self.key!r} has no answer: a public view cannot be scored.")
        return to_array(self.quadruplet.b_prime)


@runtime_checkable
class Metric(Protocol):
    """What scores a prediction.

    `identity` names all that the value depends on (backbone, weights, kernel); two identities are never compared.
    `worst` is what a missing prediction counts. `values` gives one finite float per item, each independent of its batch.
    A metric may also offer `unsupported(suite) -> str | None` (why the suite cannot have it), `unavailable() -> str | None`
    (what it lacks on this machine, and where to get it), `needs_weights: bool` (then it is computed only where it is asked for),
    `settings() -> dict` (kept in the report), `weights() -> Path | None` (their file, where it is there: a suite whose items were
    chosen with them refuses the metric) and `chance(suite) -> float`.
    """

    identity: str
    higher_is_better: bool
    worst: float

    def values(self, batch: Sequence[Scored], suite: "Dataset") -> np.ndarray:
        """One value per item."""
        ...


@dataclass(frozen=True)
class Chosen:
    """The metrics to compute, in order, and by name why others that were asked for cannot be."""

    metrics: list[Metric]
    not_computed: dict[str, str]


def load_metric(spec: str) -> Metric:
    """The metric that a SPEC names; InputError with the nearest name when there is none, or when it is no metric.

    `name[argument]` calls what `name` stands for with the argument: `clip_image[ViT-B-32/openai]`.
    """
    name, bracket, argument = spec.partition("[")
    given = (argument.removesuffix("]"),) if bracket and spec.endswith("]") else ()
    found = find(name if given else spec, "metric", TABLE, GROUP)
    if given or inspect.isclass(found) or (callable(found) and not hasattr(found, "values")):
        try:
            found = found(*given)
        except InputError:
            raise
        except Exception as e:
            raise InputError(f"The metric {spec!r} cannot be made: {type(e).__name__}: {e}.") from e
    if not isinstance(found, Metric):
        raise InputError(
            f"{spec!r} is no metric: it needs identity, higher_is_better, worst and values(batch, suite)."
        )
    return found


def unsupported(metric: Metric, suite: "Dataset") -> str | None:
    """Why this suite cannot have this metric, or None where it can."""
    if name := _judges_its_choice(metric, suite.manifest.chosen_with):
        return f"its items were chosen with {name}, which would judge its own choice; take another backbone"
    ask = getattr(metric, "unsupported", None)
    return ask(suite) if ask is not None else None


def _judges_its_choice(metric: Metric, chosen_with: Mapping[str, str]) -> str | None:
    """The encoder, of those that a suite's items were chosen with, that the metric has: by name, or by the bytes of its weights.

    One file may have two names: one's own copy of what is published, or another path.
    """
    if not chosen_with:
        return None
    ask = getattr(metric, "weights", None)
    file = ask() if ask is not None else None
    own = digest(file) if file else None
    return next(
        (
            name
            for name, weights in chosen_with.items()
            if f"[{name}]" in metric.identity or weights == own
        ),
        None,
    )


def unavailable(metric: Metric) -> str | None:
    """What the metric lacks on this machine, with the way out, or None where it can be computed."""
    ask = getattr(metric, "unavailable", None)
    return ask() if ask is not None else None


def choose_metrics(
    wanted: Sequence[str | Metric] | None, suite: "Dataset", skip_unavailable: bool = False
) -> Chosen:
    """The metrics asked for, in that order; None: every built-in without downloaded weights that the suite supports.

    InputError for an unknown name, a metric that the suite does not support, an identity that occurs twice, and for one
    whose weights or packages are not there, unless `skip_unavailable`: then it is left out, and the reason kept.
    """
    chosen = [
        load_metric(m) if isinstance(m, str) else m
        for m in (list(TABLE) if wanted is None else wanted)
    ]
    reasons = {m.identity: unsupported(m, suite) for m in chosen}
    if wanted is None:
        chosen = [
            m
            for m in chosen
            if reasons[m.identity] is None and not getattr(m, "needs_weights", False)
        ]
        if not chosen:
            raise InputError(
                f"{suite.path} has no metric that needs no weights; name some with --metrics: {_offered(suite)}."
            )
    elif refused := next((m.identity for m in chosen if reasons[m.identity]), None):
        raise InputError(
            f"{suite.path} does not support the metric {refused}: {reasons[refused]}; it supports {_offered(suite)}."
        )
    identities = [m.identity for m in chosen]
    if twice := next((i for i in identities if identities.count(i) > 1), None):
        raise InputError(f"The metric {twice} is asked for twice.")
    lacking = {m.identity: reason for m in chosen if (reason := unavailable(m))}
    chosen = [m for m in chosen if m.identity not in lacking]
    if lacking and not (skip_unavailable and chosen):
        identity, reason = next(iter(lacking.items()))
        rest = "--skip-unavailable scores the rest" if chosen else "no other metric is left"
        raise InputError(f"{identity} cannot be computed here: {reason}; {rest}.")
    if not chosen:
        raise InputError(f"No metric is left for {suite.path}; name some with --metrics.")
    return Chosen(chosen, lacking)


def _offered(suite: "Dataset") -> str:
    """The built-in metrics that a suite supports, as a list to choose from."""
    return ", ".join(name for name in TABLE if unsupported(load_metric(name), suite) is None)


def inexact(suite: "Dataset") -> str | None:
    """Why a metric that compares with the true answer does not suit: some transformation has no single right answer."""
    open_ended = [
        name
        for name, info in suite.manifest.transformations.items()
        if info.tier and not info.deterministic
    ]
    return f"{open_ended[0]} has no single right answer" if open_ended else None
