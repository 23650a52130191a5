"""
Weather, light and movement that a set does not show: pixels change, nothing moves.

Each takes an RGB image uint8 `[H, W, 3]` and a strength above 0 up to 1, and gives a new image of
that size. They are cheap pictures of what a camera sees, not physics: they keep a network from
trusting clear air, daylight and sharp edges.
"""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Layer = NDArray[np.float32]
FRACTION = 4
"""Bits after the point of coordinates that lines are drawn with."""


def fog(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Mix in the colour of the air, more with distance, which grows towards a horizon."""
    height, width = image.shape[:2]
    horizon = rng.uniform(0.3, 0.55) * height
    # Along a flat road the distance of a row grows as 1 / (row - horizon); above, all is far.
    below = np.maximum(np.arange(height, dtype=np.float32) - horizon, 0.5)
    far = np.minimum(0.12 * height / below, 1.0)
    far = cv2.GaussianBlur(far[:, None], (0, 0), 0.06 * height)
    banks = _clouds(rng, height, width, cells=3)
    density = rng.uniform(0.7, 1.2) * 2.2 * strength
    through = np.exp(-density * far * (0.85 + 0.3 * banks))
    air = rng.uniform(185, 225) + rng.uniform(-6, 6, 3)
    return _mixed(image, air * _daylight(image), 1 - through)


def rain(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Draw falling streaks, near and far ones, under a duller light."""
    height, width = image.shape[:2]
    light = _daylight(image)
    dull = _curve(image, lambda v: v * (1 - 0.3 * strength))
    dull = _mixed(dull, np.full(3, rng.uniform(150, 190) * light), np.float32(0.2 * strength))
    slant = np.radians(90 + rng.uniform(-20, 20))
    streaks = np.zeros((height, width), np.float32)
    for length, density, weight in ((0.05, 0.010, 0.5), (0.12, 0.003, 1.0)):
        drops = max(1, round(density * strength * height * width))
        tops = rng.uniform((-0.1 * width, -0.1 * height), (1.1 * width, height), (drops, 2))
        fall = length * height * rng.uniform(0.7, 1.3, (drops, 1)) * (np.cos(slant), np.sin(slant))
        ends = np.stack((tops, tops + fall), 1) * (1 << FRACTION)
        cv2.polylines(streaks, ends.round().astype(np.int32), False, weight, 1, cv2.LINE_8,
                      FRACTION)
    streaks = cv2.GaussianBlur(streaks, (3, 3), 0.6)
    colour = np.full(3, rng.uniform(195, 225) * max(light, 0.5))
    return _mixed(dull, colour, np.minimum(0.35 * streaks, 0.6))


def snow(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Draw falling flakes, near and far ones, in pale air."""
    height, width = image.shape[:2]
    light = _daylight(image)
    pale = _mixed(image, np.full(3, rng.uniform(190, 220) * light), np.float32(0.35 * strength))
    slant, scale = rng.uniform(-35, 35), height / 256
    flakes = np.zeros((height, width), np.float32)
    for size, density in ((0.6, 0.006), (1.2, 0.0016), (2.4, 0.0003)):
        dots = (rng.random((height, width), np.float32) < density * strength).astype(np.float32)
        dots = _spread(dots, _line(max(1.0, 2.5 * size * scale), 90 + slant))
        soft = cv2.GaussianBlur(dots, (0, 0), max(size * scale, 0.4))
        flakes = np.maximum(flakes, soft / max(float(soft.max()), 1e-6))
    colour = np.full(3, 245 * max(light, 0.6))
    return _mixed(pale, colour, np.minimum(1.1 * flakes, 0.85))


def low_sun(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Let a low sun shine into the lens: a glare, a warm veil, and shadows that close."""
    height, width = image.shape[:2]
    x, y = rng.uniform(0, 1) * width, rng.uniform(0.05, 0.45) * height
    rows, columns = np.ogrid[:height, :width]
    away = np.hypot(columns - x, rows - y).astype(np.float32) / height
    core = np.exp(-(away / 0.12) ** 2)
    veil = 0.5 * np.exp(-away / 0.35) + 0.1
    warm = np.array([1.0, rng.uniform(0.86, 0.95), rng.uniform(0.62, 0.8)], np.float32)
    added = np.minimum(1.6 * strength * core, 1)[..., None] + strength * veil[..., None] * warm
    closed = _curve(image, lambda v: v ** (1 + 0.5 * strength))
    # Light adds to light: what is white stays so.
    return _rounded(255 - (255 - closed) * (1 - np.minimum(added, 1)))


def night(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Turn the light down, but for lamps and the cone of headlights, and the sensor's gain up."""
    height, width = image.shape[:2]
    gain = 1 - strength * rng.uniform(0.55, 0.75)
    rows, columns = np.ogrid[:height, :width]
    across = (columns / width - rng.uniform(0.35, 0.65)) / 0.33
    along = (rows / height - 0.85) / 0.3
    cone = np.exp(-across ** 2 - along ** 2).astype(np.float32)
    light = gain + (1 - gain) * 0.5 * cone
    values = image.astype(np.float32) / 255
    grey = cv2.cvtColor(values, cv2.COLOR_RGB2GRAY)
    values = grey[..., None] + (values - grey[..., None]) * (1 - 0.4 * strength)
    # What is nearly white amid what is not may be a lamp, which shines by night as well.
    around = cv2.blur(grey, (width // 4 | 1, height // 3 | 1))
    lamp = np.clip((grey - 0.9) / 0.1, 0, 1) * (around < 0.4)
    tint = np.array([1 - 0.1 * strength, 1 - 0.04 * strength, 1 + 0.06 * strength], np.float32)
    dark = values ** (1 + 0.5 * strength) * tint * np.maximum(light, lamp)[..., None]
    shot = rng.standard_normal(image.shape, np.float32) * (0.01 + 0.04 * np.sqrt(dark))
    return _rounded(255 * (dark + strength * shot))


def motion_blur(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Move the camera while the shutter is open, mostly sideways."""
    length = strength * 0.045 * image.shape[1]
    line = _line(max(length, 2.0), rng.normal(0, 25))
    return cv2.filter2D(image, -1, line, borderType=cv2.BORDER_REFLECT_101)


EFFECTS: Mapping[str, Callable[[Image, np.random.Generator, float], Image]] = {
    'low_sun': low_sun, 'night': night, 'fog': fog, 'rain': rain, 'snow': snow,
    'motion_blur': motion_blur}
"""Name in the settings -> effect, in the order in which they lie between a street and a sensor."""


def _mixed(image: Image, colour: NDArray[np.float64], share: Layer | np.float32) -> Image:
    """Mix a colour into an image, by a share for all or for each pixel `[H, W]`."""
    share = np.asarray(share, np.float32)
    share = share[..., None] if share.ndim else share
    return _rounded(image * (1 - share) + colour.astype(np.float32) * share)


def _rounded(values: NDArray[np.floating]) -> Image:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


def _daylight(image: Image) -> float:
    """Tell how light it is, 0.2 to 1: fog, drops and flakes are as bright as what lights them."""
    bright = np.percentile(cv2.cvtColor(image[::4, ::4], cv2.COLOR_RGB2GRAY), 90)
    return float(np.clip(bright / 170, 0.2, 1))


def _curve(image: Image, curve: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Image:
    """Send all values, 0..1, through a curve."""
    return cv2.LUT(image, _rounded(255 * curve(np.linspace(0, 1, 256))))


def _clouds(rng: np.random.Generator, height: int, width: int, cells: int) -> Layer:
    """Give soft random values, 0..1, that vary over a few cells."""
    coarse = rng.random((cells, 2 * cells), np.float32)
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)


def _line(length: float, degrees: float) -> Layer:
    """Give a kernel that sums to 1: a line of this length in pixels through the middle."""
    size = 2 * int(np.ceil(length / 2)) + 1
    kernel = np.zeros((size, size), np.float32)
    middle = size // 2
    step = length / 2 * np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    ends = np.stack((middle - step, middle + step)) * (1 << FRACTION)
    cv2.polylines(kernel, [ends.round().astype(np.int32)], False, 1.0, 1, cv2.LINE_8, FRACTION)
    return kernel / kernel.sum()


def _spread(dots: Layer, kernel: Layer) -> Layer:
    return cv2.filter2D(dots, -1, kernel, borderType=cv2.BORDER_CONSTANT)
