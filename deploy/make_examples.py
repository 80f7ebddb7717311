"""Make the example analogies that ship with the page in the browser.

python -P deploy/make_examples.py -o reference_model/assets/examples
"""

import argparse
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lorweb_bench.data.transformation_library import load_library

EDGE = 192
# By name: what is done, the photographs that play a and b, and what the page says of it.
EXAMPLES: dict[str, dict[str, Any]] = {
    "evening-light": {
        "family": "light_from",
        "parameters": {"shade": "orange", "side": "left"},
        "photographs": ("chelsea", "coffee"),
        "words": "orange light",
    },
    "oval": {
        "family": "oval_frame",
        "parameters": {"shade": "white", "size": 0.7},
        "photographs": ("astronaut", "chelsea"),
        "words": "an oval",
    },
    "half-negative": {
        "family": "half",
        "parameters": {"edit": "invert", "side": "top"},
        "photographs": ("coffee", "rocket"),
        "words": "half a negative",
    },
    "channels": {
        "family": "channel_swap",
        "parameters": {"order": "grb"},
        "photographs": ("rocket", "astronaut"),
        "words": "swapped colours",
    },
    "inferno": {
        "family": "false_colour",
        "parameters": {"palette": "inferno"},
        "photographs": ("chelsea", "coffee"),
        "words": "a colour map",
    },
}
PHOTOGRAPHS = {
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "astronaut": "astronaut.png",
    "rocket": "rocket.jpg",
}


def square(name: str) -> Image.Image:
    """The middle of a bundled photograph, as a square of `EDGE` pixels."""
    with (files("datagen") / "photographs" / PHOTOGRAPHS[name]).open("rb") as file:
        image = Image.open(file).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    cut = image.crop((left, top, left + side, top + side))
    return cut.resize((EDGE, EDGE), Image.Resampling.LANCZOS)


def main() -> None:
    """Write the photographs, a' of each example, and `examples.json`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", "--output", type=Path, required=True)
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    library = load_library("datagen")
    for name in PHOTOGRAPHS:
        square(name).save(folder / f"{name}.jpg", quality=92)
    listed = []
    for name, example in EXAMPLES.items():
        a, b = example["photographs"]
        changed = library.apply(example, np.asarray(square(a)))
        Image.fromarray(changed).save(folder / f"{name}.jpg", quality=92)
        files_of = {"a": f"{a}.jpg", "a_prime": f"{name}.jpg", "b": f"{b}.jpg"}
        listed.append({**files_of, "words": example["words"]})
    (folder / "examples.json").write_text(json.dumps(listed, indent=1) + "\n")


if __name__ == "__main__":
    main()
