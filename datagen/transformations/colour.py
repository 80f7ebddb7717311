"""Kind colour: hues, saturation, channels, tints and palettes."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.transformations.arrays import blend, choose, colour, gray3, luma, to_uint8
from datagen.transformations.family import Family, presets

KIND = "colour"
ORDERS = {order: tuple("rgb".index(letter) for letter in order) for order in ("bgr", "grb", "rbg")}
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


def hue_shift(image: np.ndarray, degrees: float) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(degrees / 360 * 256) % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    gray = luma(image)[..., None].astype(np.float32)
    return to_uint8(gray + (image - gray) * factor)


def grayscale(image: np.ndarray) -> np.ndarray:
    return gray3(luma(image))


def sepia(image: np.ndarray) -> np.ndarray:
    return cv2.transform(image, SEPIA)


def channel_swap(image: np.ndarray, order: str) -> np.ndarray:
    return image[..., choose(ORDERS, order, "order of channels")]


def channel_drop(image: np.ndarray, channel: str) -> np.ndarray:
    result = image.copy()
    result[..., choose(CHANNELS, channel, "channel")] = 0
    return result


def channel_only(image: np.ndarray, channel: str) -> np.ndarray:
    return gray3(np.ascontiguousarray(image[..., choose(CHANNELS, channel, "channel")]))


def tint(image: np.ndarray, colour_name: str, strength: float) -> np.ndarray:
    return blend(image, colour(colour_name), strength)


def duotone(image: np.ndarray, shadows: str, highlights: str) -> np.ndarray:
    ramp = np.linspace(colour(shadows), colour(highlights), 256)
    return to_uint8(ramp)[luma(image)]


def invert(image: np.ndarray) -> np.ndarray:
    return cv2.bitwise_not(image)


def lightness_invert(image: np.ndarray) -> np.ndarray:
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = 255 - lab[..., 0]
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def temperature(image: np.ndarray, amount: float) -> np.ndarray:
    gains = np.array([1 + 0.5 * amount, 1 + 0.05 * amount, 1 - 0.6 * amount], np.float32)
    return to_uint8(image * gains)


def colourise(image: np.ndarray, hue: float) -> np.ndarray:
    hls = np.empty(image.shape, np.uint8)
    hls[..., 0] = round(hue / 360 * 256) % 256
    hls[..., 1] = luma(image)
    hls[..., 2] = 170
    return cv2.cvtColor(hls, cv2.COLOR_HLS2RGB_FULL)


def false_colour(image: np.ndarray, palette: str) -> np.ndarray:
    mapped = cv2.applyColorMap(luma(image), choose(COLOUR_MAPS, palette, "palette"))
    return cv2.cvtColor(mapped, cv2.COLOR_BGR2RGB)


def hue_wheel(image: np.ndarray, turns: float) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] = (luma(image) * turns).astype(np.int64) % 256
    hsv[..., 1] = np.maximum(hsv[..., 1], 150)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _order_words(order: str) -> str:
    names = {"r": "red", "g": "green", "b": "blue"}
    return "take the red, green and blue channels from " + ", ".join(
        names[letter] for letter in order
    )


def _temperature_words(amount: float) -> str:
    return f"make the picture {'warmer' if amount > 0 else 'cooler'} by {abs(amount):g}"


FAMILIES = (
    Family(
        "hue_shift",
        KIND,
        True,
        {"degrees": "degrees around the hue circle, 0-360"},
        presets("degrees", 60, 120, 180, 240, 300),
        hue_shift,
        "shift the hue by {degrees} degrees".format,
    ),
    Family(
        "saturation",
        KIND,
        True,
        {"factor": "factor of the distance from gray, 0-6"},
        presets("factor", 0.3, 2.0, 3.0, 4.5),
        saturation,
        "multiply the saturation by {factor}".format,
    ),
    Family(
        "grayscale", KIND, True, {}, presets(""), grayscale, "make the picture grayscale".format
    ),
    Family("sepia", KIND, True, {}, presets(""), sepia, "give the picture a sepia tone".format),
    Family(
        "channel_swap",
        KIND,
        True,
        {"order": "bgr, grb or rbg, where each channel is taken from"},
        presets("order", *ORDERS),
        channel_swap,
        _order_words,
    ),
    Family(
        "channel_drop",
        KIND,
        True,
        {"channel": "red, green or blue"},
        presets("channel", *CHANNELS),
        channel_drop,
        "set the {channel} channel to zero".format,
    ),
    Family(
        "channel_only",
        KIND,
        True,
        {"channel": "red, green or blue"},
        presets("channel", "red", "blue"),
        channel_only,
        "show only the {channel} channel as a gray picture".format,
    ),
    Family(
        "tint",
        KIND,
        True,
        {"colour_name": "a named colour", "strength": "share of the colour, 0-1"},
        presets(
            "colour_name strength",
            ("red", 0.45),
            ("orange", 0.45),
            ("yellow", 0.45),
            ("green", 0.45),
            ("cyan", 0.45),
            ("blue", 0.45),
            ("magenta", 0.45),
        ),
        tint,
        "tint the picture {colour_name} with strength {strength}".format,
    ),
    Family(
        "duotone",
        KIND,
        True,
        {"shadows": "a named colour", "highlights": "a named colour"},
        presets(
            "shadows highlights",
            ("navy", "yellow"),
            ("purple", "orange"),
            ("black", "cyan"),
            ("red", "cream"),
            ("green", "pink"),
            ("brown", "cyan"),
        ),
        duotone,
        "make the picture a duotone from {shadows} shadows to {highlights} highlights".format,
    ),
    Family("invert", KIND, True, {}, presets(""), invert, "invert the colours".format),
    Family(
        "lightness_invert",
        KIND,
        True,
        {},
        presets(""),
        lightness_invert,
        "invert the lightness and keep the hues".format,
    ),
    Family(
        "temperature",
        KIND,
        True,
        {"amount": "warmth, -1 (cold) to 1 (warm)"},
        presets("amount", -1.0, -0.6, 0.6, 1.0),
        temperature,
        _temperature_words,
    ),
    Family(
        "colourise",
        KIND,
        True,
        {"hue": "degrees around the hue circle, 0-360"},
        presets("hue", 0, 60, 120, 180, 240, 300),
        colourise,
        "turn the picture into shades of the hue at {hue} degrees".format,
    ),
    Family(
        "false_colour",
        KIND,
        True,
        {"palette": ", ".join(COLOUR_MAPS)},
        presets("palette", *COLOUR_MAPS),
        false_colour,
        "map the brightness to the {palette} colour map".format,
    ),
    Family(
        "hue_wheel",
        KIND,
        True,
        {"turns": "turns of the hue circle from black to white, 0.25-4"},
        presets("turns", 1.0, 2.0, 3.0),
        hue_wheel,
        "let the hue run {turns:g} times around the circle from dark to bright".format,
    ),
)
