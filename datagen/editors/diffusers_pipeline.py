"""Image-editing pipelines of diffusers: loading one, saying which one it is, calling it."""

import hashlib
import inspect
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from datagen.recipe.sources import EditorSection, EditorTask
from lorweb_bench.data.images import upright_srgb
from lorweb_bench.errors import InputError, unknown_name
from lorweb_bench.runtime.files import canonical_json, sha256_file

LORA = "edit"  # the adapter's name within the pipeline
MIXED = 4.0  # how much more an edit differs beside other images than when it is made again
SAME_ASPECT = 0.1  # the greatest difference of width / height, as a share: sizes are rounded
LESS_MEMORY = (
    "set source.editor.batch or source.editor.long_edge lower, or source.editor.offload=true"
)


class Editor:
    """A pipeline that edits images by instructions, with one LoRA at a time.

    Attributes:
        identity: All that results depend on besides image, words and seed: class, repository,
            revision, sha256 of the weights, arguments, number type, sort of device, and version of
            diffusers.
    """

    def __init__(self, section: EditorSection) -> None:
        """Load the pipeline.

        Raises:
            InputError: It is neither a folder nor reachable on the hub, or it edits no images.
        """
        import torch

        assert section.model is not None
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype: str = section.dtype
        if dtype == "auto":
            dtype = "bfloat16" if self.device == "cuda" else "float32"
        folder = pipeline_folder(section.model, section.revision)
        self.pipeline = self._placed(_load(folder, getattr(torch, dtype)), section.offload)
        self.pipeline.set_progress_bar_config(disable=True)
        self.takes = inspect.signature(self.pipeline.__call__).parameters
        # Also where the call takes any keyword: there a slip would change nothing, silently.
        for name in section.arguments:
            if name not in self.takes:
                what = f"argument of {type(self.pipeline).__name__}"
                raise unknown_name(what, name, [n for n in self.takes if not n.startswith("_")])
        self.arguments = section.arguments
        self._edits_apart = False  # whether a batch was seen to be several edits
        self.identity = {
            "pipeline": type(self.pipeline).__name__,
            "model": section.model,
            "revision": section.revision or _commit(folder),
            "weights_sha256": weights_digest(folder),
            "dtype": dtype,
            "device": self.device,
            "arguments": dict(section.arguments),
            "diffusers": version("diffusers"),
        }

    def use(self, lora: tuple[Path, float] | None) -> None:
        """Load a LoRA file with a strength in place of the one before, or none.

        Raises:
            InputError: The pipeline takes none, or nothing of the file fits it.
        """
        if not hasattr(self.pipeline, "load_lora_weights"):
            if lora is not None:
                raise InputError(
                    f"{type(self.pipeline).__name__} takes no LoRA, and {lora[0]} is one; "
                    "use another pipeline."
                )
            return
        self.pipeline.unload_lora_weights()
        if lora is None:
            return
        file, scale = lora
        try:
            self.pipeline.load_lora_weights(
                str(file.parent), weight_name=file.name, adapter_name=LORA, use_safetensors=True
            )
        except Exception as e:  # diffusers and peft raise what their key conversions stumble over
            raise InputError(
                f"The LoRA {file} does not fit {type(self.pipeline).__name__} "
                f"({type(e).__name__}: {e})."
            ) from e
        if not any(LORA in names for names in self.pipeline.get_list_adapters().values()):
            raise InputError(
                f"Nothing of the LoRA {file} fits {type(self.pipeline).__name__}: "
                "its names are those of another model."
            )
        self.pipeline.set_adapters(LORA, adapter_weights=scale)

    def edit(
        self, images: Sequence[Image.Image], instruction: str, seeds: Sequence[int]
    ) -> list[Image.Image]:
        """Edit images by one instruction, each with its seed.

        Args:
            images: Images of one size, its sides multiples of 16.
            instruction: The words.
            seeds: One for each image.

        Raises:
            InputError: The pipeline fails, gives images of another aspect ratio, or takes a batch
                for references of one edit.
        """
        edited = self._call(images, instruction, seeds)
        if len(images) > 1 and not self._edits_apart:
            self._check_apart(images, instruction, seeds, edited[0])
        return edited

    def _check_apart(
        self,
        images: Sequence[Image.Image],
        instruction: str,
        seeds: Sequence[int],
        first: Image.Image,
    ) -> None:
        """Raise InputError when the first edit of a batch depends on its other images.

        A GPU's rounding makes some difference too, and is told from it by making the edit again.
        """

        def difference(others: Sequence[Image.Image]) -> float:
            """How much the first edit changes when it is made beside other images."""
            again = self._call([images[0], *others], instruction, seeds)[0]
            return float(np.abs(np.asarray(again, np.int16) - np.asarray(first, np.int16)).mean())

        mixed = difference([ImageOps.invert(image) for image in images[1:]])
        if mixed > 0 and mixed > MIXED * difference(images[1:]):
            raise InputError(
                f"{type(self.pipeline).__name__} takes several images for references of one edit: "
                "what it makes of the first depends on the others; set source.editor.batch=1."
            )
        self._edits_apart = True

    def _call(
        self, images: Sequence[Image.Image], instruction: str, seeds: Sequence[int]
    ) -> list[Image.Image]:
        import torch

        name, (width, height), count = type(self.pipeline).__name__, images[0].size, len(images)
        try:
            with torch.no_grad():
                # The first part of every output, whatever it is called.
                edited = self.pipeline(**self._arguments(images, instruction, seeds))[0]
        except torch.OutOfMemoryError as e:
            raise InputError(
                f"{count} images of {width} x {height} do not fit the GPU's memory; {LESS_MEMORY}."
            ) from e
        except Exception as e:  # a pipeline raises whatever a wrong argument leads to
            hint = "set source.editor.batch=1, or see" if count > 1 else "see"
            raise InputError(
                f"{name} fails on {count} of {width} x {height} pixels "
                f"({type(e).__name__}: {str(e).strip()[:300]}); {hint} source.editor.arguments."
            ) from e
        self._check_results(edited, images)
        return [upright_srgb(image)[0] for image in edited]

    def _arguments(
        self, images: Sequence[Image.Image], instruction: str, seeds: Sequence[int]
    ) -> dict[str, Any]:
        """What the pipeline is called with."""
        import torch

        (width, height), count = images[0].size, len(images)
        fixed = {
            "height": height,
            "width": width,
            "max_area": height * width,
            "_auto_resize": False,
            "output_type": "pil",
        }
        accepted = {key: value for key, value in fixed.items() if key in self.takes}
        call: dict[str, Any] = {**accepted, "prompt": instruction, **self.arguments}
        # On the CPU: the same noise for every device.
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        if count == 1:
            return {**call, "image": images[0], "generator": generators[0]}
        for key, value in call.items():  # not every pipeline repeats a text by itself
            if isinstance(value, str) and self._takes_list(key):
                call[key] = [value] * count
        return {**call, "image": list(images), "generator": generators}

    def _check_results(self, edited: Any, images: Sequence[Image.Image]) -> None:
        """Raise InputError where a pipeline gave something else than one image for each."""
        name, (width, height), count = type(self.pipeline).__name__, images[0].size, len(images)
        if not all(isinstance(image, Image.Image) for image in edited):
            raise InputError(
                f"{name} makes no images but something else; use a pipeline that edits images."
            )
        if len(edited) != count:
            raise InputError(
                f"{name} gave {len(edited)} images for {count}; set source.editor.batch=1."
            )
        for image in edited:
            if abs(image.width * height / (image.height * width) - 1) > SAME_ASPECT:
                raise InputError(
                    f"{name} gave {image.width} x {image.height} pixels for {width} x {height}, "
                    "another aspect ratio; give it photographs of the ratio that it makes, or use "
                    "another pipeline."
                )

    def _takes_list(self, name: str) -> bool:
        return "prompt" in name and "list" in str(self.takes[name].annotation).lower()

    def _placed(self, pipeline: Any, offload: bool) -> Any:
        import torch

        try:
            if offload and self.device == "cuda":
                pipeline.enable_model_cpu_offload()
                return pipeline
            return pipeline.to(self.device)
        except torch.OutOfMemoryError as e:
            raise InputError(
                f"{type(pipeline).__name__} does not fit the GPU's memory; "
                "set source.editor.offload=true."
            ) from e


