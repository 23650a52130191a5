"""Other light, another camera: changes of pixels that move nothing."""

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_training.config.data import AugmentConfig
from perception_training.data.weather import EFFECTS


def recolour(image: NDArray[np.uint8], rng: np.random.Generator,
             config: AugmentConfig) -> NDArray[np.uint8]:
    """Change light and weather of an image `[H, W, 3]`, and perhaps blur it and add noise."""
    if config.colour > 0:
        image = _relight(image, rng, config.colour)
    for name, effect in EFFECTS.items():
        settings = getattr(config, name)
        if settings.probability > 0 and rng.random() < settings.probability:
            image = effect(image, rng, settings.strength * rng.uniform(1 / 3, 1))
    if config.blur > 0 and rng.random() < config.blur:
        image = cv2.GaussianBlur(image, (3, 3), 0)
    if config.noise > 0:
        grain = rng.normal(0, rng.uniform(0, config.noise), image.shape)
        image = (image + grain).clip(0, 255).astype(np.uint8)
    return image


def _relight(image: NDArray[np.uint8], rng: np.random.Generator,
             strength: float) -> NDArray[np.uint8]:
    # Gamma, contrast, brightness and white balance are one table of 256 values a channel.
    ramp = np.linspace(0, 1, 256)
    gamma = np.exp(rng.uniform(-0.5, 0.5) * strength)
    gain = np.exp(rng.uniform(-0.25, 0.25) * strength)
    shift = rng.uniform(-0.12, 0.12) * strength
    balance = np.exp(rng.uniform(-0.1, 0.1, 3) * strength)
    table = np.clip(((ramp[:, None] ** gamma - 0.5) * gain + 0.5 + shift) * balance, 0, 1)
    image = cv2.LUT(image, (table * 255).astype(np.uint8)[None])
    saturation = 0.0 if rng.random() < 0.05 else float(np.exp(rng.uniform(-0.6, 0.6) * strength))
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)
