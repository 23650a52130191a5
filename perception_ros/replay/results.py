"""Results as messages in a bag, under the names that the node gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from perception_ros.bags import messages
from perception_ros.bags.annotations import image_annotations
from perception_ros.bags.bag import open_bag
from perception_ros.bags.writer import BagWriter
from perception_ros.bundles.manifest import Manifest
from perception_ros.core.composer import Composer
from perception_ros.core.config import PerceptionConfig
from perception_ros.core.errors import ImageError
from perception_ros.core.image import Image
from perception_ros.core.overlay import draw_results, Palette
from perception_ros.core.topics import overlay_topic, topic_names
from perception_ros.core.types import Result

_log = logging.getLogger(__name__)

NAMESPACE = '/perception'
"""Of the node, to which topics without a leading slash belong."""
RESULTS = 'results.mcap'
_ANNOTATIONS = 'annotations'
_SEMANTIC = 'semantic/'


class ResultTopics:
    """What each result is called, by camera, model and output."""

    def __init__(self, config: PerceptionConfig, manifests: Mapping[str, Manifest]) -> None:
        outputs = {
            name: {*manifest.outputs, *([_ANNOTATIONS] if manifest.detection else [])}
            for name, manifest in manifests.items()
        }
        self._manifests = manifests
        self._names = topic_names(config, outputs)

    def of(self, camera: str, model: str, output: str) -> str:
        """Return a topic; outputs are those of `Manifest.outputs`, and 'annotations'."""
        return f'{NAMESPACE}/{self._names[camera, model, output]}'

    def masks(self) -> dict[str, tuple[str, str, str]]:
        """Return topic -> (camera, model, head) of all semantic masks."""
        return {
            self.of(*key): (key[0], key[1], key[2].removeprefix(_SEMANTIC))
            for key in self._names if key[2].startswith(_SEMANTIC)
        }

    def write_labels(self, writer: BagWriter, time_ns: int) -> None:
        """Write the names of the classes of all masks, for whoever comes late."""
        for topic, (_, model, head) in self.masks().items():
            names = [item.name for item in self._manifests[model].semantic[head].classes]
            writer.add_topic(f'{topic}/label_info', messages.LABEL_INFO, is_latched=True)
            message = messages.label_info(messages.header(time_ns, ''), names)
            writer.write(f'{topic}/label_info', message, time_ns)


class ResultBag:
    """Writes results, and pictures of them where the configuration has overlays."""

    def __init__(
        self, writer: BagWriter, config: PerceptionConfig, manifests: Mapping[str, Manifest]
    ) -> None:
        self._writer = writer
        self._settings = config.overlay
        self._topics = ResultTopics(config, manifests)
        self._palettes = {name: Palette.of(manifest) for name, manifest in manifests.items()}
        self._composer = Composer({
            camera: sum(camera in config.cameras_of(model) for model in config.models)
            for camera in config.cameras
        })

    def write(self, result: Result) -> None:
        """Write all that a result holds, at the time at which its frame came.

        :raises BagError: the bag cannot be written.
        """
        frame, palette = result.frame, self._palettes[result.model]
        head = messages.header(frame.stamp_ns, frame.frame_id)
        if (found := result.detections) is not None:
            names = [found.class_names[label] for label in found.labels]
            scores = found.scores.tolist()
            boxes = found.boxes.astype(np.float64)
            self._write(
                result, 'detections', messages.detections_2d(head, boxes, names, scores)
            )
            texts = [f'{name} {score:.2f}' for name, score in zip(names, scores, strict=True)]
            colors = [palette.boxes[label] for label in found.labels]
            self._write(result, _ANNOTATIONS, image_annotations(head, boxes, texts, colors))
        if result.instances is not None:
            indices = np.ascontiguousarray(result.instances.indices.astype('<u2', copy=False))
            height, width = indices.shape
            data = indices.reshape(-1).view(np.uint8).data
            picture = Image(data, 'mono16', width, height, 2 * width)
            self._write(result, 'instances', messages.raw_image(head, picture))
        for name, mask in result.semantic.items():
            message = messages.label_image(head, mask.class_ids)
            self._write(result, f'{_SEMANTIC}{name}', message)
        if self._settings.enabled:
            self._draw(self._composer.add(result))

    def flush(self) -> None:
        """Draw the overlays that wait for a result that will not come."""
        self._draw(self._composer.flush())

    def _write(self, result: Result, output: str, message: Any) -> None:
        topic = self._topics.of(result.frame.camera, result.model, output)
        self._writer.write(topic, message, result.frame.received_ns)

    def _draw(self, ready: list[list[Result]]) -> None:
        for results in ready:
            frame = results[0].frame
            try:
                jpeg = self._picture(results)
            except (ImageError, cv2.error) as error:  # of no account beside the results
                _log.error('camera %s: cannot draw an overlay: %s', frame.camera, error)
                continue
            head = messages.header(frame.stamp_ns, frame.frame_id)
            self._writer.write(
                f'{NAMESPACE}/{overlay_topic(frame.camera)}',
                messages.image_file(head, jpeg, 'jpeg'), frame.received_ns,
            )

    def _picture(self, results: list[Result]) -> bytes:
        """Return a JPEG file of the results of a frame."""
        rgb = draw_results(
            results[0].frame.image.rgb(),
            [(result, self._palettes[result.model]) for result in results],
            mask_opacity=self._settings.mask_opacity,
            max_width_px=self._settings.max_width_px,
        )
        quality = [cv2.IMWRITE_JPEG_QUALITY, self._settings.jpeg_quality]
        _, jpeg = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)
        return jpeg.tobytes()


def join_bags(paths: Iterable[Path], topics: ResultTopics, target: Path) -> None:
    """Write the messages of several bags into one.

    :raises BagError: one cannot be read, or the whole not be written.
    """
    with BagWriter(target, overwrite=True) as writer:
        is_first = True
        for path in paths:
            with open_bag(path) as part:
                if is_first and part.topics:
                    topics.write_labels(writer, part.start_ns)
                    is_first = False
                for message in part.messages():
                    writer.write_cdr(message.topic, message.type, message.time_ns, message.data)
