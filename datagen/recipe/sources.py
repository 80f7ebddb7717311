"""The section `source` of a recipe: where the images come from, and who plays which role."""

import itertools
import json
from collections import Counter
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

ROLES = ("train", "dev", "calibration", "a", "b")
PAIR_KINDS = ("pairs", "quadruplets", "relation252k", "hub", "editor", "lorweb-evalset")
KINDS = ("photographs", "scenes", *PAIR_KINDS)
ANSWERLESS_KINDS = ("lorweb-evalset",)  # sets that nobody has the answers to
DEFAULT_SHARES = {"train": 0.55, "dev": 0.08, "calibration": 0.08, "a": 0.13, "b": 0.16}

Role = Literal["train", "dev", "calibration", "a", "b"]


class Section(BaseModel):
    """A part of a recipe: keys that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where a number is meant: they would be taken for 1 and 0."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        values = [value]
        if isinstance(value, dict) and get_origin(annotation) is dict:
            values = [] if annotation == dict[str, Any] else list(value.values())
        if bool not in (annotation, *get_args(annotation)) and any(
            isinstance(value, bool) for value in values
        ):
            raise ValueError("yes, no, true and false are no number, and text only in quotes")
        return value


class ColumnsSection(Section):
    """Which column of a hub dataset holds what.

    A dot leads into a column: into a mapping, into text that is JSON, or by a number into a list.
    `json.instruction` and `images.0` are such names.
    """

    before: str = Field(default="before", description="The column of the images before the edit.")
    after: str = Field(default="after", description="The column of the images after the edit.")
    instruction: str | None = Field(
        default="instruction", description="The column of the edit in words."
    )
    task: str | None = Field(
        default=None,
        description="The column that groups pairs into tasks; the instruction groups them without "
        "it.",
    )
    photograph: str | None = Field(
        default=None,
        description="The column that names the photograph behind `before`; without it equal pixels "
        "are one photograph.",
    )
    licence: str | None = Field(default=None, description="The column of each row's licence.")
    attribution: str | None = Field(
        default=None, description="The column of each row's attribution."
    )


class HubSection(Section):
    """An instruction-editing dataset on the hub, or in parquet files, read as a stream."""

    config: str | None = Field(
        default=None, description="The dataset's configuration, where it has several."
    )
    split: str = Field(default="train", description="The split that is read.")
    revision: str | None = Field(
        default=None,
        description="The commit to read, so that the recipe gives the same dataset later.",
    )
    rows: int | None = Field(
        default=20_000,
        ge=1,
        description="At most so many rows are read, from the first one on; null: all.",
    )
    task: str | None = Field(
        default=None,
        min_length=1,
        description="The one task of all rows, for a dataset that names none.",
    )
    pairs_per_task: int = Field(
        default=2, ge=2, description="Tasks with fewer pairs than this are left out."
    )
    columns: ColumnsSection = Field(
        default=ColumnsSection(), description="Which column holds what."
    )


class EditorTask(Section):
    """One edit: an instruction, or a LoRA and the words that it listens to."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        description="The task's name; with several categories theirs are appended.",
    )
    instruction: str = Field(min_length=1, description="The words that the editor is given.")
    categories: tuple[str, ...] = Field(
        default=(),
        description="Subfolders of the photographs: each makes a task of its own. None: all "
        "photographs, one task.",
    )
    lora: str | None = Field(
        default=None,
        description="A LoRA for the pipeline: a folder or file, or a repository on the hub.",
    )
    weight_name: str | None = Field(
        default=None, description="The LoRA's file, where its repository has several."
    )
    lora_revision: str | None = Field(default=None, description="The LoRA's commit on the hub.")
    lora_scale: float = Field(default=1.0, description="The strength of the LoRA.")


