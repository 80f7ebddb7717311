"""Recipes: which analogies are wanted, section by section, and what is refused before a build."""

from typing import Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from datagen.recipe.sources import ANSWERLESS_KINDS, PAIR_KINDS, Section, SourceSection
from lorweb_bench.protocol import MAX_EXEMPLARS, PUBLIC_SPLIT, SPLITS, SUITE_SPLITS

VERSION = r"^\S+( \S+)*$"


class PanelSection(Section):
    """Size and file format of every image."""

    square: int | None = Field(
        default=None, ge=16, le=4096, description="Pixels: seeded square crops of this size."
    )
    long_edge: int | None = Field(
        default=None,
        ge=16,
        le=4096,
        description="Pixels: whole images, the long edge at most this.",
    )
    format: Literal["png", "jpg", "webp"] = Field(
        default="png",
        description="File format; suites with exact answers are lossless (png or webp).",
    )

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if (self.square is None) == (self.long_edge is None):
            raise ValueError("give either `square` or `long_edge`")
        return self


class CompositionsSection(Section):
    """Compositions of two or three trained transformations, one after the other."""

    count: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="How many compositions of two steps are trained on.",
    )
    of_three: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="How many compositions of three steps are trained on besides; each looks "
        "different without any one of its steps.",
    )


class TransformationsSection(Section):
    """What is done to the images."""

    library: str = Field(
        default="datagen",
        min_length=1,
        description="The transformation library: the name of an installed entry point, or a Python "
        "file with families of your own, which "
        "join the built-in ones.",
    )
    families: Literal["all"] | tuple[str, ...] = Field(
        default="all", description="The families to train on, less those held out by `tiers`."
    )
    presets: dict[str, tuple[dict[str, Any], ...]] = Field(
        default_factory=dict,
        description="By family: the parameter values to train on, instead of the library's own "
        "presets.",
    )
    lengths: Literal["shares", "pixels"] = Field(
        default="shares",
        description="How instructions tell lengths that grow with the panel: in `shares` of the "
        "short side, which is what is seen at every size, or in `pixels` at a short side of 64, as "
        "before 2026-11-25.",
    )
    compositions: CompositionsSection = Field(
        default=CompositionsSection(), description="Which compositions are trained on."
    )
    single_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="The share of the training items that are single transformations.",
    )


class NewCompositionSection(Section):
    """Pairs of trained families that are never trained together, in either order."""

    family_pairs: int = Field(
        default=0,
        ge=0,
        description="How many unordered pairs of families are held out, chosen by the seed.",
    )
    of_three: int = Field(
        default=0,
        ge=0,
        description="Of a suite: how many compositions of three steps the tier has to choose from "
        "besides; every two of their families "
        "are a held-out pair.",
    )