def _load(folder: Path, dtype: Any) -> Any:
    from diffusers import AutoPipelineForImage2Image, DiffusionPipeline

    try:
        pipeline = DiffusionPipeline.from_pretrained(
            folder, torch_dtype=dtype, use_safetensors=True
        )
        if "image" not in inspect.signature(pipeline.__call__).parameters:
            # A text-to-image folder: its image-to-image sibling.
            pipeline = AutoPipelineForImage2Image.from_pipe(pipeline)
    except Exception as e:  # diffusers raises what the first part that does not fit raises
        raise InputError(
            f"{folder} cannot be loaded as an image-editing pipeline "
            f"({type(e).__name__}: {str(e).strip()[:300]})."
        ) from e
    return pipeline


def pipeline_folder(model: str, revision: str | None) -> Path:
    """The folder of a pipeline: the one named, or that of a repository, fetched from the hub."""
    if Path(model).expanduser().is_dir():
        return Path(model).expanduser()
    try:
        from diffusers import DiffusionPipeline
    except ImportError:
        raise InputError(
            "An image editor needs torch and diffusers: pip install 'lorweb-bench[model]'."
        ) from None
    try:
        return Path(DiffusionPipeline.download(model, revision=revision, use_safetensors=True))
    except Exception as e:  # no network, no permission, no such repository
        raise InputError(
            f"The pipeline {model!r} is no folder and cannot be fetched from the hub "
            f"({type(e).__name__}); with access to the hub, `hf download {model} --local-dir "
            "FOLDER` fetches it, then source.editor.model=FOLDER."
        ) from e


