"""A frozen transformer whose blocks hold their weights in 8 or 4 bits, by bitsandbytes.

On the GPU, and more slowly on the CPU.

The layers outside the blocks stay as they are, as they are small. 8 bits are LLM.int8() (arXiv
2208.07339), 4 bits are NF4 with quantised scales (arXiv 2305.14314).
"""

import importlib.util
import re
from typing import Any

import torch
from torch import nn

from lorweb_bench.errors import InputError
from reference_model.config import ADAPTED


def quantize(transformer: nn.Module, bits: str, dtype: torch.dtype) -> None:
    """Replace every linear layer of the blocks by one of `8bit` or `4bit` that computes in `dtype`.

    Before any adapter is put in.

    Raises InputError when bitsandbytes is not installed.
    """
    require_bitsandbytes(f"training.quantize: {bits}")
    chosen = [
        n
        for n, m in transformer.named_modules()
        if isinstance(m, nn.Linear) and re.fullmatch(ADAPTED, n)
    ]
    for name in chosen:
        parent, _, attribute = name.rpartition(".")
        layer = transformer.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        setattr(transformer.get_submodule(parent), attribute, _quantized(layer, bits, dtype))
    setattr(
        transformer, f"is_loaded_in_{bits}", True
    )  # what PEFT asks before it puts in its own layers for bitsandbytes


def require_bitsandbytes(setting: str) -> None:
    """InputError that names the setting and what to install, where bitsandbytes is missing."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            f"{setting}: needs bitsandbytes, which is not installed; `pip install bitsandbytes`, "
            "or leave the setting out"
        )


def _quantized(layer: nn.Linear, bits: str, dtype: torch.dtype) -> nn.Module:
    import bitsandbytes as bnb

    shape, has_bias = (layer.in_features, layer.out_features), layer.bias is not None
    replacement: Any
    if bits == "4bit":
        replacement = bnb.nn.Linear4bit(
            *shape, bias=has_bias, compute_dtype=dtype, compress_statistics=True, quant_type="nf4"
        )
        replacement.weight = bnb.nn.Params4bit(
            layer.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4"
        )
    else:
        replacement = bnb.nn.Linear8bitLt(*shape, bias=has_bias, has_fp16_weights=False)
        replacement.weight = bnb.nn.Int8Params(
            layer.weight.data, requires_grad=False, has_fp16_weights=False
        )
    if has_bias:
        replacement.bias = nn.Parameter(layer.bias.data, requires_grad=False)
    quantized: nn.Module = replacement.to("cuda" if torch.cuda.is_available() else "cpu")
    return quantized
