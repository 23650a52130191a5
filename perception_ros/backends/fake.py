"""Two deterministic engines without a network: one sees coloured rectangles, one takes its time.

Both keep the bundle contract for any bundle. With the first, the whole way from camera topic to
result can be tested to the pixel: a rectangle of pure red, green or blue in the camera image must
come back as a box of class 0, 1 or 2 (modulo the number of classes) at its place, whatever the
encoding, the size and the letterbox. Semantic heads give the same classes to the same colours, and
their last class to all else.

The second stands in for a GPU in measurements of all that is around an engine: a call takes as
long as it was told, sleeping, and every image has the same box.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import time

import numpy as np
from numpy.typing import NDArray

from perception_ros.backends.base import Engine, EngineInfo, EngineOptions, Outputs
from perception_ros.backends.slots import BlockingEngine
from perception_ros.bundles.bundle import Bundle

SCORE = 0.9


def probe() -> str:
    """Say what would run here: it always works."""
    return 'fake: cpu'


def open_bundle(bundle: Bundle, options: EngineOptions) -> Engine:
    """Return an engine for a bundle, which needs no graph."""
    if options.fake_duration_ms:
        return TimedEngine(bundle, options)
    return FakeEngine(bundle, max_batch=options.max_batch)


class FakeEngine(BlockingEngine):
    """See coloured rectangles, in the shapes that the bundle's manifest promises."""

    def __init__(self, bundle: Bundle, *, max_batch: int, duration_ms: float = 0.0) -> None:
        self._manifest = bundle.manifest
        self._duration_s = duration_ms / 1e3
        self.calls: list[int] = []
        """Batch size of each call so far."""
        super().__init__(_info(bundle, max_batch), _one_thread())

    def _run(self, images: NDArray[np.uint8]) -> Outputs:
        self.calls.append(len(images))
        time.sleep(self._duration_s)
        colours = np.stack([_colours(image) for image in images])
        outputs: dict[str, NDArray[np.generic]] = {}
        if self._manifest.detection is not None:
            detection = self._manifest.detection
            n, classes = detection.max_detections, len(detection.classes)
            boxes = np.zeros((len(images), n, 4), np.float32)
            scores = np.zeros((len(images), n), np.float32)
            labels = np.zeros((len(images), n), np.int32)
            for index, colour in enumerate(colours):
                for slot, (value, box) in enumerate(_rectangles(colour)[:n]):
                    boxes[index, slot], scores[index, slot] = box, SCORE
                    labels[index, slot] = value % classes
            outputs |= {'boxes': boxes, 'scores': scores, 'labels': labels}
            if detection.masks:  # a rectangle fills its box
                shape = (len(images), n, detection.masks.height, detection.masks.width)
                filled = (scores > 0)[:, :, None, None]
                outputs['masks'] = np.broadcast_to(filled, shape).astype(np.float32)
        for head, semantic in self._manifest.semantic.items():
            last = len(semantic.classes) - 1
            half = semantic.stride // 2
            cells = colours[:, half :: semantic.stride, half :: semantic.stride]
            seen = np.where(cells < 3, np.minimum(cells, last), last)
            outputs[f'semantic_{head}'] = seen.astype(np.uint8)
        return outputs


class TimedEngine(BlockingEngine):
    """Take a given time for each call and say the same of every image, without looking at it.

    One box of class 0 covers the middle half of the input; masks of boxes are full, semantic heads
    see class 0. The answers are made once, so that a call costs the CPU next to nothing.
    """

    def __init__(self, bundle: Bundle, options: EngineOptions) -> None:
        self._duration_s = options.fake_duration_ms / 1e3
        info = _info(bundle, options.max_batch)
        self._outputs = _same_for_all(bundle, info)
        super().__init__(info, _one_thread())

    def _run(self, images: NDArray[np.uint8]) -> Outputs:
        time.sleep(self._duration_s)  # without the GIL
        return {name: array[: len(images)] for name, array in self._outputs.items()}


def _one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix='fake')


def _info(bundle: Bundle, max_batch: int) -> EngineInfo:
    size = bundle.manifest.input
    return EngineInfo(
        'fake', 'cpu', bundle.manifest.precision, max_batch, (size.width, size.height)
    )


def _same_for_all(bundle: Bundle, info: EngineInfo) -> dict[str, NDArray[np.generic]]:
    """Return the outputs of a whole batch, read-only."""
    (width, height), batch = info.input_size, info.max_batch
    outputs: dict[str, NDArray[np.generic]] = {}
    if detection := bundle.manifest.detection:
        n = detection.max_detections
        boxes = np.zeros((batch, n, 4), np.float32)
        scores = np.zeros((batch, n), np.float32)
        boxes[:, 0] = width / 4, height / 4, 3 * width / 4, 3 * height / 4
        scores[:, 0] = SCORE
        outputs |= {'boxes': boxes, 'scores': scores, 'labels': np.zeros((batch, n), np.int32)}
        if masks := detection.masks:
            outputs['masks'] = np.ones((batch, n, masks.height, masks.width), np.float32)
    for head, semantic in bundle.manifest.semantic.items():
        shape = (batch, height // semantic.stride, width // semantic.stride)
        outputs[f'semantic_{head}'] = np.zeros(shape, np.uint8)
    for array in outputs.values():
        array.flags.writeable = False
    return outputs


def _colours(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 0, 1 or 2 where an image uint8 [H, W, 3] is red, green or blue, else 3; [H, W]."""
    strongest = image.argmax(axis=2).astype(np.uint8)
    ordered = np.sort(image, axis=2)
    # Half way between the pure colour and the grey around it: where a resized edge really lies.
    pure = (ordered[..., 2] > 184) & (ordered[..., 1] < 57)
    return np.where(pure, strongest, np.uint8(3))


def _rectangles(colours: NDArray[np.uint8]) -> list[tuple[int, tuple[float, ...]]]:
    """Return (colour, box that holds all pixels of that colour), boxes in input pixels."""
    found = []
    for value in range(3):
        rows, columns = np.nonzero(colours == value)
        if rows.size:
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            found.append((value, tuple(float(side) for side in box)))
    return found
