"""Peers of the reference model that diffusers ships, as methods.

Nothing of them is trained on a suite's data.

`VisualCloze` (arXiv 2504.07960) was trained to complete grids of pictures. FLUX.1-Kontext (arXiv
2506.15742) edits one picture by an instruction; it is shown the grid that LoRWeB trains it on,
untrained, or b and the instruction alone.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FluxKontextPipeline, VisualClozePipeline
from huggingface_hub import try_to_load_from_cache
from PIL import Image

from lorweb_bench.data.images import resize
from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import sha256_file
from reference_model.method import best_device, by_size
from reference_model.model.working_size import WorkingSize
from reference_model.seeding import seeded

GRID_WORDS = (
    "A grid of two rows with two pictures each. In the upper row an edit turns the left picture "
    "into the right one. "
    "Make the same edit to the left picture of the lower row and show the result as the right "
    "picture of the lower row; "
    "leave the other three pictures as they are."
)
ROW_WORDS = (
    "Each row shows one and the same edit of a picture: "
    "[IMAGE1] is the picture, [IMAGE2] the picture after the edit."
)


class PipelineBaseline(ABC):
    """What the peers share: the weights are loaded by `prepare`, triplets whose panels have one
    size run as one batch.

    `weights` is a repository on the hub or a folder in diffusers' layout; `steps` and `guidance`
    are those of sampling; `longest` is the long edge of a panel in pixels. `offload` keeps on the
    GPU only the part that is at work.
    """

    name: str
    version = "1"
    track = "open"
    batch_size = 1
    gpus = 1
    pipeline_class: Any

    def __init__(
        self,
        weights: str,
        steps: int,
        guidance: float,
        longest: int = 512,
        dtype: str = "bfloat16",
        offload: bool = False,
    ) -> None:
        if dtype not in ("bfloat16", "float16", "float32"):
            raise InputError(
                f"{self.name}: no dtype {dtype!r}; there are bfloat16, float16 and float32"
            )
        self.weights, self.sampling_steps, self.guidance, self.longest = (
            str(weights),
            steps,
            guidance,
            longest,
        )
        self.dtype, self.offload, self.device = dtype, offload, best_device()
        self.pipeline: Any = None

    def describe(self) -> dict[str, Any]:
        """What predictions.json records.

        The weights, which of their revisions, and all that changes a result.
        """
        revision = revision_of(self.weights)
        return {
            "weights": self.weights,
            "revision": revision,
            "guidance": self.guidance,
            "longest": self.longest,
            "dtype": self.dtype,
        }

    def prepare(self, suite: Any) -> None:
        """Load the pipeline; InputError where its weights are not there."""
        if self.pipeline is not None:
            return
        try:
            pipeline = self.pipeline_class.from_pretrained(
                self.weights, torch_dtype=getattr(torch, self.dtype)
            )
        # hub, diffusers and safetensors have an error class each for what is missing or cut
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{self.name}: the weights {self.weights} cannot be loaded ({reason}); "
                f"get them with `hf download {self.weights}`, or name a folder with --set "
                "weights=FOLDER"
            ) from error
        pipeline.set_progress_bar_config(disable=True)
        if self.offload and self.device.type == "cuda":
            pipeline.enable_model_cpu_offload()
        else:
            pipeline.to(self.device)
        self.pipeline = pipeline

    def predict(self, triplets: Sequence[Triplet]) -> list[Image.Image]:
        """One b' per triplet, of the size of its b."""
        self.prepare(None)
        return by_size(
            triplets,
            WorkingSize(self.longest),
            lambda few, size: map(to_levels, self.complete(few, size)),
        )

    @abstractmethod
    def complete(self, triplets: Sequence[Triplet], size: tuple[int, int]) -> list[np.ndarray]:
        """b' of triplets whose panels are worked on at `size` (width, height), float height x width
        x 3 in [0, 1].
        """


def revision_of(weights: str) -> str | None:
    """The commit of a repository in the hub's cache, or a digest over the files of a folder.

    None where neither is there.
    """
    folder = Path(weights)
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted(
            path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors")
        ):
            digest.update(f"{path.relative_to(folder)} {sha256_file(path)}\n".encode())
        return digest.hexdigest()
    try:
        cached = try_to_load_from_cache(weights, "model_index.json")
    except ValueError:  # no name of a repository
        return None
    return Path(cached).parent.name if isinstance(cached, str) else None


def to_levels(pixels: np.ndarray) -> np.ndarray:
    """uint8 of floats in [0, 1]; ValueError for what is not finite."""
    if not np.isfinite(pixels).all():
        raise ValueError("the pipeline gave NaN; try --set dtype=float32")
    return (pixels * 255).round().clip(0, 255).astype(np.uint8)


def generators(triplets: Sequence[Triplet]) -> list[torch.Generator]:
    """One for each triplet, seeded with its seed, on the CPU.

    The same noise on every device and in every batch.
    """
    return [seeded(t.seed) for t in triplets]