class TiersSection(Section):
    """What is held out of training, and so how new a suite's transformations are."""

    relative_to: str | None = Field(
        default=None,
        description="Of a suite: the folder of the training dataset that its tiers are relative "
        "to.",
    )
    base: str | None = Field(
        default=None,
        description="The declared base: a frozen base by name (`tiny`), or a folder that "
        "`lorweb-bench pretrain-tiny` wrote. The manifest then says of each transformation whether "
        "this base knows it.",
    )
    new_family: tuple[str, ...] = Field(
        default=(), description="Families that are never trained on."
    )
    new_to_base: tuple[str, ...] = Field(
        default=(),
        description="Families that are never trained on and that the declared base does not know "
        "either: a tier and a group of its own, in the split `unseen` and never averaged into it.",
    )
    new_parameters: dict[str, tuple[dict[str, Any], ...]] = Field(
        default_factory=dict,
        description="By trained family: parameter values that are never trained on.",
    )
    new_composition: NewCompositionSection = Field(
        default=NewCompositionSection(),
        description="Pairs of families that are never trained together.",
    )
    new_task: tuple[str, ...] | int | Literal["all"] = Field(
        default=(),
        description="Of pairs, Relation252K, hub and editor: tasks that are never trained on. A "
        "list of names (upper case, spaces, "
        "signs and a number before the name do not matter), a number of tasks that the seed "
        "chooses, or all.",
    )
    transformations: int = Field(
        default=30,
        ge=1,
        description="Of a suite: at most so many transformations stand for a tier.",
    )
    minimum_distance: float = Field(
        default=8.0,
        ge=0,
        le=255,
        description="Levels (0-255): the RMSE on calibration images that a held-out parameter "
        "keeps from trained ones.",
    )
    indistinct: float = Field(
        default=2.0,
        ge=0,
        le=255,
        description="Levels: two transformations nearer than this on calibration images are one; "
        "the later is dropped.",
    )

    @property
    def held_out_families(self) -> tuple[str, ...]:
        """The families that nothing is trained with."""
        return (*self.new_family, *self.new_to_base)

    @model_validator(mode="after")
    def _new_to_declared_base(self) -> Self:
        if self.new_to_base and self.base is None:
            raise ValueError(
                f"`new_to_base` says that the declared base does not know {self.new_to_base[0]!r}, "
                "and `base` declares none; name one there, such as tiny"
            )
        if both := [name for name in self.new_to_base if name in self.new_family]:
            raise ValueError(
                f"the family {both[0]!r} is in `new_family` and in `new_to_base`; keep it in one"
            )
        return self

    @model_serializer(mode="wrap")
    def _base_where_declared(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = write(self)
        if self.base is None:
            content.pop("base", None)
            content.pop("new_to_base", None)
        return content


class ClipDirectionSection(Section):
    """The cosine of E(a_prime) - E(a) and E(b_prime) - E(b), with an image encoder E of open_clip.

    Without `model` there is no such filter.
    """

    model: str | None = Field(
        default=None,
        description="The encoder and its weights, `MODEL/TAG` of open_clip such as "
        "`ViT-L-14/openai`, or `MODEL/FILE.safetensors`. A file says in its metadata how images "
        "are prepared for it: `mean` and `std`, three numbers each, and `activation`, which is "
        "`gelu` or `quick_gelu`; or its `open_clip_config.json` lies beside it. The "
        "manifest records the encoder, and `score` refuses metrics with the same one.",
    )
    minimum: float = Field(
        default=0.1, ge=-1, le=1, description="Items whose two changes agree less are dropped."
    )


class FiltersSection(Section):
    """What an item must be like; what fails is drawn anew, and dropped after `attempts`."""

    minimum_change: float = Field(
        default=8.0,
        ge=0,
        le=255,
        description="Levels (0-255): the least RMSE of a to a_prime and of b to b_prime.",
    )
    maximum_change: float | None = Field(
        default=None,
        gt=0,
        le=255,
        description="Levels: the greatest RMSE of a to a_prime and of b to b_prime.",
    )
    maximum_blank: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="The greatest share of one colour (in steps of 8 levels) in a_prime and in "
        "b_prime: blank results say nothing.",
    )
    attempts: int = Field(
        default=24,
        ge=1,
        le=1000,
        description="How many crops are tried for an item before it is dropped.",
    )
    on_error: Literal["drop", "fail"] = Field(
        default="drop",
        description="What an error in a transformation, a filter or an encoder does: it costs the "
        "item, which is named and counted, or the build stops.",
    )
    minimum_side: int = Field(
        default=1,
        ge=1,
        description="Pixels: photographs and pairs with a shorter side than this are left out.",
    )
    near_duplicates: bool | None = Field(
        default=None,
        description="Whether photographs that look alike (resized, recompressed, mirrored, cut by "
        "a little) are one, of which the largest is used. Of pairs, whether those of a task that "
        "look like an earlier one are left out. By default so for photographs, unless "
        "`source.sha256` pins them, and not for pairs.",
    )
    aspect_tolerance: float | None = Field(
        default=None,
        ge=0,
        description="Of pairs: the greatest difference of the ratios width / height, as a share, "
        "of an a and a b.",
    )
    clip_direction: ClipDirectionSection = Field(
        default=ClipDirectionSection(),
        description="How well the two changes of an item must agree.",
    )

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.maximum_change is not None and self.maximum_change <= self.minimum_change:
            raise ValueError(
                f"`maximum_change` {self.maximum_change:g} lets nothing pass above "
                f"`minimum_change` {self.minimum_change:g}"
            )
        return self


