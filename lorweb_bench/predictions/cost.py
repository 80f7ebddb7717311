"""What predictions take, as it is kept with them: memory, sampling steps, and the device."""

import sys
from typing import Any


def cost_of(method: Any) -> dict[str, Any]:
    """`peak_memory_bytes`, `sampling_steps` and `device` of a method in this process, as `Cost` has them."""
    device = str(getattr(method, "device", "cpu"))
    return {
        "peak_memory_bytes": peak_memory(),
        "sampling_steps": getattr(method, "sampling_steps", None),
        "device": f"{device} ({name})" if (name := gpu_name(device)) else device,
    }


def gpu_name(device: str) -> str | None:
    """What a CUDA device is called, or None for another one."""
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda") or not torch.cuda.is_initialized():
        return None
    return str(torch.cuda.get_device_name(device))


def peak_memory() -> int | None:
    """The most bytes held so far: on the GPU where PyTorch uses one in this process, else by the process itself."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)
