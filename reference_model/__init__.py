"""The reference model: LoRWeB on a frozen base, trained, applied, taken apart.

And what it is compared with.
"""

import logging
import warnings

# What libraries print at import or at loading, and nobody can act on: by logger, a part of the
# line. Their other lines are kept.
_LINES = {
    # PEFT imports bitsandbytes where it is installed
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward",
    "diffusers.models.modeling_utils": "should be kept in float32: [].",  # an empty list of layers
    # said in every process that did not ask for it
    "transformers.distributed.tensor_parallel": "layers were not sharded",
}
for _logger, _line in _LINES.items():
    logging.getLogger(_logger).addFilter(
        lambda record, line=_line: line not in record.getMessage()  # type: ignore[misc]
    )
# The name that every diffusers from 0.36 on knows.
warnings.filterwarnings("ignore", message="`torch_dtype` is deprecated", category=FutureWarning)
