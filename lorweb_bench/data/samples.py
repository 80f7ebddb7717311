"""The words of the field as types: what a method is shown, the full item, and the item's labels."""

from dataclasses import dataclass
from typing import Annotated

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """The labels of one sample, `<key>.json`.

    A public view has only `id`, `width`, `height` and, where allowed, `prompt`; the other fields
    are empty there. `width` and `height` are those of all four panels, in pixels. Only suites have
    `hard` and `candidates`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    transformation: str = ""
    family: str = ""
    kind: str = ""
    tier: str | None = None
    instruction: str = ""
    a_source: str = ""
    b_source: str = ""
    licence: str = ""
    attribution: str = ""
    further_sources: tuple[str, ...] | None = None
    hard: bool | None = None
    candidates: tuple[str, ...] | None = None
    prompt: str | None = None

    @property
    def sources(self) -> set[str]:
        """The photographs and scenes behind all of its panels; unknown ones are the empty name."""
        return {self.a_source, self.b_source, *(self.further_sources or ())}


Pair = tuple[Image.Image, Image.Image]  # a picture before and after the transformation


@dataclass(frozen=True)
class Triplet:
    """What a method is shown: three RGB images of one size.

    Attributes:
        key: The item's key.
        a: The image before the edit.
        a_prime: The image after the edit.
        b: The image to edit in the same way.
        prompt: Text about the edit, where the prompt mode gives one.
        seed: What the method's random choices for this item are drawn from.
        further_pairs: Up to seven more exemplars of the same edit.
    """

    key: str
    a: Image.Image
    a_prime: Image.Image
    b: Image.Image
    prompt: str | None = None
    seed: int = 0
    further_pairs: tuple[Pair, ...] = ()

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All exemplars, the first being (a, a_prime)."""
        return ((self.a, self.a_prime), *self.further_pairs)


@dataclass(frozen=True)
class Quadruplet:
    """A triplet with its answer and its labels.

    `b_prime` is None in a public view. `further_pairs` are the exemplars after (a, a_prime).
    """

    key: str
    a: Image.Image
    a_prime: Image.Image
    b: Image.Image
    b_prime: Image.Image | None
    record: Record
    further_pairs: tuple[Pair, ...] = ()

    def triplet(self, prompt: str | None = None, seed: int = 0, exemplars: int = 1) -> Triplet:
        """The part of it that a method may see, with at most so many exemplars."""
        further = self.further_pairs[: exemplars - 1]
        return Triplet(self.key, self.a, self.a_prime, self.b, prompt, seed, further)