class Recipe(Section):
    """A dataset as it is asked for.

    The same recipe, sources and libraries give the same dataset.
    """

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        description="The dataset's name: lower-case letters, digits and . _ -",
    )
    version: str = Field(
        pattern=VERSION,
        max_length=100,
        description="The dataset's version, one line of text: a change of what is built needs "
        "another one.",
    )
    supersedes: str | None = Field(
        default=None,
        pattern=VERSION,
        description="The version of this dataset that this one takes the place of.",
    )
    extends: str | None = Field(
        default=None,
        exclude=True,
        description="Another recipe that this one changes: a ready one by name, or a file next to "
        "this one. Sections are merged key by key; every other value that stands here, `splits` "
        "and other mappings too, takes the place of the other recipe's. `name` and `supersedes` "
        "are not taken over.",
    )
    seed: int = Field(
        ge=0,
        description="Every random choice follows from it. `secret`, for a private suite: the build "
        "draws one of 192 bits and keeps it in the full view.",
    )
    source: SourceSection = Field(description="The images.")
    panel: PanelSection = Field(description="Size and format of the images.")
    transformations: TransformationsSection = Field(
        default=TransformationsSection(), description="What is done to them."
    )
    splits: dict[str, int | Literal["all"]] = Field(
        description="Items by split: train and dev, or seen and unseen. A suite's split is shared "
        "out evenly over its tiers; the items of `unseen` count those of the tier `new_to_base`. "
        "Of pairs at most so many, or `all` that can be made."
    )
    tiers: TiersSection = Field(
        default=TiersSection(), description="What is held out, and what a suite is relative to."
    )
    analogies_per_pair: int | Literal["all"] = Field(
        default=8,
        description="How many items share one (a, a_prime); `all`, of pairs: every ordered pair of "
        "pairs.",
    )
    exemplars: int = Field(
        default=1,
        ge=1,
        le=MAX_EXEMPLARS,
        description="How many pairs of its transformation an item shows, each of another "
        "photograph.",
    )
    filters: FiltersSection = Field(
        default=FiltersSection(), description="What an item must be like."
    )

    @field_validator("splits")
    @classmethod
    def _splits(cls, splits: dict[str, int | str]) -> dict[str, int | str]:
        settable = [s for s in SPLITS if s != PUBLIC_SPLIT]
        if unknown := sorted(set(splits) - set(settable)):
            raise ValueError(f"{', '.join(unknown)}: the splits are {', '.join(settable)}")
        if not splits or any(isinstance(count, int) and count < 1 for count in splits.values()):
            raise ValueError("each split needs at least one item")
        if set(splits) & set(SUITE_SPLITS) and set(splits) - set(SUITE_SPLITS):
            raise ValueError(
                "training data (train, dev) and a suite (seen, unseen) are two datasets: make two "
                "recipes of them"
            )
        if set(splits) == {"seen"}:
            raise ValueError("a suite needs `unseen`: seen alone tells nothing new of a method")
        return splits

    @model_validator(mode="after")
    def _suite(self) -> Self:
        if self.supersedes == self.version:
            raise ValueError(
                f"version {self.version} cannot supersede itself: a version never changes, so give "
                "the new one another"
            )
        transformed = not self.from_pairs
        if isinstance(self.analogies_per_pair, int) and self.analogies_per_pair < 1:
            raise ValueError("`analogies_per_pair` is 1 or more, or all")
        if self.analogies_per_pair == "all" and transformed:
            raise ValueError("`analogies_per_pair: all` is for pairs; photographs need a number")
        if not transformed:
            self._refuse_transformed()
        if self.tiers.new_task != () and transformed:
            raise ValueError(
                "`tiers.new_task` is for pairs that somebody or something edited; photographs have "
                "families"
            )
        if self.answerless and tuple(self.splits) != (SUITE_SPLITS[-1],):
            raise ValueError(
                f"the kind {self.source.kind} has no b_prime, so it makes a suite alone: give "
                "`splits: {unseen: all}` and `tiers: {new_task: all}`"
            )
        if self.answerless and self.source.directions == "both":
            raise ValueError(
                f"`source.directions: both` needs answers, and the kind {self.source.kind} has none"
            )
        if "all" in self.splits.values() and transformed:
            raise ValueError("`splits` of photographs are numbers; `all` is for pairs")
        if self.is_suite and transformed and self.panel.format == "jpg":
            raise ValueError(
                "a suite with exact answers is lossless: `panel.format` is png or webp"
            )
        return self

    def _refuse_transformed(self) -> None:
        """Raise ValueError for what a recipe of pairs says about transformations in vain."""
        if self.transformations != TransformationsSection():
            raise ValueError(
                f"`transformations` is for photographs and scenes; the kind {self.source.kind} has "
                "edits already"
            )
        if self.tiers.base is not None:
            raise ValueError(
                "`tiers.base` is for photographs and scenes; the kind "
                f"{self.source.kind} has no families that a base could know"
            )
        for key in ("new_family", "new_parameters", "new_composition"):
            if getattr(self.tiers, key) != TiersSection.model_fields[key].get_default(
                call_default_factory=True
            ):
                raise ValueError(
                    f"`tiers.{key}` is for photographs and scenes; of the kind {self.source.kind} "
                    "hold out tasks, tiers.new_task"
                )

    @property
    def answerless(self) -> bool:
        """Whether nobody has the answers: its items have no b_prime."""
        return self.source.kind in ANSWERLESS_KINDS

    @property
    def from_pairs(self) -> bool:
        """Whether its sources are images that somebody else edited."""
        return self.source.kind in PAIR_KINDS

    @property
    def one_of_near_duplicates(self) -> bool:
        """Whether photographs that look alike are one: so unless the recipe says otherwise.

        A recipe that pins its files uses exactly those.
        """
        setting = self.filters.near_duplicates
        return self.source.sha256 is None if setting is None else setting

    @property
    def is_suite(self) -> bool:
        """Whether methods are scored on it: it has seen and unseen."""
        return bool(set(self.splits) & set(SUITE_SPLITS))
