"""What stands behind the buttons of the page: files and settings in, pictures and words out.

Nothing here knows Gradio, and whatever a person can get wrong is an `InputError`.
"""

import shutil
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from lorweb_bench.data.images import decode, resize
from lorweb_bench.errors import InputError
from reference_model.applying.analogy import Analogy, AnalogyModel, Look, Pair
from reference_model.applying.sheet import analogy_row, draw_sheet, even_weights, walk_row
from reference_model.model.composing import compose_file

LONGEST = 2048  # long edge in pixels of the pictures that the page works with
MOST_STEPS = 15  # pictures on a walk
LORA_FILES = 4  # kept for download; older ones are deleted


@dataclass(frozen=True)
class Settings:
    """What the page asks beside the pictures; `fit_steps` is 0 where nothing is fitted."""

    prompt: str = ""
    seed: float | None = 0
    strength: float = 1.0
    fit_steps: int = 0

    @property
    def fit(self) -> dict[str, Any] | None:
        """The settings of the fit; None leaves the mix to the router."""
        return {"steps": self.fit_steps} if self.fit_steps else None


@dataclass(frozen=True)
class Answer:
    """b', the sheet with its pair, what the checkpoint makes of the pair, and notes to read."""

    answer: Image.Image
    sheet: Image.Image
    look: Look
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Walk:
    """The pictures on the way between two analogies, their weights, and the whole strip."""

    frames: tuple[Image.Image, ...]
    weights: tuple[float, ...]
    strip: Image.Image
    notes: tuple[str, ...]

    def frame(self, weight: float) -> Image.Image:
        """The picture whose weight is nearest."""
        nearest = min(range(len(self.weights)), key=lambda i: abs(self.weights[i] - weight))
        return self.frames[nearest]


def read_picture(path: str | None, role: str) -> tuple[Image.Image, str | None]:
    """A picture that somebody gave, at most `LONGEST` pixels long, and a note if it was shrunk.

    Raises:
        InputError: it is missing, no whole image, or too large to be decoded.
    """
    if not path:
        raise InputError(f"{role} is missing: upload a picture, take one, or choose an example")
    file = Path(path)
    try:
        image = decode(file.read_bytes(), f"{role} ({file.name})")
    except OSError as error:
        raise InputError(f"{role} cannot be read ({error.strerror}); give it once more") from error
    scale = LONGEST / max(image.size)
    if scale >= 1:
        return image, None
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    note = f"{role} was shrunk from {image.width} x {image.height} to {size[0]} x {size[1]}"
    return resize(image, size), note


@dataclass
class Desk:
    """A checkpoint and what is done with it on the page."""

    model: AnalogyModel
    _files: deque[Path] = field(default_factory=deque, repr=False)

    def complete(self, paths: Sequence[str | None], settings: Settings) -> Answer:
        """b' of a, a' and b."""
        analogy, notes = self._asked([paths[:2]], paths[2], settings)
        adaptations = self.model.adapted(analogy)
        answer = self.model.draw(analogy, adaptations)
        look = self.model.look(analogy.pairs[0], analogy.b, adaptations[0])
        row = analogy_row(analogy.pairs, analogy.b, answer)
        return Answer(answer, draw_sheet([row]), look, tuple(notes))

    def walk(
        self,
        paths: Sequence[str | None],
        second: Sequence[str | None],
        settings: Settings,
        steps: int,
    ) -> Walk:
        """The pictures on the way from the pair's analogy to the second pair's."""
        analogy, notes = self._asked([paths[:2], second], paths[2], settings)
        weights = even_weights(min(MOST_STEPS, max(2, int(steps))))
        frames = list(self.model.walk(analogy, weights))
        strip = draw_sheet([walk_row(frames, weights)], edge=160)
        return Walk(tuple(frames), tuple(weights), strip, tuple(notes))

    def lora(
        self,
        paths: Sequence[str | None],
        second: Sequence[str | None],
        settings: Settings,
        weight: float,
        rank: float | None,
        dtype: str,
    ) -> tuple[Path, list[str]]:
        """The composed LoRA as a file, and what to say of it.

        With a second pair it is the one at `weight` on the way to it.
        """
        pairs = [paths[:2]]
        if any(second):
            pairs.append(second)
        analogy, _ = self._asked(pairs, paths[2], settings)
        folder = Path(tempfile.mkdtemp(prefix="lorweb-bench-lora-"))
        self._files.append(folder)
        while len(self._files) > LORA_FILES:
            shutil.rmtree(self._files.popleft(), ignore_errors=True)
        file = folder / "analogy.safetensors"
        lines = compose_file(
            self.model.folder,
            analogy.pairs,
            analogy.b,
            file,
            _positive(rank, "the rank"),
            weight,
            dtype,
            settings.fit,
            settings.strength,
        )
        return file, [line.removeprefix(f"{file}: ") for line in lines]

    def _asked(
        self,
        pairs: Sequence[Sequence[str | None]],
        b: str | None,
        settings: Settings,
    ) -> tuple[Analogy, list[str]]:
        roles = (("a", "a'"), ("a of the second pair", "a' of the second pair"))
        notes: list[str] = []

        def read(path: str | None, role: str) -> Image.Image:
            image, note = read_picture(path, role)
            if note:
                notes.append(note)
            return image

        images: list[Pair] = []
        for (a, a_prime), names in zip(pairs, roles, strict=False):
            images.append((read(a, names[0]), read(a_prime, names[1])))
        if settings.seed is None or settings.seed < 0 or settings.seed != int(settings.seed):
            raise InputError(f"the seed is {settings.seed}; give a whole number from 0 on")
        analogy = Analogy(
            tuple(images),
            read(b, "b"),
            settings.prompt.strip(),
            int(settings.seed),
            settings.strength,
            settings.fit,
        )
        return analogy, notes


def _positive(number: float | None, what: str) -> int | None:
    """A whole number from 1 on; None where none was given, or 0."""
    if not number:
        return None
    if number < 1 or number != int(number):
        raise InputError(f"{what} is {number:g}; give a whole number from 1 on, or none")
    return int(number)
