"""What the judge is asked, and reading its answer.

A change of a word here is a new `VERSION`: answers are not the same.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

from lorweb_bench.data.images import encode, resize
from lorweb_bench.data.samples import Quadruplet

VERSION = 1
LONG_EDGE = 512  # pixels; larger pictures are brought to it by the fixed kernel
LOWEST, HIGHEST = 1, 10
Protocol = Literal["rating", "choice"]

ROLE = (
    "You judge edits of pictures, strictly and by looking closely. "
    "You answer with one JSON object and nothing else."
)
TASK = (
    "An edit turned picture A into picture A'. The same edit, whatever it is, was to be made to "
    "picture B.\n"
    "First find out what the edit did: compare A with A' and say it in one or two sentences, as "
    "`change`."
)
RATING = (
    "Then look at picture C, somebody's attempt, and give it two whole numbers from 1 to 10.\n"
    "`accuracy`: how fully C shows the same edit, as strong and of the same kind as in A'. 1: the "
    "edit is not there, or another one is; "
    "5: it can be recognised, but is weak, or partly wrong; 10: just the edit. Do not count here "
    "what else C spoils.\n"
    "`consistency`: how well C keeps of B whatever the edit leaves alone: subject, shapes, layout, "
    "details. 1: another picture; "
    "5: B can be recognised, but parts are lost or invented; 10: all of it is kept. Do not count "
    "here whether the edit was made.\n"
    'Answer as {"change": "...", "accuracy": 1-10, "consistency": 1-10}.'
)
CHOICE = (
    "Then look at two attempts, pictures C1 and C2. The better one shows the same edit more fully, "
    "and keeps of B whatever the edit leaves "
    "alone; an attempt that merely hands B back, or that copies A', is a bad one. You have to "
    "decide for one of them.\n"
    'Answer as {"change": "...", "better": 1 or 2}, where 1 is C1 and 2 is C2.'
)
FIELDS: dict[Protocol, dict[str, tuple[int, ...]]] = {
    "rating": {
        "accuracy": tuple(range(LOWEST, HIGHEST + 1)),
        "consistency": tuple(range(LOWEST, HIGHEST + 1)),
    },
    "choice": {"better": (1, 2)},
}


@dataclass(frozen=True)
class QuestionId:
    """Which question of a judgement: the item, whether the two pictures are swapped, and the
    anchor.

    Attributes:
        key: The item's key.
        swapped: Whether the second of two predictions is shown first.
        anchor: What known picture is judged (see `anchors`), or None for a prediction.
    """

    key: str
    swapped: bool = False
    anchor: str | None = None


@dataclass(frozen=True)
class Question:
    """One request: what it is about, the protocol, which says what an answer looks like, and the
    messages.
    """

    about: QuestionId
    protocol: Protocol
    messages: tuple[Mapping[str, Any], ...]

    @property
    def key(self) -> str:
        """The key of the item that is asked about."""
        return self.about.key


def questions_about(
    q: Quadruplet, images: Sequence[Image.Image], anchor: str | None = None
) -> Iterator[Question]:
    """The question about one prediction, or the two about two predictions: each order of them."""
    if len(images) == 1:
        yield rating_question(q, images[0], anchor)
    else:
        first, second = images
        yield choice_question(q, first, second, QuestionId(q.key, False, anchor))
        yield choice_question(q, second, first, QuestionId(q.key, True, anchor))


def rating_question(q: Quadruplet, prediction: Image.Image, anchor: str | None = None) -> Question:
    """Asks for the accuracy and the consistency of a prediction."""
    return _question(q, QuestionId(q.key, False, anchor), "rating", {"C": prediction}, RATING)


def choice_question(
    q: Quadruplet, first: Image.Image, second: Image.Image, about: QuestionId | None = None
) -> Question:
    """Asks which of two predictions is better, shown in this order."""
    about = about or QuestionId(q.key)
    return _question(q, about, "choice", {"C1": first, "C2": second}, CHOICE)


def _question(
    q: Quadruplet,
    about: QuestionId,
    protocol: Protocol,
    attempts: Mapping[str, Image.Image],
    words: str,
) -> Question:
    parts: list[dict[str, Any]] = [_text(TASK)]
    for name, image in {"A": q.a, "A'": q.a_prime, "B": q.b, **attempts}.items():
        parts += [
            _text(f"Picture {name}:"),
            {"type": "image_url", "image_url": {"url": _data_url(image)}},
        ]
    parts.append(_text(words))
    return Question(
        about, protocol, ({"role": "system", "content": ROLE}, {"role": "user", "content": parts})
    )


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def _data_url(image: Image.Image) -> str:
    scale = min(1.0, LONG_EDGE / max(image.size))
    small = resize(image, (max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    return f"data:image/png;base64,{base64.b64encode(encode(small)).decode()}"


def schema(protocol: Protocol) -> dict[str, Any]:
    """The JSON schema of an answer, for servers that keep a model to one."""
    numbers = {
        name: {"type": "integer", "enum": list(allowed)}
        for name, allowed in FIELDS[protocol].items()
    }
    properties = {"change": {"type": "string"}, **numbers}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def parse(answer: str, protocol: Protocol) -> dict[str, int] | None:
    """The numbers of an answer, or None where it holds no JSON object that has them all, each a
    whole number in its range.

    Words, fences or a train of thought around the object are passed over; of several objects the
    last one counts.
    """
    decoder = json.JSONDecoder()
    numbers, start = None, answer.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(answer, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            numbers = _numbers(value, protocol) or numbers
        start = answer.find("{", end)
    return numbers


def change_in(answer: str) -> str:
    """The words in which an answer says what the edit did; empty where there are none."""
    start = answer.rfind('"change"')
    try:
        return (
            str(
                json.JSONDecoder().raw_decode(answer[start + len('"change"') :].lstrip(" :\n\t"))[0]
            )
            if start >= 0
            else ""
        )
    except ValueError:
        return ""


def _numbers(value: Any, protocol: Protocol) -> dict[str, int] | None:
    numbers = {}
    for name, allowed in FIELDS[protocol].items():
        number = value.get(name)
        if isinstance(number, str) and number.strip().isdecimal():
            number = int(number)  # "7", from models that put every value in quotes
        if isinstance(number, bool) or not isinstance(number, int | float) or number not in allowed:
            return None
        numbers[name] = int(number)
    return numbers


def wording_digest() -> str:
    """A digest of all that a judge reads besides pictures; a test holds it to `VERSION`."""
    return hashlib.sha256(
        "\n".join([ROLE, TASK, RATING, CHOICE, json.dumps(FIELDS), str(LONG_EDGE)]).encode()
    ).hexdigest()
