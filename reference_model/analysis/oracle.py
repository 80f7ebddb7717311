"""What is reachable on each transformation of a suite, and where a checkpoint loses it.

For each transformation one mix in the hull, one in the span, one set of tokens and a fresh LoRA are
fitted on other pictures that the transformation was run on, then scored on the suite's items,
beside what the router gives and the base told in words. What is found for the bare base is the same
for every checkpoint on it: it is kept in the user's cache.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.data.images import to_image
from lorweb_bench.data.samples import Quadruplet
from lorweb_bench.errors import InputError
from lorweb_bench.metrics.candidates import library_digest
from lorweb_bench.metrics.edit_recovery import edit_recovery
from lorweb_bench.runtime.cache import cache_folder, make_room, read_arrays, write_arrays
from lorweb_bench.runtime.environment import versions
from lorweb_bench.runtime.files import canonical_json
from reference_model.checkpoints.checkpoint import checkpoint_folder, load_checkpoint, read_config
from reference_model.checkpoints.digests import frozen_encoder_digests, model_digests
from reference_model.config import TrainConfig
from reference_model.fitting.adaptation import Adaptation, Pairs, routed
from reference_model.fitting.drawing import draw_answers
from reference_model.fitting.reachable import (
    Bound,
    Examples,
    TaskMaker,
    analogies,
    edits,
    reach,
)
from reference_model.fitting.spaces import Space, Span, Tokens, fresh_lora, hull_of
from reference_model.method import BATCH_OF_FULL_SIZE, Method, Predictor, best_device
from reference_model.model.adapter import Adapter
from reference_model.model.working_size import working_size

BARE_BOUNDS = 1  # version of what is kept of the bare base; another one is another folder
LEAST_PAIRS = 2  # of one task, where no library can run it on other pictures
FREE_TOKENS = 4  # tokens searched for on the bare base


@dataclass(frozen=True)
class Settings:
    """How an oracle is computed.

    Attributes:
        steps: steps of each search.
        batch: analogies in each of them.
        examples: pictures that each transformation is run on.
        transformations: of each tier, at most so many; None for all.
        seed: seed of all choices and noise.
    """

    steps: int = 60
    batch: int = 8
    examples: int = 160
    transformations: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Search:
    """A search for one bound.

    Attributes:
        space: where it searches.
        make: its tasks.
        bare: what the bare base is given, without a pair; empty where the checkpoint is searched.
    """

    space: Space
    make: TaskMaker
    bare: str = ""


@dataclass
class Oracle:
    """A checkpoint, a suite and what both share while transformations are worked through."""

    adapter: Adapter
    config: TrainConfig
    suite: Dataset
    settings: Settings

    @cached_property
    def items(self) -> dict[str, list[Quadruplet]]:
        """The suite's items by transformation, at most so many transformations of each tier."""
        by_name: dict[str, list[Quadruplet]] = {}
        for split in self.suite.scored_splits:
            for item in self.suite.quadruplets(split):
                by_name.setdefault(item.record.transformation, []).append(item)
        count_of_tier: dict[str | None, int] = {}
        chosen = {}
        for name, items in sorted(by_name.items(), key=lambda entry: _order(entry[0])):
            tier = items[0].record.tier
            count_of_tier[tier] = count_of_tier.get(tier, 0) + 1
            if count_of_tier[tier] <= (self.settings.transformations or len(by_name)):
                chosen[name] = items
        return dict(sorted(chosen.items()))

    @cached_property
    def pictures(self) -> list[np.ndarray]:
        """Pictures to run a transformation on: the suite's a, none of which is a b."""
        by_source: dict[str, np.ndarray] = {}
        for split in self.suite.scored_splits:
            for item in self.suite.quadruplets(split):
                by_source.setdefault(item.record.a_source or item.key, np.asarray(item.a))
        order = sorted(by_source, key=_order)
        return [by_source[name] for name in order[: self.settings.examples]]

    def examples(self, name: str) -> Examples | None:
        """Pictures before and after a transformation, of the size of its first item's panels.

        Without a library that runs it they are the pairs of its own items; None where these are too
        few.
        """
        first = self.items[name][0]
        size = working_size(self.config).panel(first.a, first.b)
        info = self.suite.manifest.transformations[name]
        if self.suite.manifest.transformation_library and info.deterministic:
            library = self.suite.library()
            before = [cut(image, size) for image in self.pictures]
            after = [library.apply(info.spec, image) for image in before]
        else:
            pairs = {item.record.a_source or item.key: item for item in self.items[name]}
            if len(pairs) < LEAST_PAIRS:
                return None
            before = [np.asarray(item.a) for item in pairs.values()]
            after = [np.asarray(item.a_prime) for item in pairs.values()]
        return Examples(self._tensor(before, size), self._tensor(after, size))

    def _tensor(self, images: Sequence[np.ndarray | Image.Image], size: tuple[int, int]) -> Tensor:
        pictures = [to_image(np.asarray(image)) for image in images]
        return working_size(self.config).tensor(pictures, size, best_device())

    def scores(self, name: str) -> dict[str, list[float]] | None:
        """Each bound's edit_recovery on each item of a transformation; None without examples."""
        examples = self.examples(name)
        if examples is None:
            return None
        items = self.items[name]
        starts: list[Adaptation] = []

        def by_router(
            pairs: Pairs, b: Tensor, words: Sequence[str], seeds: Sequence[int]
        ) -> Tensor:
            starts.append(routed(self.adapter, pairs, b))
            return self._draw(starts[-1], self.config, pairs, b, [""], seeds)

        def by_words(pairs: Pairs, b: Tensor, words: Sequence[str], seeds: Sequence[int]) -> Tensor:
            bare = Adaptation.none(self.adapter, len(b))
            return self._draw(bare, self._alone, pairs, b, words, seeds)

        scores = {"router": self._scored(items, by_router)}
        if all(item.record.instruction for item in items):
            scores["prompt"] = self._scored(items, by_words)
        for bound, search in self._searches(starts, examples).items():
            key = _key(name, search.bare)
            kept = self._kept(key, len(items)) if search.bare else None
            scores[bound] = kept or self._reached(search, items, len(examples))
            if search.bare and not kept:
                write_arrays(self.bare_folder, key, scores=np.array(scores[bound]))
        return scores

    def _reached(self, search: Search, items: Sequence[Quadruplet], examples: int) -> list[float]:
        """What the best point of a search's space makes of the items."""
        config = self._alone if search.bare else self.config
        limits = Bound(self.settings.steps, self.settings.batch, self.settings.seed)
        reached = reach(self.adapter, config, limits, search.space, search.make, examples)

        def by_search(
            pairs: Pairs, b: Tensor, words: Sequence[str], seeds: Sequence[int]
        ) -> Tensor:
            return self._draw(reached.repeated(len(b)), config, pairs, b, [""], seeds)

        return self._scored(items, by_search)

    def _scored(self, items: Sequence[Quadruplet], predict: Predictor) -> list[float]:
        """The edit_recovery of what a predictor makes of each item, at the item's own size."""
        base = self.adapter.base
        sizes, steps = working_size(self.config), base.sampling_steps
        method = Method("bound", predict, sizes, best_device(), steps, {})
        triplets = []
        for place, item in enumerate(items):
            triplets.append(item.triplet(item.record.instruction, self.settings.seed + place))
        most = BATCH_OF_FULL_SIZE if base.full_size else len(items)
        answers: list[Image.Image] = []
        for first in range(0, len(items), most):
            answers += method.predict(triplets[first : first + most])
        scores = []
        for answer, item in zip(answers, items, strict=True):
            pictures = (np.asarray(picture) for picture in (answer, item.b, item.b_prime))
            scores.append(edit_recovery(*pictures))
        return scores

    @cached_property
    def _alone(self) -> TrainConfig:
        """The config of the base by itself, which edits b without a pair."""
        return self.config.model_copy(update={"layout": "edit", "working_size": "panel"})

    def _draw(
        self,
        adaptation: Adaptation,
        config: TrainConfig,
        pairs: Pairs,
        b: Tensor,
        words: Sequence[str],
        seeds: Sequence[int],
    ) -> Tensor:
        panels = adaptation.shown(pairs[0], b)
        return draw_answers(self.adapter, config, adaptation, panels, words, seeds)

    def _kept(self, key: str, items: int) -> list[float] | None:
        """A bound of the bare base from the cache, or None where it is not there whole."""
        arrays = read_arrays(self.bare_folder, key)
        if arrays is None or arrays.keys() != {"scores"} or arrays["scores"].shape != (items,):
            return None
        return [float(score) for score in arrays["scores"]]

    @cached_property
    def bare_folder(self) -> Path | None:
        """Where the bare base's bounds are kept for other checkpoints on it; None for nowhere.

        They follow from the suite, the base and the settings.
        """
        root = cache_folder()
        if root is None:
            return None
        manifest, config, base = self.suite.manifest, self.config, self.adapter.base
        settings = {**vars(self.settings), "transformations": None}
        decided_by = [
            BARE_BOUNDS,
            [self.suite.fingerprint, manifest.targets_fingerprint],
            library_digest(manifest.transformation_library or ""),
            [model_digests(config)["base_sha256"], frozen_encoder_digests(config)["eyes_sha256"]],
            [base.sampling_steps, base.guidance, dict(base.scheduler.config)],
            [config.panel, config.working_size, config.adapter.targets],
            [config.training.guidance, config.training.times.model_dump()],
            [settings, best_device().type, str(base.transformer.dtype)],
            versions(("torch", "diffusers")),
        ]
        digest = hashlib.sha256(canonical_json(decided_by).encode()).hexdigest()
        folder = root / "oracle" / digest[:24]
        make_room(folder)
        return folder

    def _searches(self, starts: Sequence[Adaptation], examples: Examples) -> dict[str, Search]:
        """What is searched, by bound, from the mean of what the router says on."""
        adapter, settings = self.adapter, self.config.adapter
        tasks, alone = analogies(adapter, self.config, examples), edits(adapter, examples)
        bare = Adaptation.none(adapter, 1)
        gates, tokens = mean_of([s.gates for s in starts]), mean_of([s.tokens for s in starts])
        searches: dict[str, Search] = {}
        if gates is not None:
            searches["hull"] = Search(hull_of(self.config, gates, tokens), tasks)
            searches["span"] = Search(Span(gates, tokens), tasks)
        if tokens is not None:
            searches["tokens"] = Search(Tokens(tokens, gates=gates), tasks)
        else:
            name = f"{FREE_TOKENS} tokens"
            searches["tokens"] = Search(self._free_tokens(bare), alone, name)
        ranks = {"lora_element": settings.rank, "lora": settings.elements * settings.rank}
        for bound, rank in ranks.items():
            if bound == "lora" or settings.elements > 1:
                space = fresh_lora(adapter, rank, 1, bare, self.settings.seed)
                searches[bound] = Search(space, alone, f"lora of rank {rank}")
        return searches

    def _free_tokens(self, bare: Adaptation) -> Tokens:
        """Tokens on the bare base, which begin like those of the empty prompt."""
        with torch.no_grad():
            tokens, _ = self.adapter.base.text_encoder([""])
        start = tokens[:, :1].repeat(1, FREE_TOKENS, 1).float()
        return Tokens(start, gates=bare.gates)


