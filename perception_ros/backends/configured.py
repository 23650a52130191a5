"""Models as a configuration describes them: the node's and the replay's are opened here alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
import logging
import threading

from perception_ros.backends import Engine, EngineOptions, open_engine
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.config import ModelConfig, PerceptionConfig
from perception_ros.core.errors import ConfigError
from perception_ros.core.ignore import IgnoreMask
from perception_ros.core.model import Model
from perception_ros.tracking.images import ImageTracker

_log = logging.getLogger(__name__)


def ignore_masks(config: PerceptionConfig) -> dict[str, IgnoreMask]:
    """Return the masks of the cameras that have one.

    :raises ConfigError: a file cannot be read.
    """
    return {
        camera: IgnoreMask(settings.ignore_mask)
        for camera, settings in config.cameras.items()
        if settings.ignore_mask
    }


def open_model(
    name: str,
    config: PerceptionConfig,
    *,
    ignore: Mapping[str, IgnoreMask],
    current: Callable[[], PerceptionConfig] | None = None,
    cancel: threading.Event | None = None,
) -> Model:
    """Open the bundle and the engine of a model, warmed up; the engine is the caller's to close.

    :param current: the configuration of now, whose thresholds count, where it may change.
    :param cancel: set by whoever no longer wants it.
    :raises PerceptionError: the bundle or the backend cannot be used.
    """
    bundle = Bundle.load(config.models[name].bundle or name)
    settings, detection = config.models[name], bundle.manifest.detection
    track = None
    if settings.tracking == 'bytetrack':
        if detection is None:
            raise ConfigError(f'models.{name}.tracking: {bundle.manifest.name} finds no boxes')
        track = ImageTracker(settings.track_lost_after_s).ids
    engine = open_model_engine(name, bundle, settings, config.backend, cancel)
    of_bundle = detection.score_threshold if detection else 0.0

    def score_threshold(camera: str) -> float:
        return (current() if current else config).score_threshold(camera, name, of_bundle)

    return Model(
        name, bundle.manifest, engine, score_threshold=score_threshold, ignore=ignore, track=track
    )


def open_model_engine(
    name: str,
    bundle: Bundle,
    settings: ModelConfig,
    backend: str,
    cancel: threading.Event | None = None,
) -> Engine:
    """Open a model's engine and warm it up.

    :param backend: of models that name none.
    :raises BackendError: it does not work here.
    """
    engine = open_engine(
        bundle,
        settings.backend or backend,
        # A model's parameters have the names of the options.
        EngineOptions(
            **{
                option.name: getattr(settings, option.name)
                for option in fields(EngineOptions)
                if option.name in ModelConfig.model_fields
            },
            cancel=cancel,
        ),
        fallback=settings.fallback,
        fallback_device=settings.fallback_device,
        background=settings.build == 'background',
    )
    engine.warm_up()
    info = engine.info
    _log.info(
        'model %s: bundle %s, %s, on %s %s, %s, batch 1..%d', name, bundle.manifest.name,
        ', '.join(bundle.manifest.tasks), info.backend, info.device, info.precision,
        info.max_batch,
    )
    return engine
