"""The page itself: what stands where, and which button calls what."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
from PIL import Image

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.progress import listening
from reference_model.applying.analogy import AnalogyModel
from reference_model.bases.tiny_folder import ASSETS
from reference_model.training.launching import is_out_of_memory
from reference_model.ui import words
from reference_model.ui.answers import MOST_STEPS, Desk, Settings, Walk

TITLE = "a is to a′ as b is to …"
EXAMPLES = ASSETS / "examples"
WAITING = 32  # people in the queue; more are told to come back
DTYPES = ("float32", "bfloat16", "float16")
PROGRESS = gr.Progress()  # what Gradio looks for among the defaults; each call gets its own
log = logging.getLogger(__name__)


def _path_of(payload: Any) -> str | None:
    """The path of an uploaded picture, undecoded, so that our own bounds check it first."""
    return None if payload is None or payload.path is None else str(payload.path)


def build_page(model: AnalogyModel) -> gr.Blocks:
    """The page for a checkpoint."""
    desk = Desk(model)
    with gr.Blocks(
        title="Visual analogies", analytics_enabled=False, delete_cache=(3600, 7200)
    ) as page:
        gr.Markdown(f"# {TITLE}\nShow what to do by a pair of pictures.", elem_classes="title")
        gr.HTML(words.about(model), padding=False)
        pictures = _pictures()
        examples = _examples("Or choose an example", "examples")
        examples.select(_chosen, None, pictures, queue=False, api_visibility="private")
        settings = _settings()
        _answer(desk, pictures, settings)
        second, weight = _walk(desk, pictures, settings)
        _lora(desk, pictures, second, settings, weight)
    page.queue(max_size=WAITING)
    return page


def _answer(desk: Desk, pictures: list[gr.Image], settings: list[Any]) -> None:
    """The button, and what it shows."""
    button = gr.Button("Make b′", variant="primary", elem_id="complete")
    message = gr.HTML(elem_id="message", padding=False)
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            sheet = _shown("a : a′ :: b : b′", "sheet")
            answer = _shown("b′", "answer")
        with gr.Column(scale=2, min_width=300):
            look = gr.HTML(elem_id="look", padding=False)
    button.click(
        _complete(desk),
        [*pictures, *settings],
        [message, answer, sheet, look],
        concurrency_id="model",
        concurrency_limit=1,
        api_name="complete",
    )


def _shown(label: str, name: str) -> gr.Image:
    """A picture that the page makes."""
    return gr.Image(
        label=label,
        format="png",
        interactive=False,
        elem_id=name,
        buttons=["download", "fullscreen"],
    )


def _pictures() -> list[gr.Image]:
    """The three pictures that are given."""
    told = {"a": "a: a picture", "a_prime": "a′: the same, changed", "b": "b: change this alike"}
    with gr.Row():
        return [_picture(label, name) for name, label in told.items()]


def _picture(label: str, name: str) -> gr.Image:
    picture = gr.Image(
        label=label,
        type="filepath",
        sources=["upload", "webcam", "clipboard"],
        height=260,
        min_width=220,
        elem_id=name,
        buttons=["fullscreen"],
    )
    picture.preprocess = _path_of
    return picture


def _listed_examples() -> list[dict[str, str]]:
    """The analogies that ship: the files of a, a' and b, and words."""
    listed: list[dict[str, str]] = json.loads((EXAMPLES / "examples.json").read_text())
    return listed


def _examples(label: str, name: str) -> gr.Gallery:
    """The pairs of the analogies that ship, to choose from."""
    shown = []
    for example in _listed_examples():
        a, a_prime = (Image.open(EXAMPLES / example[role]) for role in ("a", "a_prime"))
        both = Image.new("RGB", (2 * a.width + 4, a.height), "white")
        both.paste(a, (0, 0))
        both.paste(a_prime, (a.width + 4, 0))
        shown.append((both, example["words"]))
    return gr.Gallery(
        shown,
        label=label,
        columns=len(shown),
        height="auto",
        format="jpeg",
        allow_preview=False,
        interactive=False,
        object_fit="contain",
        buttons=[],
        elem_id=name,
        elem_classes="examples",
    )


def _chosen(event: gr.SelectData) -> list[str]:
    """The files of the example that was clicked."""
    example = _listed_examples()[event.index]
    return [str(EXAMPLES / example[role]) for role in ("a", "a_prime", "b")]


def _chosen_pair(event: gr.SelectData) -> list[str]:
    """The pair of the example that was clicked."""
    return _chosen(event)[:2]


def _settings() -> list[Any]:
    """Prompt, seed, strength, and the fit."""
    with gr.Row():
        prompt = gr.Textbox(
            label="Prompt",
            info="what the base is told beside the pair; may stay empty",
            elem_id="prompt",
            min_width=220,
        )
        seed = gr.Number(0, label="Seed", info="of the noise", elem_id="seed", min_width=140)
        strength = gr.Slider(
            0,
            2,
            1,
            step=0.05,
            label="Strength",
            elem_id="strength",
            min_width=220,
            info="0 is the bare base, 1 as trained",
        )
    with gr.Row():
        fit = gr.Checkbox(
            False,
            label="Fit the mix to the pair first",
            elem_id="fit",
            min_width=220,
            info="slower, and often nearer to what the pair shows",
        )
        steps = gr.Slider(
            1, 60, 20, step=1, label="Steps of the fit", elem_id="fit-steps", min_width=220
        )
    return [prompt, seed, strength, fit, steps]


