"""What a result was computed with: Python, the machine, and the packages that move a number."""

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

# The packages that compute images and numbers; another version may move a pixel by a level.
COMPUTING = ("numpy", "opencv-python-headless", "pillow", "scipy")
# What metrics with learned weights compute with besides.
LEARNED = ("torch", "torchvision", "open_clip_torch", "lpips")


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The installed version of each package; "not installed as a package" where it has none.

    >>> list(versions(["numpy"]))
    ['numpy']
    """
    return {package: _version(package) for package in packages}


def environment(learned: bool = False) -> dict[str, str]:
    """What scores are computed with on this machine.

    Args:
        learned: Whether a metric with learned weights is among them.

    Returns:
        Versions by name: `python`, `platform`, `lorweb-bench`, and the computing packages.
    """
    packages = ("lorweb-bench", *COMPUTING, *(LEARNED if learned else ()))
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **versions(packages),
    }


def build_environment() -> dict[str, str]:
    """What the pixels of a build depend on: the machine's class, and the computing packages."""
    return {"machine": platform.machine(), **versions(COMPUTING)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"
