"""Edit pictures as the bare base is told in words, a composition one step after another."""

from collections.abc import Sequence

from torch import Tensor

from lorweb_bench.data.composition import instruction_steps
from reference_model.bases.base import Base
from reference_model.model.grid_layout import context_sequence
from reference_model.model.panels import decode_answer
from reference_model.sampling import sample


def edit_told(
    base: Base,
    pictures: Tensor,
    instructions: Sequence[str],
    seeds: Sequence[int],
    steps: int | None = None,
) -> Tensor:
    """Pictures edited as a base is told.

    Args:
        base: The base, without an adapter.
        pictures: uint8 (batch, 3, height, width).
        instructions: One for each picture.
        seeds: Of each picture's noise.
        steps: Sampling steps; none: the base's own.

    Returns:
        Pictures of the same shape and type.
    """
    sequenced = context_sequence("edit", None, None, base.codec.encode(pictures))
    prompt = base.text_encoder(list(instructions))
    tokens = sample(base, sequenced, prompt, list(seeds), steps or base.sampling_steps)
    return decode_answer(base, "edit", tokens, sequenced)


def edit_in_turns(
    base: Base,
    pictures: Tensor,
    instructions: Sequence[str],
    seeds: Sequence[int],
    steps: int | None = None,
) -> Tensor:
    """Pictures edited as a base is told, of a composition one step after another.

    An editor is told its next step when it has done the last one, as in a conversation: each step
    is then one that it knows. Arguments and result are those of `edit_told`.
    """
    told = [instruction_steps(instruction) for instruction in instructions]
    edited = pictures.clone()
    for turn in range(max(map(len, told), default=0)):
        asked = [number for number, turns in enumerate(told) if turn < len(turns)]
        edited[asked] = edit_told(
            base,
            edited[asked],
            [told[number][turn] for number in asked],
            [seeds[number] for number in asked],
            steps,
        )
    return edited