def lora_file(task: EditorTask) -> Path | None:
    """The file of a task's LoRA, fetched from the hub where it is not there.

    Returns:
        None where the task has no LoRA.

    Raises:
        InputError: It is not one file.
    """
    if task.lora is None:
        return None
    path = Path(task.lora).expanduser()
    if not path.exists():
        path = _lora_folder(task)
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    if task.weight_name and path.is_dir():
        files = [file for file in files if file.name == task.weight_name]
    if len(files) != 1 or files[0].suffix != ".safetensors":
        names = ", ".join(file.name for file in files) or "none that fits"
        raise InputError(
            f"The LoRA of task {task.name!r}, {task.lora}, is one .safetensors file; "
            f"found: {names}. Give weight_name."
        )
    return files[0]


def _lora_folder(task: EditorTask) -> Path:
    from huggingface_hub import snapshot_download

    assert task.lora is not None
    try:
        return Path(
            snapshot_download(
                task.lora, revision=task.lora_revision, allow_patterns=["*.safetensors"]
            )
        )
    except Exception as e:  # no network, no permission, no such repository
        raise InputError(
            f"The LoRA {task.lora!r} of task {task.name!r} is no file and cannot be fetched "
            f"({type(e).__name__}); with access to the hub, `hf download {task.lora} --local-dir "
            "FOLDER` fetches it, then write its folder into the recipe."
        ) from e


def lora_identity(task: EditorTask, file: Path | None) -> dict[str, Any] | None:
    """What a LoRA is called, and the sha256 of its weights."""
    if file is None:
        return None
    revision = task.lora_revision or _commit(file.parent)
    return {
        "lora": task.lora,
        "file": file.name,
        "revision": revision,
        "sha256": sha256_file(file),
        "scale": task.lora_scale,
    }


def weights_digest(folder: Path) -> str:
    """The sha256 over the names and digests of all weights in a folder."""
    files = {
        file.relative_to(folder).as_posix(): sha256_file(file)
        for file in sorted(folder.rglob("*.safetensors"))
    }
    return hashlib.sha256(canonical_json(files).encode()).hexdigest()


def _commit(folder: Path) -> str | None:
    """The commit that a folder of the hub's cache holds, by its place there."""
    return folder.name if folder.parent.name == "snapshots" else None
