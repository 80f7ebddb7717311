"""Kind colour: hues, saturation, channels, tints and palettes."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import COLOURS, NAMED_COLOUR, blend, gray3, luma, to_uint8
from datagen.transformations.declaration import Parameter, family, presets

KIND = "colour"
ORDERS = {"bgr": (2, 1, 0), "grb": (1, 0, 2), "rbg": (0, 2, 1)}  # where each channel is taken from
CHANNELS = {"red": 0, "green": 1, "blue": 2}
COLOUR_MAPS = {
    "jet": cv2.COLORMAP_JET,
    "viridis": cv2.COLORMAP_VIRIDIS,
    "inferno": cv2.COLORMAP_INFERNO,
    "ocean": cv2.COLORMAP_OCEAN,
    "twilight": cv2.COLORMAP_TWILIGHT,
    "cool": cv2.COLORMAP_COOL,
}
SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]], np.float32)


@family(
    "hue_shift",
    kind=KIND,
    presets=presets("degrees", 60, 120, 180, 240, 300),
    degrees=Parameter("turn around the hue circle", 0, 360, unit="degrees"),
    instruction="shift the hue by {degrees} degrees",
)
def hue_shift(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turn every hue around the hue circle."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(degrees / 360 * 256) % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


@family(
    "saturation",
    kind=KIND,
    presets=presets("factor", 0.3, 2.0, 3.0, 4.5),
    factor=Parameter("factor of the distance from gray", 0, 6),
    instruction="multiply the saturation by {factor}",
)
def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Scale each pixel's distance from its gray."""
    gray = luma(image).astype(np.float32)
    return cv2.merge([to_uint8(gray + (channel - gray) * factor) for channel in cv2.split(image)])


@family("grayscale", kind=KIND, instruction="make the picture grayscale")
def grayscale(image: np.ndarray) -> np.ndarray:
    """Replace each pixel by its luma."""
    return gray3(luma(image))


@family("sepia", kind=KIND, instruction="give the picture a sepia tone")
def sepia(image: np.ndarray) -> np.ndarray:
    """Give the picture the brown tones of an old photograph."""
    return cv2.transform(image, SEPIA)


def _order_words(order: str) -> str:
    names = {"r": "red", "g": "green", "b": "blue"}
    return "take the red, green and blue channels from " + ", ".join(
        names[letter] for letter in order
    )


@family(
    "channel_swap",
    kind=KIND,
    presets=presets("order", *ORDERS),
    order=Parameter("channel that red, green and blue are taken from", choices=tuple(ORDERS)),
    instruction=_order_words,
)
def channel_swap(image: np.ndarray, order: str) -> np.ndarray:
    """Take red, green and blue from the channels that `order` spells."""
    return image[..., ORDERS[order]]


@family(
    "channel_drop",
    kind=KIND,
    presets=presets("channel", *CHANNELS),
    channel=Parameter("channel that becomes zero", choices=tuple(CHANNELS)),
    instruction="set the {channel} channel to zero",
)
def channel_drop(image: np.ndarray, channel: str) -> np.ndarray:
    """Set one channel to zero."""
    result = image.copy()
    result[..., CHANNELS[channel]] = 0
    return result


@family(
    "channel_only",
    kind=KIND,
    presets=presets("channel", "red", "blue"),
    channel=Parameter("channel that is shown", choices=tuple(CHANNELS)),
    instruction="show only the {channel} channel as a gray picture",
)
def channel_only(image: np.ndarray, channel: str) -> np.ndarray:
    """Show one channel as gray."""
    return gray3(np.ascontiguousarray(image[..., CHANNELS[channel]]))


@family(
    "tint",
    kind=KIND,
    presets=presets(
        "colour_name strength",
        ("red", 0.45),
        ("orange", 0.45),
        ("yellow", 0.45),
        ("green", 0.45),
        ("cyan", 0.45),
        ("blue", 0.45),
        ("magenta", 0.45),
    ),
    colour_name=NAMED_COLOUR,
    strength=Parameter("share of the colour", 0, 1),
    instruction="tint the picture {colour_name} with strength {strength}",
)
def tint(image: np.ndarray, colour_name: str, strength: float) -> np.ndarray:
    """Blend the picture with a colour."""
    return blend(image, COLOURS[colour_name], strength)