def _walk(
    desk: Desk, pictures: list[gr.Image], settings: list[Any]
) -> tuple[list[gr.Image], gr.Slider]:
    """The second pair, and the slider that walks to it."""
    with gr.Accordion("Walk to a second pair", open=False, elem_id="walking"):
        with gr.Row():
            second = [
                _picture("a of the second pair", "a2"),
                _picture("a′ of the second pair", "a2_prime"),
            ]
            with gr.Column(min_width=220):
                count = gr.Slider(2, MOST_STEPS, 7, step=1, label="Pictures on the way")
                button = gr.Button("Walk", elem_id="walk")
        examples = _examples("Or choose an example's pair", "second-examples")
        examples.select(_chosen_pair, None, second, queue=False, api_visibility="private")
        message = gr.HTML(elem_id="walk-message", padding=False)
        strip = _shown("The walk", "strip")
        weight = gr.Slider(
            0,
            1,
            0.5,
            step=0.01,
            label="On the way: 0 is the pair, 1 the second pair",
            elem_id="weight",
        )
        frame = _shown("b′ there", "frame")
    walked = gr.State(None)
    button.click(
        _walked(desk),
        [*pictures, *second, *settings, count, weight],
        [message, strip, frame, walked],
        concurrency_id="model",
        api_name="walk",
    )
    weight.change(
        _frame,
        [walked, weight],
        frame,
        show_progress="hidden",
        queue=False,
        api_visibility="private",
    )
    return second, weight


def _lora(
    desk: Desk,
    pictures: list[gr.Image],
    second: list[gr.Image],
    settings: list[Any],
    weight: gr.Slider,
) -> None:
    """The analogy as a LoRA file to download."""
    with gr.Accordion("Take the analogy with you: a LoRA file", open=False, elem_id="lora"):
        gr.Markdown(
            "A LoRA that diffusers and ComfyUI load on the same base. With a second pair "
            "it is the one where the slider stands."
        )
        with gr.Row():
            rank = gr.Number(0, label="Rank", info="smaller files keep less; 0 keeps all")
            dtype = gr.Dropdown(list(DTYPES), value="float32", label="Number format")
            button = gr.Button("Make the file", elem_id="compose")
        message = gr.HTML(elem_id="lora-message", padding=False)
        file = gr.File(label="The LoRA", interactive=False, elem_id="lora-file")
    button.click(
        _composed(desk),
        [*pictures, *second, *settings, weight, rank, dtype],
        [message, file],
        concurrency_id="model",
        api_name="lora",
    )


def _read_settings(prompt: str, seed: Any, strength: float, fit: bool, steps: int) -> Settings:
    return Settings(prompt or "", seed, strength, int(steps) if fit else 0)


def _complete(desk: Desk) -> Callable[..., Any]:
    def complete(progress: gr.Progress = PROGRESS, *given: Any) -> tuple[Any, ...]:
        with _told(progress) as problem:
            made = desk.complete(given[:3], _read_settings(*given[3:]))
            return words.said(made.notes), made.answer, made.sheet, words.look_at(made.look)
        return problem.html, None, None, ""

    return complete


def _walked(desk: Desk) -> Callable[..., Any]:
    def walk(progress: gr.Progress = PROGRESS, *given: Any) -> tuple[Any, ...]:
        paths, second, settings, (count, weight) = given[:3], given[3:5], given[5:10], given[10:]
        with _told(progress) as problem:
            made = desk.walk(paths, second, _read_settings(*settings), count)
            return words.said(made.notes), made.strip, made.frame(weight), made
        return problem.html, None, None, None

    return walk


def _frame(walked: Walk | None, weight: float) -> Any:
    return None if walked is None else walked.frame(weight)


def _composed(desk: Desk) -> Callable[..., Any]:
    def compose(progress: gr.Progress = PROGRESS, *given: Any) -> tuple[Any, ...]:
        paths, second, settings, rest = given[:3], given[3:5], given[5:10], given[10:]
        weight, rank, dtype = rest
        with _told(progress) as problem:
            settings_read = _read_settings(*settings)
            file, lines = desk.lora(paths, second, settings_read, weight, rank, dtype)
            return words.said(lines), str(file)
        return problem.html, None

    return compose


class Problem:
    """What is said where a button could not do its work."""

    html = ""


@contextmanager
def _told(progress: gr.Progress) -> Iterator[Problem]:
    """Show how far the block is; where it fails, put the reason in one sentence."""
    problem, started = Problem(), time.monotonic()

    def tell(what: str, done: int, total: int | None) -> None:
        left = ""
        if total and done < total:
            seconds = (time.monotonic() - started) / done * (total - done)
            left = f", {seconds:.0f} s left"
        progress((done, total), desc=f"{what}{left}")

    try:
        with listening(tell):
            yield problem
    except InputError as error:
        problem.html = words.refused(str(error))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            log.exception("a button failed")
            problem.html = words.refused(_unexpected(error))
        else:
            problem.html = words.refused(
                "the machine has too little memory for this; try smaller "
                "pictures, or without the fit"
            )
    except Exception as error:
        log.exception("a button failed")
        problem.html = words.refused(_unexpected(error))


def _unexpected(error: Exception) -> str:
    return f"that is a fault of ours ({type(error).__name__}); its details are in the server's log"
