"""The card of a submission: what its authors declare about the method, by schema."""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from lorweb_bench.protocol import MAX_EXEMPLARS
from lorweb_bench.runtime.settings import checked, read_settings

CARD_BYTES = 256 * 1024
JOINERS = "\u200c\u200d"  # part of how some scripts are spelt
SCORE_WORDS = (
    "score",
    "scores",
    "metric",
    "metrics",
    "result",
    "results",
    "report",
    "rank",
    "edit_recovery",
)


def _one_line(text: str) -> str:
    """Refuse what is invisible.

    Control characters, and the marks that turn the direction of text or have no width.
    """
    for character in text:
        if (
            unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
            and character not in JOINERS
        ):
            raise ValueError(f"it holds the invisible character U+{ord(character):04X}")
    return text


def _paragraphs(text: str) -> str:
    for line in text.splitlines():
        _one_line(line)
    return text


def _web_address(text: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d+)?(/[^\s\"'<>\\]*)?", text):
        raise ValueError("it is not an http or https address")
    return _one_line(text)


Text = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_one_line)]
Prose = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_paragraphs)]
Address = Annotated[str, Field(max_length=500), AfterValidator(_web_address)]
# ASCII alone, so that no name looks like another one's.
Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+:/()-]{0,79}$",
        description="up to 80 letters a-z, digits, spaces and . _ + : / ( ) -",
    ),
]
Count = Annotated[int, Field(ge=0, lt=10**14)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


def claimed_result(content: Mapping[str, Any]) -> str | None:
    """Why a mapping with a claimed score is refused, or None where it claims none."""
    for field in content:
        if str(field).lower() in SCORE_WORDS:
            return (
                f"{str(field)!r} is a claimed result, and no result is taken from a submission: "
                "the board computes them from the images"
            )
    return None


class Part(BaseModel):
    """A part of a card: no unknown field, no silent conversion, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _claims_no_result(cls, content: Any) -> Any:
        """Refuse a claimed score with its reason: to call it an unknown field would not help."""
        if isinstance(content, dict) and (claim := claimed_result(content)):
            raise ValueError(claim)
        return content


class Author(Part):
    """Who made the method."""

    name: Text
    affiliation: Text | None = None


class Links(Part):
    """Where to read on."""

    paper: Address | None = None
    code: Address | None = None
    weights: Address | None = None
    page: Address | None = None


class Parameters(Part):
    """Counts of weights: those adapted, and all that run."""

    trainable: Count
    total: Count


class TrainingData(Part):
    """A dataset that the method was adapted on.

    The fingerprint is the one in its `dataset.json`, where it has one.
    """

    name: Text
    fingerprint: (
        Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="64 digits in 0-9 and a-f")]
        | None
    ) = None
    link: Address | None = None


class Card(Part):
    """What is declared about a method.

    `version` may be left out; packing then takes it from the predictions.
    """

    method: Name
    version: Text | None = None
    authors: Annotated[list[Author], Field(min_length=1, max_length=200)]
    links: Links = Links()
    base_model: Text
    parameters: Parameters
    hardware: Text
    track: Literal["closed", "open"]
    training_data: Annotated[list[TrainingData], Field(max_length=100)]
    prompt_mode: Literal["none", "task", "instruction"]
    exemplars: Annotated[int, Field(ge=1, le=MAX_EXEMPLARS)] = 1
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=100)]
    licence: Text
    description: Prose


def read_card(path: Path | str) -> Card:
    """Read and check a card in YAML (or JSON).

    InputError names the file, the line, the field and the nearest known one.
    """
    hint = "--card names the card of the method, as docs/example-card.yaml"
    return read_settings(Path(path), Card, what="card", limit=CARD_BYTES, hint=hint)


def is_line(text: str) -> bool:
    """Whether a text may stand in a card as one line: 1 to 300 letters, none of them invisible."""
    try:
        TypeAdapter(Text).validate_python(text)
    except ValidationError:
        return False
    return True


def check_card(content: Any, name: str) -> Card:
    """Check a card that is already parsed.

    InputError names `name`, the field and the nearest known one.
    """
    return checked(Card, content, name, "card")
