"""What the topics of results are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from perception_ros.core.config import PerceptionConfig

LATENCY, HEALTH = 'latency', 'health'
"""Of the perception node; `health` is of the fusion node too."""

PAINTED_POINTS, OBSTACLE_POINTS = 'points/painted', 'points/obstacles'
PAINTED_LABELS = f'{PAINTED_POINTS}/label_info'
OBJECTS = 'objects'
TRACKS, TRACK_LABELS, TRACK_BOXES = 'tracks', 'tracks/label_info', 'tracks/boxes'
MARKERS = 'markers'
FUSED = (
    PAINTED_POINTS, PAINTED_LABELS, OBSTACLE_POINTS, OBJECTS, TRACKS, TRACK_LABELS, TRACK_BOXES,
    MARKERS, HEALTH,
)
"""Of the fusion node, relative to its namespace; docs/interfaces.md says what they carry."""


def overlay_topic(camera: str) -> str:
    """Return the topic of a camera's overlay, relative to the node's namespace."""
    return f'{camera}/overlay/compressed'


def topic_names(
    config: PerceptionConfig, outputs: Mapping[str, Iterable[str]]
) -> dict[tuple[str, str, str], str]:
    """Return the topic of each (camera, model, output), relative to the node's namespace.

    The name of the model is part of it only where two models of one camera say the same thing.

    :param outputs: model -> what it can say, as `Manifest.outputs`.
    """
    topics = {}
    for camera in config.cameras:
        serving = [name for name in config.models if camera in config.cameras_of(name)]
        for name in serving:
            for output in sorted(outputs[name]):
                alone = sum(output in outputs[other] for other in serving) == 1
                topics[camera, name, output] = f'{camera}/{"" if alone else f"{name}/"}{output}'
    return topics
