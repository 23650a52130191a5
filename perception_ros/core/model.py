"""One model: frames into its engine's input, its outputs back into the frames' own pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from perception_ros.backends.base import Engine, Outputs, Request
from perception_ros.bundles.manifest import Manifest
from perception_ros.core.canvas import Canvas
from perception_ros.core.ignore import IgnoreMask
from perception_ros.core.image import Image
from perception_ros.core.instances import NO_INSTANCE, paint_instances
from perception_ros.core.letterbox import Letterbox
from perception_ros.core.machine import usable_cores
from perception_ros.core.parallel import in_parallel, in_turn
from perception_ros.core.types import (
    Detections,
    Frame,
    Result,
    SemanticMask,
    UNLABELLED,
)

CORES_FOR_LETTERBOX = 4
"""From so many cores on, images are letterboxed in several threads."""

Track = Callable[[str, int, Detections, float], tuple[str, ...]]
"""(camera, stamp in ns, what was found, least score) -> an id for each box, '' for none."""


@dataclass(slots=True)
class InFlight:
    """A batch in a slot: who is in it, how each was letterboxed, and who could not be."""

    request: Request
    frames: list[Frame]
    letterboxes: list[Letterbox]
    failed: list[tuple[Frame, Exception]]

    def start(self) -> None:
        """Run the engine on the frames and return at once; without any nothing is run."""
        if self.frames:
            self.request.start(len(self.frames))


class Model:
    """A bundle's manifest and its engine, bound to the cameras.

    :param score_threshold: camera -> least score to publish. Called for each frame, so that it may
        change while the pipeline runs.
    :param ignore: camera -> what to ignore in its images, for cameras that have such a mask.
    :param track: names what is the same as before; called for each frame, in their order.
    """

    def __init__(
        self,
        name: str,
        manifest: Manifest,
        engine: Engine,
        *,
        score_threshold: Callable[[str], float] | None = None,
        ignore: Mapping[str, IgnoreMask] | None = None,
        track: Track | None = None,
    ) -> None:
        self.name = name
        self.manifest = manifest
        self.engine = engine
        detection = manifest.detection
        default = detection.score_threshold if detection else 0.0
        self._score_threshold = score_threshold or (lambda camera: default)
        self._ignore = ignore or {}
        self._track = track
        self._class_names = tuple(c.name for c in detection.classes) if detection else ()
        self._semantic_names = {
            head: tuple(c.name for c in semantic.classes)
            for head, semantic in manifest.semantic.items()
        }
        self._policy = manifest.input.letterbox.policy

    @property
    def outputs(self) -> frozenset[str]:
        """Names of what this model can say: detections, instances, semantic/<head>."""
        return self.manifest.outputs

    def decode(self, frame: Frame) -> tuple[Image, Letterbox]:
        """Return the frame's image, a file decoded as large as the network needs, and its place.

        :raises ImageError: it cannot be decoded.
        """
        frame.image.validate()  # before its size is believed
        size = (frame.image.width, frame.image.height)
        letterbox = Letterbox.fit(size, self.engine.info.input_size, self._policy)
        return frame.decoded(letterbox.scaled_size), letterbox

    def prepare(self, request: Request, frames: Sequence[Frame]) -> InFlight:
        """Letterbox the frames into the request's input, for `InFlight.start`.

        A frame that cannot be decoded is left out and named in `failed`; the others go on. The
        request is still the caller's to release.
        """
        flight = InFlight(request, [], [], [])
        images: list[Image] = []
        files = sum(frame.image.is_compressed for frame in frames)
        decode = in_parallel if files > 1 else in_turn
        for frame, decoded in zip(frames, decode(self.decode, frames), strict=True):
            try:
                image, letterbox = decoded()
            except Exception as error:  # one camera's image must not cost the others theirs
                flight.failed.append((frame, error))
            else:
                images.append(image)
                flight.frames.append(frame)
                flight.letterboxes.append(letterbox)

        def write(index: int) -> None:
            request.write(index, images[index], flight.letterboxes[index])

        # An image takes about a millisecond: where cores are few, threads would save little and
        # cost more of them.
        at_once = request.letterboxes_on_cpu and usable_cores() >= CORES_FOR_LETTERBOX
        written = (in_parallel if at_once else in_turn)(write, range(len(images)))
        kept: list[Frame] = []
        for frame, done in zip(flight.frames, written, strict=True):
            try:
                done()
            except Exception as error:
                flight.failed.append((frame, error))
            else:
                kept.append(frame)
        if len(kept) == len(flight.frames):
            return flight
        closed_up = self.prepare(request, kept)  # the batch has no gaps
        closed_up.failed[:0] = flight.failed
        return closed_up

    def restore(
        self, flight: InFlight, outputs: Outputs, index: int, wanted: frozenset[str]
    ) -> Result:
        """Return what the outputs say about frame `index` of the batch, in its own pixels.

        :param wanted: some of `outputs`; nothing is computed for the others. The result holds no
            view of the engine's memory.
        """
        frame, letterbox = flight.frames[index], flight.letterboxes[index]
        ignore = self._ignore.get(frame.camera)
        detections = instances = None
        if wanted & {'detections', 'instances'}:
            detections, kept = self._detections(frame, letterbox, outputs, index, ignore)
            if self._track:
                threshold = self._score_threshold(frame.camera)
                ids = self._track(frame.camera, frame.stamp_ns, detections, threshold)
                detections = replace(detections, ids=ids)
            if 'instances' in wanted:
                # Relative to the boxes as the network said them, not as they were cut.
                whole = letterbox.boxes_to_source(outputs['boxes'][index][kept])
                masks = outputs['masks'][index][kept]
                instances = paint_instances(masks, whole, letterbox.source_size)
                if ignore:
                    ignore.blank(instances.indices, NO_INSTANCE)
        semantic = {}
        for head, class_names in self._semantic_names.items():
            if f'semantic/{head}' in wanted:
                canvas = Canvas.empty(letterbox.source_size, np.uint8)
                cells = outputs[f'semantic_{head}'][index]
                # UNLABELLED is 255, all bits: a class that does not exist becomes that.
                cells = cells | np.negative((cells >= len(class_names)).view(np.uint8))
                class_ids = letterbox.mask_to_source(cells, canvas.pixels)
                if ignore:
                    ignore.blank(class_ids, UNLABELLED)
                semantic[head] = SemanticMask(class_ids, class_names, canvas)
        return Result(frame, self.name, detections, semantic, instances)

    def infer(self, frames: Sequence[Frame]) -> list[Result]:
        """Infer frames at once and return their results in order, for tools without a pipeline.

        :raises ImageError: a frame cannot be decoded.
        """
        results = []
        for first in range(0, len(frames), self.engine.info.max_batch):
            request = self.engine.request()
            try:
                flight = self.prepare(
                    request, frames[first : first + self.engine.info.max_batch]
                )
                if flight.failed:
                    raise flight.failed[0][1]
                flight.start()
                outputs = request.result()
                for index in range(len(flight.frames)):
                    results.append(self.restore(flight, outputs, index, self.outputs))
            finally:
                request.release()
        return results

    def _detections(
        self,
        frame: Frame,
        letterbox: Letterbox,
        outputs: Outputs,
        index: int,
        ignore: IgnoreMask | None,
    ) -> tuple[Detections, NDArray[np.intp]]:
        """Return the detections to publish, and their indices among the graph's N."""
        scores, labels = outputs['scores'][index], outputs['labels'][index]
        # Padding has score 0, and must stay out even at a threshold of 0.
        good = (scores >= self._score_threshold(frame.camera)) & (scores > 0) & (scores <= 1)
        # What a damaged engine says must cost neither the other boxes nor a planner's trust.
        good &= (labels >= 0) & (labels < len(self._class_names))
        good &= np.isfinite(outputs['boxes'][index]).all(axis=1)
        kept = np.flatnonzero(good)
        kept = kept[np.argsort(-scores[kept], kind='stable')]
        boxes = letterbox.clip(letterbox.boxes_to_source(outputs['boxes'][index][kept]))
        visible = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        if ignore:
            visible &= ~ignore.covers(boxes, letterbox.source_size)
        boxes, kept = boxes[visible], kept[visible]
        chosen = scores[kept].astype(np.float32), labels[kept].astype(np.int32)
        return Detections(boxes, *chosen, self._class_names), kept