def panels(triplet: Triplet, size: tuple[int, int]) -> tuple[Image.Image, Image.Image, Image.Image]:
    """a, a' and b at `size`."""
    a, a_prime, b = (resize(image, size) for image in (triplet.a, triplet.a_prime, triplet.b))
    return a, a_prime, b


def said(words: str, prompt: str | None) -> str:
    """The method's own words, followed by the item's prompt where the prompt mode gives one."""
    return f"{words} The edit: {prompt}" if prompt else words


class Kontext(PipelineBaseline):
    """FLUX.1-Kontext at the size of its picture.

    The pipeline's own rescaling to a megapixel is switched off.
    """

    pipeline_class = FluxKontextPipeline

    def __init__(
        self,
        weights: str = "black-forest-labs/FLUX.1-Kontext-dev",
        steps: int = 28,
        guidance: float = 2.5,
        **settings: Any,
    ) -> None:
        super().__init__(weights, steps, guidance, **settings)

    def edit(
        self, pictures: list[Image.Image], prompts: list[str], triplets: Sequence[Triplet]
    ) -> np.ndarray:
        """The edited pictures, all of one size in multiples of 16.

        Float batch x height x width x 3.
        """
        width, height = pictures[0].size
        sizes = {
            "width": width,
            "height": height,
            "max_area": width * height,
            "_auto_resize": False,
        }
        sampling = {
            "num_inference_steps": self.sampling_steps,
            "guidance_scale": self.guidance,
            "generator": generators(triplets),
        }
        return np.asarray(
            self.pipeline(
                image=pictures, prompt=prompts, output_type="np", **sizes, **sampling
            ).images
        )


class KontextGrid(Kontext):
    """FLUX.1-Kontext, untrained, told to complete the grid [a, a'.

    B, b]: the lower right quarter of what it makes of it.
    """

    name = "flux-kontext-grid"
    weights_repository = "black-forest-labs/FLUX.1-Kontext-dev"
    gpus = 1

    def complete(self, triplets: Sequence[Triplet], size: tuple[int, int]) -> list[np.ndarray]:
        """Fill the lower right quarter of each triplet's grid."""
        width, height = size
        grids = []
        for triplet in triplets:
            a, a_prime, b = panels(triplet, size)
            grid = Image.new("RGB", (2 * width, 2 * height))
            for corner, panel in zip(
                [(0, 0), (width, 0), (0, height), (width, height)], [a, a_prime, b, b], strict=True
            ):
                grid.paste(panel, corner)
            grids.append(grid)
        return list(
            self.edit(grids, [said(GRID_WORDS, t.prompt) for t in triplets], triplets)[
                :, height:, width:
            ]
        )


class KontextInstruction(Kontext):
    """FLUX.1-Kontext given b and the instruction in words, and nothing of the pair.

    Needs --prompt instruction.
    """

    name = "flux-kontext-instruction"
    weights_repository = "black-forest-labs/FLUX.1-Kontext-dev"
    gpus = 1

    def complete(self, triplets: Sequence[Triplet], size: tuple[int, int]) -> list[np.ndarray]:
        """Edit each b by its prompt."""
        if not all(t.prompt for t in triplets):
            raise InputError(
                f"{self.name}: it must be told the edit in words; add `--prompt instruction`"
            )
        return list(
            self.edit(
                [panels(t, size)[2] for t in triplets], [t.prompt or "" for t in triplets], triplets
            )
        )


class VisualCloze(PipelineBaseline):
    """VisualCloze completes the two rows (a, a') and (b, ?), at its own resolution, and enlarges
    the answer to b's size.
    """

    name = "visualcloze"
    weights_repository = "VisualCloze/VisualClozePipeline-384"
    gpus = 1
    pipeline_class = VisualClozePipeline

    def __init__(
        self,
        weights: str = "VisualCloze/VisualClozePipeline-384",
        steps: int = 30,
        guidance: float = 30.0,
        upsampling: float = 0.4,
        **settings: Any,
    ) -> None:
        """`upsampling` is the strength of the second pass, which makes details; 0 leaves it out."""
        super().__init__(weights, steps, guidance, **settings)
        self.upsampling = upsampling

    def describe(self) -> dict[str, Any]:
        """What predictions.json records, with the upsampling."""
        return {**super().describe(), "upsampling": self.upsampling}

    def complete(self, triplets: Sequence[Triplet], size: tuple[int, int]) -> list[np.ndarray]:
        """Complete each triplet's grid of images."""
        answers = []
        # The pipeline cannot tell the samples of a batch apart in its second pass.
        for triplet in triplets:
            a, a_prime, b = panels(triplet, size)
            out = self.pipeline(
                image=[[a, a_prime], [b, None]],
                task_prompt=said(ROW_WORDS, triplet.prompt),
                content_prompt=None,
                num_inference_steps=self.sampling_steps,
                guidance_scale=self.guidance,
                upsampling_width=size[0],
                upsampling_height=size[1],
                upsampling_strength=self.upsampling,
                generator=generators([triplet])[0],
                output_type="np",
            ).images
            answers.append(np.asarray(getattr(out, "images", out))[0])
        return answers
