"""Image-editing pipelines of diffusers: loading one, saying exactly which one it is, and calling it."""

import hashlib
import inspect
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from datagen.recipe.sources import EditorSection, EditorTask
from lorweb_bench.data.images import to_image
from lorweb_bench.errors import InputError, unknown_name
from lorweb_bench.runtime.files import canonical_json, sha256_file

LORA = "edit"  # the adapter's name within the pipeline
MIXED = (
    4.0  # an edit that differs so many times as much beside other images as when it is made again
)
SAME_FORM = 0.1  # the greatest difference of width / height, as a share: sizes are rounded to multiples of 32 and more
LESS = "set source.editor.batch or source.editor.long_edge lower, or source.editor.offload=true"


class Editor:
    """A pipeline that edits images by instructions, with one LoRA at a time.

    `identity` holds all that its results depend on besides image, words and seed: class, repository, revision, sha256 of the
    weights, arguments, number type, sort of device, version of diffusers.
    """

    def __init__(self, section: EditorSection) -> None:
        """Load the pipeline; InputError when it is neither a folder nor reachable on the hub, or edits no images."""
        import torch

        assert section.model is not None
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = (
            section.dtype
            if section.dtype != "auto"
            else "bfloat16"
            if self.device == "cuda"
            else "float32"
        )
        folder = pipeline_folder(section.model, section.revision)
        self.pipeline = self._placed(_load(folder, getattr(torch, dtype)), section.offload)
        self.pipeline.set_progress_bar_config(disable=True)
        self.takes = inspect.signature(self.pipeline.__call__).parameters
        for name in section.arguments:
            if (
                name not in self.takes
            ):  # also where the call takes any keyword: there a slip would change nothing and say nothing
                raise unknown_name(
                    f"argument of {type(self.pipeline).__name__}",
                    name,
                    [n for n in self.takes if not n.startswith("_")],
                )
        self.arguments = section.arguments
        self._apart = False  # whether a batch was seen to be several edits
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
        """Put a LoRA file on with a strength, in the place of the one before, or take it off.

        InputError when the pipeline takes none, or nothing of the file fits it.
        """
        if not hasattr(self.pipeline, "load_lora_weights"):
            if lora is not None:
                raise InputError(
                    f"{type(self.pipeline).__name__} takes no LoRA, and {lora[0]} is one; use another pipeline."
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
                f"The LoRA {file} does not fit {type(self.pipeline).__name__} ({type(e).__name__}: {e})."
            ) from e
        if not any(LORA in names for names in self.pipeline.get_list_adapters().values()):
            raise InputError(
                f"Nothing of the LoRA {file} fits {type(self.pipeline).__name__}: its names are those of another model."
            )
        self.pipeline.set_adapters(LORA, adapter_weights=scale)

    def edit(
        self, images: Sequence[Image.Image], instruction: str, seeds: Sequence[int]
    ) -> list[Image.Image]:
        """The images, all of one size in multiples of 16, edited by one instruction, each with its seed.

        InputError for whatever the pipeline cannot do, images of another form, and a batch that it takes for references of one edit.
        """
        made = self._called(images, instruction, seeds)
        if len(images) > 1 and not self._apart:
            self._check_apart(images, instruction, seeds, made[0])
        return made

    def _check_apart(
        self,
        images: Sequence[Image.Image],
        instruction: str,
        seeds: Sequence[int],
        first: Image.Image,
    ) -> None:
        """InputError when the first edit of a batch depends on the other images of it by more than a GPU's rounding."""

        def changed(others: Sequence[Image.Image]) -> float:
            again = self._called([images[0], *others], instruction, seeds)[0]
            return float(np.abs(np.asarray(again, np.int16) - np.asarray(first, np.int16)).mean())

        mixed = changed([ImageOps.invert(image) for image in images[1:]])
        if mixed > 0 and mixed > MIXED * changed(images[1:]):
            raise InputError(
                f"{type(self.pipeline).__name__} takes several images for references of one edit: what it makes of the first depends "
                "on the others; set source.editor.batch=1."
            )
        self._apart = True

    def _called(
        self, images: Sequence[Image.Image], instruction: str, seeds: Sequence[int]
    ) -> list[Image.Image]:
        import torch

        name, (width, height), count = type(self.pipeline).__name__, images[0].size, len(images)
        fixed = {
            "height": height,
            "width": width,
            "max_area": height * width,
            "_auto_resize": False,
            "output_type": "pil",
        }
        call: dict[str, Any] = {key: value for key, value in fixed.items() if key in self.takes} | {
            "prompt": instruction,
            **self.arguments,
        }
        generators = [
            torch.Generator("cpu").manual_seed(seed) for seed in seeds
        ]  # on the CPU: the same noise for every device
        call |= {"image": images[0], "generator": generators[0]}
        if count > 1:  # not every pipeline repeats a text, such as the negative prompt, by itself
            texts = {
                key: [value] * count
                for key, value in call.items()
                if isinstance(value, str) and self._takes_list(key)
            }
            call |= {"image": list(images), "generator": generators, **texts}
        try:
            with torch.no_grad():
                made = self.pipeline(**call)[
                    0
                ]  # the first part of every output, whatever it is called
        except torch.OutOfMemoryError as e:
            raise InputError(
                f"{count} images of {width} x {height} do not fit the GPU's memory; {LESS}."
            ) from e
        except (
            Exception
        ) as e:  # a pipeline raises whatever an argument that it does not like leads to
            hint = "set source.editor.batch=1, or see" if count > 1 else "see"
            raise InputError(
                f"{name} fails on {count} of {width} x {height} pixels ({type(e).__name__}: {str(e).strip()[:300]}); "
                f"{hint} source.editor.arguments."
            ) from e
        if not all(isinstance(one, Image.Image) for one in made):
            raise InputError(
                f"{name} makes no images but something else; use a pipeline that edits images."
            )
        if len(made) != count:
            raise InputError(
                f"{name} gave {len(made)} images for {count}; set source.editor.batch=1."
            )
        if strange := next(
            (
                one.size
                for one in made
                if abs(one.width * height / (one.height * width) - 1) > SAME_FORM
            ),
            None,
        ):
            raise InputError(
                f"{name} gave {strange[0]} x {strange[1]} pixels for {width} x {height}, another form; give it photographs of the form "
                "that it makes, or use another pipeline."
            )
        return [to_image(np.asarray(one.convert("RGB"))) for one in made]

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
                f"{type(pipeline).__name__} does not fit the GPU's memory; set source.editor.offload=true."
            ) from e


