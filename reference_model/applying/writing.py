"""What `apply` and `known-pairs` write, and the lines that they print."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lorweb_bench.data.dataset import open_dataset
from lorweb_bench.data.images import encode
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import check_output, read_json, write_atomic, write_json
from reference_model.applying.analogy import Analogy, AnalogyModel
from reference_model.applying.sheet import analogy_row, draw_sheet, even_weights, walk_row
from reference_model.checkpoints.checkpoint import checkpoint_folder, load_checkpoint
from reference_model.checkpoints.known_pairs import FILE, learn_known_pairs, write_known_pairs
from reference_model.method import best_device


@dataclass(frozen=True)
class Outputs:
    """The files that a run of `apply` writes: the answer or the strip, and the sheet.

    Raises:
        InputError: none is named, both are one, or a name is not that of a PNG.
    """

    answer: Path | None
    sheet: Path | None

    def __post_init__(self) -> None:
        if self.answer is None and self.sheet is None:
            raise InputError("no output; add `-o OUT.png`, or `--sheet SHEET.png`, or both")
        if self.answer == self.sheet:
            raise InputError(f"{self.answer}: is both -o and --sheet; name two files")
        for path in filter(None, (self.answer, self.sheet)):
            if path.suffix.lower() != ".png":
                raise InputError(
                    f"{path}: the answer is written as PNG; give it a name that ends in .png"
                )
            check_output(path)


def write_answer(model: AnalogyModel, analogy: Analogy, outputs: Outputs) -> Iterator[str]:
    """Write b' of an analogy, and its sheet; yields what to tell the user."""
    adaptations = model.adapted(analogy)
    answer = model.draw(analogy, adaptations)
    by = _made_by(model, analogy)
    if outputs.answer is not None:
        yield _written(outputs.answer, answer, by)
    if outputs.sheet is not None:
        row = analogy_row(analogy.pairs, analogy.b, answer)
        yield _written(outputs.sheet, draw_sheet([row]), by)
    if model.config.prompt == "instruction" and not analogy.prompt:
        yield "Note: trained with captions; `--prompt WORDS` says the edit in words."
    if warning := model.look(analogy.pairs[0], analogy.b, adaptations[0]).warning():
        yield f"Note: {warning}."


def write_walk(
    model: AnalogyModel, analogy: Analogy, outputs: Outputs, steps: int
) -> Iterator[str]:
    """Write the strip of a walk between two analogies, and its sheet with both pairs and b."""
    weights = even_weights(steps)
    frames = list(model.walk(analogy, weights))
    by = _made_by(model, analogy)
    strip = walk_row(frames, weights)
    if outputs.answer is not None:
        yield _written(outputs.answer, draw_sheet([strip]), by)
    if outputs.sheet is not None:
        sheet = draw_sheet([analogy_row(analogy.pairs, analogy.b), strip])
        yield _written(outputs.sheet, sheet, by)
    for name, pair in zip(analogy.names, analogy.pairs, strict=False):
        if warning := model.look(pair, analogy.b).warning():
            yield f"Note on {name}: {warning}."


def _made_by(model: AnalogyModel, analogy: Analogy) -> str:
    name = model.name(analogy.fit is not None)
    return f"by {name} (works at {model.sizes})"


def _written(path: Path, image: Image.Image, by: str) -> str:
    write_atomic(path, encode(image, "png"))
    return f"{path}: {image.width} x {image.height}, {by}"


def store_known_pairs(checkpoint: Path, dataset: Path) -> str:
    """Store what a checkpoint was trained on, as its encoder sees it; returns what to say.

    Raises:
        InputError: the checkpoint looks at no pair, or was trained on another dataset.
    """
    folder = checkpoint_folder(checkpoint)
    adapter, _ = load_checkpoint(folder)
    about = read_json(folder / "config.json")
    opened = open_dataset(dataset)
    trained_on = about.get("training_dataset", {}).get("fingerprint")
    if trained_on != opened.fingerprint:
        raise InputError(
            f"{dataset}: is not what {checkpoint} was trained on (its fingerprint is "
            f"{opened.fingerprint[:12]}, the checkpoint's {str(trained_on)[:12]}); name that one"
        )
    if adapter.encoder is None:
        raise InputError(
            f"{checkpoint}: a single LoRA looks at no pair, so there is nothing to store; name a "
            "checkpoint of kind lorweb or token-control"
        )
    device = best_device()
    known = learn_known_pairs(adapter.encoder.to(device), opened, device)
    write_known_pairs(folder, known)
    write_json(folder / "config.json", {**about, "novelty_threshold": known.threshold})
    said = "no threshold, for want of a `dev` split of 40 items"
    if known.threshold is not None:
        said = f"unlike beyond a distance of {known.threshold:.2f}"
    return f"{folder / FILE}: {len(known.names)} transformations, {said}"
