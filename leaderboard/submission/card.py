"""The card of a submission: what its authors declare about the method, by schema."""

import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.plugins import did_you_mean

Model = TypeVar("Model", bound=BaseModel)

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
    """Refuse what is invisible: control characters, and the marks that turn the direction of text or have no width."""
    for character in text:
        if (
            unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
            and character not in JOINERS
        ):
            raise ValueError(f"holds the invisible character U+{ord(character):04X}")
    return text


def _paragraphs(text: str) -> str:
    for line in text.splitlines():
        _one_line(line)
    return text


def _web_address(text: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d+)?(/[^\s\"'<>\\]*)?", text):
        raise ValueError("is not an http or https address")
    return _one_line(text)


Text = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_one_line)]
Prose = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_paragraphs)]
Address = Annotated[str, Field(max_length=500), AfterValidator(_web_address)]
# ASCII alone, so that no name looks like another one's.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+:/()-]{0,79}$")]
Count = Annotated[int, Field(ge=0, lt=10**14)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class Part(BaseModel):
    """A part of a card: no unknown field, no silent conversion, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


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
    """A dataset that the method was adapted on. The fingerprint is the one in its `dataset.json`, where it has one."""

    name: Text
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    link: Address | None = None


class Card(Part):
    """What is declared about a method. `version` may be left out; packing then takes it from the predictions."""

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
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=100)]
    licence: Text
    description: Prose


def read_card(path: Path | str) -> Card:
    """Read and check a card in YAML (or JSON); InputError names the file, the field and the nearest known one."""
    import yaml

    path = Path(path)
    try:
        with path.open("rb") as f:
            data = f.read(CARD_BYTES + 1)
    except OSError as e:
        raise InputError(
            f"{path} cannot be read ({e.strerror}); --card names the card of the method, as docs/example-card.yaml."
        ) from None
    if len(data) > CARD_BYTES:
        raise InputError(f"{path} is larger than {CARD_BYTES} bytes; a card is a short text.")
    try:
        content = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise InputError(
            f"{path} is not readable YAML ({' '.join(str(e).split())[:200]})."
        ) from None
    return check_card(content, str(path))


def is_line(text: str) -> bool:
    """Whether a text may stand in a card as one line: 1 to 300 letters, none of them invisible."""
    try:
        TypeAdapter(Text).validate_python(text)
    except ValidationError:
        return False
    return True


def check_card(content: Any, name: str) -> Card:
    """Check a card that is already parsed; InputError names `name`, the field and the nearest known one."""
    return validate(Card, content, name)


def validate(model: type[Model], content: Any, name: str) -> Model:
    """`model.model_validate` with an error for people: one sentence with the first field that is wrong, and how many more are."""
    if not isinstance(content, dict):
        raise InputError(f"{name} is not a mapping of fields to values.")
    try:
        return model.model_validate(content)
    except (ValidationError, RecursionError) as e:
        if isinstance(e, RecursionError):
            raise InputError(f"{name} is nested too deeply.") from None
        errors = e.errors(include_url=False, include_context=True)
        unknown = [error for error in errors if error["type"] == "extra_forbidden"]
        first = (unknown or errors)[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise InputError(f"{name}: {_sentence(model, first)}{more}.") from None


def _sentence(model: type[BaseModel], error: Any) -> str:
    field = ".".join(str(part) for part in error["loc"])[:120]
    shown = ascii(field)
    if error["type"] == "extra_forbidden":
        last = str(error["loc"][-1])[:60]
        if last.lower() in SCORE_WORDS:
            return f"{shown} is a claimed result, and no result is taken from a submission: the board computes them from the images"
        return f"{shown} is not a field; {_nearest(last, _fields(model, error['loc'][:-1]))}"
    if error["type"] == "missing":
        return f"the field {shown} is missing"
    if error["type"] == "literal_error":
        known = [w.strip(" '") for w in re.split(r", | or ", error["ctx"]["expected"])]
        return (
            f"{shown} is {ascii(error['input'])[:60]}; {_nearest(str(error['input'])[:60], known)}"
        )
    said = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{shown} {said}"
    return f"{shown} is {ascii(error['input'])[:60]}: {said[:1].lower()}{said[1:]}"


def _nearest(word: str, known: list[str]) -> str:
    return did_you_mean(word, known, f"known: {', '.join(known)}")


def _fields(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """The fields of the model that `loc` leads to."""
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            inner = [
                a
                for a in _flat(model.model_fields[part].annotation)
                if isinstance(a, type) and issubclass(a, BaseModel)
            ]
            if not inner:
                return []
            model = inner[0]
    return list(model.model_fields)


def _flat(annotation: Any) -> list[Any]:
    return [annotation, *(x for a in get_args(annotation) for x in _flat(a))]