def _load(folder: Path, dtype: Any) -> Any:
    from diffusers import AutoPipelineForImage2Image, DiffusionPipeline

    try:
        pipeline = DiffusionPipeline.from_pretrained(
            folder, torch_dtype=dtype, use_safetensors=True
        )
        if "image" not in inspect.signature(pipeline.__call__).parameters:
            pipeline = AutoPipelineForImage2Image.from_pipe(
                pipeline
            )  # a text-to-image folder: its image-to-image sibling
    except Exception as e:  # diffusers raises what the first part that does not fit raises
        raise InputError(
            f"{folder} cannot be loaded as an image-editing pipeline ({type(e).__name__}: {str(e).strip()[:300]})."
        ) from e
    return pipeline


def pipeline_folder(model: str, revision: str | None) -> Path:
    """The folder of a pipeline: the one named, or that of a repository on the hub, fetched where it is not there yet."""
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
            f"The pipeline {model!r} is no folder and cannot be fetched from the hub ({type(e).__name__}); with access to the hub, "
            f"`hf download {model} --local-dir FOLDER` fetches it, then source.editor.model=FOLDER."
        ) from e


def lora_file(task: EditorTask) -> Path | None:
    """The file of a task's LoRA, fetched from the hub where it is not there; None where it has none. InputError when it is not one file."""
    if task.lora is None:
        return None
    place = Path(task.lora).expanduser()
    if not place.exists():
        place = _lora_folder(task)
    files = [place] if place.is_file() else sorted(place.glob("*.safetensors"))
    if task.weight_name and place.is_dir():
        files = [file for file in files if file.name == task.weight_name]
    if len(files) != 1 or files[0].suffix != ".safetensors":
        names = ", ".join(file.name for file in files) or "none that fits"
        raise InputError(
            f"The LoRA of task {task.name!r}, {task.lora}, is one .safetensors file; found: {names}. Give weight_name."
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
            f"The LoRA {task.lora!r} of task {task.name!r} is no file and cannot be fetched ({type(e).__name__}); with access to "
            f"the hub, `hf download {task.lora} --local-dir FOLDER` fetches it, then write its folder into the recipe."
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