def cut(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of an image, as large as it can be in the aspect of `size` (width, height)."""
    height, width = image.shape[:2]
    scale = min(width / size[0], height / size[1])
    columns, rows = round(size[0] * scale), round(size[1] * scale)
    left, top = (width - columns) // 2, (height - rows) // 2
    return image[top : top + rows, left : left + columns]


def mean_of(values: Sequence[Tensor | None]) -> Tensor | None:
    """The mean over the items of all batches, as a batch of one; None where there is nothing."""
    found = [value for value in values if value is not None]
    return torch.cat(found).mean(0, keepdim=True) if found else None


def _key(name: str, bare: str) -> str:
    """The key of one bound of a transformation in the cache."""
    return hashlib.sha256(canonical_json([name, bare]).encode()).hexdigest()[:24]


def _order(name: str) -> bytes:
    """A fixed order that says nothing."""
    return hashlib.sha256(name.encode()).digest()


def open_oracle(checkpoint: Path, suite_path: Path, settings: Settings) -> Oracle:
    """Open a checkpoint and a suite for an oracle.

    Raises:
        InputError: the suite is a public view, or names no library and has no task with pairs to
            learn from; or the checkpoint is none.
    """
    suite = open_suite(suite_path)
    if suite.public:
        raise InputError(
            f"{suite_path} is a public view, which names no transformations and has no answers; "
            "name the full view"
        )
    if not suite.has_answers:
        raise InputError(
            f"{suite_path} has no answers to hold a bound against (`answers: false` in its "
            "dataset.json); name a suite that has them"
        )
    folder = checkpoint_folder(checkpoint)
    read_config(folder)
    if suite.manifest.transformation_library is None:
        items: dict[str, int] = {}
        for split in suite.scored_splits:
            for record in suite.records(split):
                items[record.transformation] = items.get(record.transformation, 0) + 1
        if max(items.values(), default=0) < LEAST_PAIRS:
            raise InputError(
                f"{suite_path} names no library that runs its transformations, and no task has "
                f"{LEAST_PAIRS} pairs to learn from; build a suite of more pairs a task"
            )
    else:
        suite.library()
    adapter, config = load_checkpoint(folder)
    return Oracle(adapter.to(best_device()), config, suite, settings)
