"""Labelled bags: images of cameras, with boxes and label maps on topics beside them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from perception_ros.bags.labelled import BOXES, LabelledBag, LabelledFrame, SEMANTIC
from perception_ros.core.errors import BagError, ImageError
from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import BagConfig
from perception_training.data.classes import box_map, ClassMap, pixel_map
from perception_training.data.sample import Sample, UNKNOWN, UNKNOWN_BOX
from perception_training.errors import DataError


class Bag:
    """
    The images of one bag that have labels.

    A label map is for the head of its name. A head or boxes that an image has no message of are
    unknown in it.
    """

    def __init__(self, config: BagConfig, labels: LabelsConfig, root: Path) -> None:
        """
        Look what is there, which reads the bag once.

        :raises DataError: it is no labelled bag, or a class leads nowhere.
        """
        self.name = Path(config.bag).stem
        try:
            self._bag = LabelledBag(root / config.bag)
            self._bag.check_whole()
            classes = {kind: self._bag.classes(kind) for kind in self._bag.kinds}
        except BagError as error:
            raise DataError(str(error)) from error
        self._frames = _chosen(self._bag.frames, config, self.name)
        self._boxes = box_map(self.name, classes[BOXES], config, labels) \
            if BOXES in classes else None
        self._maps: dict[str, ClassMap] = {}
        for kind in classes.keys() - {BOXES}:
            head = kind.removeprefix(SEMANTIC)
            if (found := pixel_map(self.name, classes[kind], config, labels, head)) is not None:
                self._maps[head] = found
        if self._boxes is None and not self._maps:
            raise DataError(
                f'{root / config.bag}: expected labels of something that is learnt (boxes, or the '
                f'heads {", ".join(labels.semantic) or "none"}), got {", ".join(classes)}')

    @property
    def names(self) -> tuple[str, ...]:
        """Bag, camera and stamp of each image."""
        return tuple(f'{self.name}_{frame.name}' for frame in self._frames)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Sample:
        frame = self._frames[index]
        try:
            return self._sample(frame)
        except (BagError, ImageError) as error:
            raise DataError(f'{self.name}: {frame.name}: {error}') from error

    def _sample(self, frame: LabelledFrame) -> Sample:
        name = f'{self.name}_{frame.name}'
        image = np.ascontiguousarray(self._bag.image(frame).rgb())
        semantic = {}
        for head, classes in self._maps.items():
            if frame.place(SEMANTIC + head):
                ids = self._bag.label_map(frame, SEMANTIC + head)
                if ids.shape != image.shape[:2]:
                    raise DataError(f'{name}: expected a label map of {image.shape[1]}x'
                                    f'{image.shape[0]} px like its image, got {ids.shape[1]}x'
                                    f'{ids.shape[0]}')
                semantic[head] = classes.ids(ids, (UNKNOWN,), name)
        if self._boxes is None or not frame.place(BOXES):
            return Sample(name, image, semantic=semantic)
        rows, labels = [], []
        true = self._bag.boxes(frame)
        for box, theirs in zip(true.boxes, true.names, strict=True):
            label = UNKNOWN_BOX if theirs is None else self._boxes.named(theirs, name)
            if label is not None:
                rows.append(box)
                labels.append(label)
        return Sample(name, image, np.array(rows, np.float32).reshape(-1, 4),
                      np.array(labels, np.int64), self._boxes.labelled, semantic=semantic)


def _chosen(frames: Sequence[LabelledFrame], config: BagConfig,
            name: str) -> tuple[LabelledFrame, ...]:
    """
    Take every n-th image of the cameras that are asked for.

    :raises DataError: a camera is not there.
    """
    present = list(dict.fromkeys(frame.camera for frame in frames))
    if unknown := [camera for camera in config.cameras if camera not in present]:
        raise DataError(f'{name}: expected cameras to name some of {present}, got {unknown}')
    by_camera = {camera: [frame for frame in frames if frame.camera == camera]
                 for camera in config.cameras or present}
    return tuple(frame for part in by_camera.values() for frame in part[::config.every])