class EditorSection(Section):
    """An image-editing pipeline of diffusers, which makes the pairs."""

    model: str | None = Field(
        default=None,
        description="The pipeline: a folder that diffusers saved, or a repository on the hub.",
    )
    revision: str | None = Field(default=None, description="The pipeline's commit on the hub.")
    tasks: tuple[EditorTask, ...] = Field(default=(), description="The edits.")
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        description="Handed to the pipeline's call as they are: `num_inference_steps`, "
        "`guidance_scale`, …",
    )
    photographs: dict[Role, int] = Field(
        default_factory=lambda: {"train": 8, "dev": 2, "a": 3, "b": 6},  # type: ignore[arg-type]
        description="How many photographs of each role a task edits.",
    )
    long_edge: int = Field(
        default=1024,
        ge=16,
        le=4096,
        description="Pixels: the long edge at which photographs are edited.",
    )
    batch: int = Field(
        default=1, ge=1, le=64, description="How many photographs of one size are edited at once."
    )
    offload: bool = Field(
        default=False,
        description="Whether the pipeline's parts wait in main memory and come to the GPU in turn, "
        "for a GPU that cannot hold them all.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="The weights' type: `auto` is bfloat16 on a GPU and float32 elsewhere.",
    )

    @field_validator("arguments")
    @classmethod
    def _plain_arguments(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(arguments, allow_nan=False)
        except (TypeError, ValueError) as e:
            raise ValueError(
                f"numbers, text, lists and mappings of them alone are handed on ({e})"
            ) from None
        return arguments

    @model_validator(mode="after")
    def _tasks_once(self) -> Self:
        names = [task.name for task in self.tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"`tasks` has two called {twice[0]}")
        return self


class SourceSection(Section):
    """Where the images come from, and which of them play which role. No source plays two roles."""

    kind: Literal[
        "photographs",
        "scenes",
        "pairs",
        "quadruplets",
        "relation252k",
        "hub",
        "editor",
        "lorweb-evalset",
    ] = Field(
        description="What lies at `path`: photographs to be transformed, procedural scenes alone, "
        "analogies that somebody else edited, "
        "photographs for an image editor, or the evaluation set of LoRWeB's authors, which has no "
        "b_prime."
    )
    path: str | None = Field(
        default=None,
        description="A folder, or a glob, or of photographs `bundled` (those that come with the "
        "package); of `pairs` and `quadruplets` also a .jsonl file; of `hub` a dataset's name "
        "there, a folder or parquet files. Not for `scenes`.",
    )
    scenes: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="How many procedural scenes are sources besides the photographs.",
    )
    photograph_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="The share of the items whose a, and of those whose b, is a photograph where "
        "there are scenes too.",
    )
    shares: dict[Role, float] = Field(
        default_factory=lambda: dict(DEFAULT_SHARES),  # type: ignore[arg-type]
        description="The share of the sources that each role gets: train and dev for training "
        "data; a and b for a suite; calibration "
        "for deciding what is visible, distinct and hard. Of pairs all are train unless this says "
        "otherwise.",
    )
    assign: dict[Role, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Photographs by name for each role, instead of by share; those that stand "
        "nowhere are not used. "
        "`--set source.path=…` sets this aside, unless `sha256` says that the files are the same.",
    )
    sha256: dict[str, str] | None = Field(
        default=None,
        description="Relative file name to sha256: exactly these photographs are used, wherever "
        "they lie, so that two labs build one "
        "suite. `lorweb-bench datagen pin` writes it.",
    )
    on_bad: Literal["skip", "fail"] = Field(
        default="skip",
        description="What an unreadable image does: it is left out, or the build stops.",
    )
    recheck: bool = Field(
        default=False,
        exclude=True,
        description="Whether every file is decoded again. Without it, what an earlier build found "
        "out about a file is kept in the cache, until its size or one of its times changes.",
    )
    licence: str = Field(
        default="unknown",
        min_length=1,
        description="The licence that is recorded for images that carry none of their own.",
    )
    attribution: str = Field(
        default="",
        description="The attribution that is recorded for images that carry none of their own.",
    )
    credits: str | None = Field(
        default=None,
        description="Of photographs: a CSV file with the columns `file`, `licence`, `attribution`, "
        "the file's name relative to `path`.",
    )
    directions: Literal["forward", "both"] = Field(
        default="forward",
        description="Of pairs: whether an edit is also used backwards, as a task of its own.",
    )
    other_shape: Literal["crop", "pad", "leave_out", "stretch"] = Field(
        default="crop",
        description="Of pairs, what becomes of an after of another shape than its before: both are "
        "cropped to what they have in common (or left out where none is found), the after is "
        "padded, the pair is left out, or the after is stretched.",
    )
    keep: str | None = Field(
        default=None,
        description="Of `hub` and `editor`: the folder where the images that were read or edited "
        "are kept, and work goes on from. "
        "Without it they are in the cache.",
    )
    hub: HubSection = Field(default=HubSection(), description="Of `hub`: what is read.")
    editor: EditorSection = Field(
        default=EditorSection(), description="Of `editor`: what edits, and how."
    )

    @field_validator("licence", "attribution")
    @classmethod
    def _one_line(cls, text: str) -> str:
        return " ".join(text.split())

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.kind == "scenes":
            if self.path is not None or not self.scenes:
                raise ValueError("the kind scenes needs `scenes`, a number of them, and no `path`")
        elif self.path is None:
            what = {
                "photographs": "a folder or bundled",
                "hub": "a dataset's name on the hub or parquet files",
            }.get(self.kind, "a folder")
            raise ValueError(f"the kind {self.kind} needs `path`, {what}")
        self._refuse_unheeded()
        if self.kind == "editor" and not (self.editor.model and self.editor.tasks):
            raise ValueError("the kind editor needs `editor.model`, a pipeline, and `editor.tasks`")
        if not self.shares or min(self.shares.values()) < 0 or sum(self.shares.values()) <= 0:
            raise ValueError("`shares` are numbers of 0 or more, not all 0")
        names = Counter(itertools.chain.from_iterable(self.assign.values()))
        if twice := sorted(name for name, count in names.items() if count > 1):
            raise ValueError(f"`assign` gives {', '.join(twice)} two roles")
        return self

    def _refuse_unheeded(self) -> None:
        """Raise ValueError for keys that this kind of source would ignore silently."""
        edited = self.kind in PAIR_KINDS
        files = self.kind in ("photographs", "editor") and self.path != "bundled"
        unheeded = {
            "scenes": (edited and self.scenes, "photographs"),
            "assign": (edited and self.assign, "photographs"),
            "sha256": (not files and self.sha256 is not None, "photographs in a folder"),
            "credits": (not files and self.credits is not None, "photographs in a folder"),
            "directions": (not edited and self.directions != "forward", "pairs"),
            "other_shape": (not edited and self.other_shape != "crop", "pairs"),
        }
        source_words = f"the kind {self.kind}"
        if self.path == "bundled" and not edited:
            source_words = "the bundled ones"
        for key, (wrong, what) in unheeded.items():
            if wrong:
                raise ValueError(f"`{key}` is for {what}, not for {source_words}")
