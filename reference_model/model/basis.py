"""The basis: one PEFT LoRA of rank N*r in every adapted linear layer, and the gate that mixes its N
elements.

sum_n e[n] B_n (A_n x) = B_cat diag(e repeated r times) A_cat x, so a per-sample scale on the output
of `lora_A` is the whole of the mix (equations of arXiv 2602.15727). Without gates the same code is
a plain LoRA.
"""

import json
import re
from collections.abc import Callable

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from lorweb_bench.errors import InputError
from reference_model.config import ADAPTED


class Basis:
    """The LoRA layers of one transformer, in the order of its modules, and the gates of the batch
    that runs.

    `gates` is (layers, batch, elements) or None; it must stay in place from the forward pass
    through the backward pass, because gradient checkpointing runs the forward pass again.
    """

    def __init__(
        self, transformer: nn.Module, elements: int, rank: int, alpha: float, targets: str = ADAPTED
    ) -> None:
        self.transformer, self.elements, self.rank, self.alpha = transformer, elements, rank, alpha
        self._scales: tuple[Tensor, ...] | None = None
        self.gates = None
        # PEFT divides alpha by the total rank elements * rank; the paper divides by the rank of one
        # element.
        config = LoraConfig(
            r=elements * rank,
            lora_alpha=alpha * elements,
            target_modules=_linear_names(transformer, targets),
            bias="none",
        )
        inject_adapter_in_model(config, transformer)
        self.layers = {
            n: m
            for n, m in transformer.named_modules()
            if hasattr(m, "lora_A") and "default" in m.lora_A
        }
        for parameter in self.parameters():
            if parameter.dtype in (
                torch.float16,
                torch.bfloat16,
            ):  # on a base in half precision the trained weights stay whole
                parameter.data = parameter.data.float()
        for index, layer in enumerate(self.layers.values()):
            layer.lora_A["default"].register_forward_hook(self._gate(index))

    @property
    def gates(self) -> Tensor | None:
        """Coefficients (layers, batch, elements) that the basis is mixed by."""
        return self._gates

    @gates.setter
    def gates(self, gates: Tensor | None) -> None:
        self._gates = gates
        # Once for all layers: indexing in each layer would make a gradient of the size of all
        # gates, per layer.
        self._scales = None if gates is None else gates.repeat_interleave(self.rank, dim=2).unbind()

    def _gate(self, index: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def scale(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if self._scales is None:
                return output
            scale = self._scales[index].to(output.dtype)
            return output * (
                scale if output.ndim == 2 else scale[:, None]
            )  # the input of norm.linear has no token axis

        return scale

    def start_at_official_scale(self) -> None:
        """Draw A anew at the scale of the authors' code.

        It is uniform within 1 / sqrt(in * r), a standard deviation of .0052 for FLUX's 3,072 and
        rank 4; PEFT's is wider by sqrt(r).
        """
        for layer in self.layers.values():
            weight = layer.lora_A["default"].weight
            if not weight.is_meta:
                bound = (weight.shape[1] * self.rank) ** -0.5
                nn.init.uniform_(weight, -bound, bound)

    def parameters(self) -> list[nn.Parameter]:
        """The trainable weights, A then B of each layer."""
        return [
            m["default"].weight
            for layer in self.layers.values()
            for m in (layer.lora_A, layer.lora_B)
        ]

    def tensors(self) -> dict[str, Tensor]:
        """The weights under the names that stock diffusers loads.

        `transformer.<module path>.lora_A.weight`.
        """
        pairs = {
            n: {"lora_A": m.lora_A["default"].weight, "lora_B": m.lora_B["default"].weight}
            for n, m in self.layers.items()
        }
        return {
            f"transformer.{n}.{part}.weight": w
            for n, parts in pairs.items()
            for part, w in parts.items()
        }

    def header(self) -> dict[str, str]:
        """What stock diffusers reads in the header of a file of these weights.

        Without it, it would take alpha to be the rank.
        """
        config = {
            "r": self.elements * self.rank,
            "lora_alpha": self.alpha * self.elements,
            "target_modules": list(self.layers),
        }
        return {
            "format": "pt",
            "lora_adapter_metadata": json.dumps({f"transformer.{k}": v for k, v in config.items()}),
        }

    def load(self, tensors: dict[str, Tensor], origin: str) -> None:
        """Set the weights; InputError says which layers or shapes differ."""
        parameters = self.tensors()
        if missing := sorted(parameters.keys() - tensors.keys()):
            raise InputError(
                f"{origin}: {len(missing)} weights are missing, `{missing[0]}` first; it was made "
                "for another base or cut short"
            )
        if extra := sorted(tensors.keys() - parameters.keys()):
            raise InputError(
                f"{origin}: {len(extra)} weights fit no layer of the base, `{extra[0]}` first; it "
                "was made for another base"
            )
        for name, parameter in parameters.items():
            if parameter.shape != tensors[name].shape:
                raise InputError(
                    f"{origin}: `{name}` is {tuple(tensors[name].shape)}, the base and config ask "
                    f"for {tuple(parameter.shape)}"
                )
            with torch.no_grad():
                parameter.copy_(tensors[name])


def _linear_names(transformer: nn.Module, targets: str) -> list[str]:
    names = [
        n
        for n, m in transformer.named_modules()
        if isinstance(m, nn.Linear) and re.fullmatch(targets, n)
    ]
    if not names:
        raise InputError(
            f"targets `{targets}` match no linear layer of the base; the default `{ADAPTED}` takes "
            "every block"
        )
    return names
