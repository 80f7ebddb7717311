"""Editors that take several pictures by themselves, untrained, as methods.

FLUX.2 and Qwen-Image-Edit-Plus are shown a, a' and b as three reference pictures and told in words
to repeat the pair's edit. Nothing of them is trained on a suite's data.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from diffusers import Flux2KleinPipeline, Flux2Pipeline, QwenImageEditPlusPipeline

from lorweb_bench.data.samples import Triplet
from lorweb_bench.methods.http_editor import WORDS
from reference_model.baselines import PipelineBaseline, generators, panels, said

SMALLEST_SIDE = 64  # pixels, of a picture that FLUX.2's pipelines take


class ReferenceEditor(PipelineBaseline):
    """What these editors share: three pictures and words in, a picture of b's shape out."""

    def guided(self) -> dict[str, Any]:
        """How the pipeline is told its guidance."""
        return {"guidance_scale": self.guidance}

    def complete(self, triplets: Sequence[Triplet], size: tuple[int, int]) -> list[np.ndarray]:
        """Edit each b as its pair was edited; the pipelines take one triplet at a time."""
        enlarged = -(-SMALLEST_SIDE // min(size))
        width, height = (side * enlarged for side in size)
        answers = []
        for triplet in triplets:
            made = self.pipeline(
                image=list(panels(triplet, (width, height))),
                prompt=said(WORDS, triplet.prompt),
                width=width,
                height=height,
                num_inference_steps=self.sampling_steps,
                generator=generators([triplet])[0],
                output_type="np",
                **self.guided(),
            ).images
            answers.append(np.asarray(made)[0])
        return answers


class Flux2KleinEditor(ReferenceEditor):
    """FLUX.2-klein, distilled and untrained, with a, a', b as references and words."""

    name = "flux2-klein"
    weights_repository = "black-forest-labs/FLUX.2-klein-4B"
    gpus = 1
    pipeline_class = Flux2KleinPipeline

    def __init__(
        self,
        weights: str = "black-forest-labs/FLUX.2-klein-4B",
        steps: int = 4,
        guidance: float = 1.0,
        longest: int = 1024,
        **settings: Any,
    ) -> None:
        super().__init__(weights, steps, guidance, longest, **settings)


class Flux2Editor(ReferenceEditor):
    """FLUX.2-dev, untrained, with a, a', b as references and words."""

    name = "flux2"
    weights_repository = "black-forest-labs/FLUX.2-dev"
    gpus = 1
    pipeline_class = Flux2Pipeline

    def __init__(
        self,
        weights: str = "black-forest-labs/FLUX.2-dev",
        steps: int = 50,
        guidance: float = 4.0,
        longest: int = 1024,
        **settings: Any,
    ) -> None:
        super().__init__(weights, steps, guidance, longest, **settings)


class QwenEditor(ReferenceEditor):
    """Qwen-Image-Edit-Plus, untrained, with a, a', b as references and words."""

    name = "qwen-image-edit-plus"
    weights_repository = "Qwen/Qwen-Image-Edit-2509"
    gpus = 1
    pipeline_class = QwenImageEditPlusPipeline

    def __init__(
        self,
        weights: str = "Qwen/Qwen-Image-Edit-2509",
        steps: int = 40,
        guidance: float = 4.0,
        longest: int = 1024,
        **settings: Any,
    ) -> None:
        super().__init__(weights, steps, guidance, longest, **settings)

    def guided(self) -> dict[str, Any]:
        """The pipeline is guided by a second pass without the words."""
        return {"true_cfg_scale": self.guidance, "negative_prompt": " "}