@family(
    "duotone",
    kind=KIND,
    presets=presets(
        "shadows highlights",
        ("navy", "yellow"),
        ("purple", "orange"),
        ("black", "cyan"),
        ("red", "cream"),
        ("green", "pink"),
        ("brown", "cyan"),
    ),
    shadows=NAMED_COLOUR,
    highlights=NAMED_COLOUR,
    instruction="make the picture a duotone from {shadows} shadows to {highlights} highlights",
)
def duotone(image: np.ndarray, shadows: str, highlights: str) -> np.ndarray:
    """Map luma to a ramp between two colours."""
    ramp = np.linspace(COLOURS[shadows], COLOURS[highlights], 256)
    return to_uint8(ramp)[luma(image)]


@family("invert", kind=KIND, instruction="invert the colours")
def invert(image: np.ndarray) -> np.ndarray:
    """Invert every level."""
    return cv2.bitwise_not(image)


@family("lightness_invert", kind=KIND, instruction="invert the lightness and keep the hues")
def lightness_invert(image: np.ndarray) -> np.ndarray:
    """Invert the lightness in CIELAB; hues stay."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = 255 - lab[..., 0]
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def _temperature_words(amount: float) -> str:
    return f"make the picture {'warmer' if amount > 0 else 'cooler'} by {abs(amount):g}"


@family(
    "temperature",
    kind=KIND,
    presets=presets("amount", -1.0, -0.6, 0.6, 1.0),
    amount=Parameter("warmth, from cold to warm", -1, 1),
    instruction=_temperature_words,
)
def temperature(image: np.ndarray, amount: float) -> np.ndarray:
    """Make the picture warmer, or cooler for negative amounts, by gains of the channels."""
    gains = np.array([1 + 0.5 * amount, 1 + 0.05 * amount, 1 - 0.6 * amount], np.float32)
    return to_uint8(image * gains)


@family(
    "colourise",
    kind=KIND,
    presets=presets("hue", 0, 60, 120, 180, 240, 300),
    hue=Parameter("turn around the hue circle", 0, 360, unit="degrees"),
    instruction="turn the picture into shades of the hue at {hue} degrees",
)
def colourise(image: np.ndarray, hue: float) -> np.ndarray:
    """Give every pixel one hue and saturation at its own luma."""
    hls = np.empty(image.shape, np.uint8)
    hls[..., 0] = round(hue / 360 * 256) % 256
    hls[..., 1] = luma(image)
    hls[..., 2] = 170
    return cv2.cvtColor(hls, cv2.COLOR_HLS2RGB_FULL)


@family(
    "false_colour",
    kind=KIND,
    presets=presets("palette", *COLOUR_MAPS),
    palette=Parameter("colour map", choices=tuple(COLOUR_MAPS)),
    instruction="map the brightness to the {palette} colour map",
)
def false_colour(image: np.ndarray, palette: str) -> np.ndarray:
    """Map luma to one of OpenCV's colour maps."""
    mapped = cv2.applyColorMap(luma(image), COLOUR_MAPS[palette])
    return cv2.cvtColor(mapped, cv2.COLOR_BGR2RGB)


@family(
    "hue_wheel",
    kind=KIND,
    presets=presets("turns", 1.0, 2.0, 3.0),
    turns=Parameter("turns of the hue circle from black to white", 0.25, 4),
    instruction="let the hue run {turns:g} times around the circle from dark to bright",
)
def hue_wheel(image: np.ndarray, turns: float) -> np.ndarray:
    """Let the hue run around the circle with rising luma."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] = (luma(image) * turns).astype(np.int64) % 256
    hsv[..., 1] = np.maximum(hsv[..., 1], 150)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
