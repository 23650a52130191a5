"""What is true of the frames of a run: labels in its bag, or in files beside it.

Files belong to a frame by their names: `<camera>/<stamp_ns>`, whatever their ending.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from perception_ros.bags.bag import open_bag
from perception_ros.bags.frames import camera_name, GROUND_TRUTH
from perception_ros.bags.labelled import BOXES, LabelledBag, SEMANTIC
from perception_ros.core.errors import DatasetError
from perception_ros.evaluation.datasets import BoxDataset, Dataset, MaskDataset, open_dataset
from perception_ros.evaluation.datasets.bag import labelled_data
from perception_ros.evaluation.datasets.coco import coco_data, load_coco
from perception_ros.replay.answers import Key

_FOLDERS = ('yolo', 'camvid')
_EXPECTED = (
    'expected [HEAD=]KIND:PATH, such as coco:labels.json, yolo:FOLDER, scene=camvid:FOLDER or '
    'bag:FILE'
)


@dataclass(frozen=True, slots=True)
class LabelSource:
    """Where labels come from that are not those of the bag itself."""

    references: tuple[str, ...] = ()
    """`[HEAD=]KIND:PATH`; none: the bag's own."""
    classes: tuple[str, ...] | None = None
    """In the order of the ids, for YOLO text that does not name them."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Class of the labels -> what the model calls it."""

    def as_json(self) -> dict[str, Any]:
        """Return it, ready for JSON."""
        return {'references': list(self.references), 'renamed': dict(self.renamed)}


OWN_LABELS = LabelSource()


@dataclass(frozen=True, slots=True)
class Labels:
    """What is true of some frames: boxes, or a label map for one head."""

    kind: str
    """`BOXES`, or 'semantic/<head>'."""
    data: BoxDataset | MaskDataset
    images: Mapping[Key, Path]
    """Frame -> its name in the data."""


@contextmanager
def open_labels(
    bag: Path, cameras: Mapping[str, str], heads: Collection[str], source: LabelSource
) -> Iterator[list[Labels]]:
    """Give all labels of the cameras of a run; none where the bag has none and no file is named.

    :param cameras: camera -> topic.
    :param heads: semantic heads of the models, of which a label map may be for the only one.
    :raises PerceptionError: labels cannot be read, or two say the same thing.
    """
    found: list[Labels] = []
    with ExitStack() as stack:
        if not source.references:
            found += _labels_of_bag(bag, cameras, stack)
        for reference in source.references:
            head, kind, path = _parse(reference)
            if kind == 'bag':
                found += _labels_of_bag(path, cameras, stack)
            else:
                data, images = _labels_of_files(reference, kind, path, cameras, source.classes)
                is_map = isinstance(data, MaskDataset)
                what = SEMANTIC + _head(head, heads, reference) if is_map else BOXES
                found.append(Labels(what, data, images))
        kinds = [labels.kind for labels in found]
        if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
            raise DatasetError(f'labels: expected one source of {", ".join(twice)}, got several')
        yield [replace(item, data=item.data.renamed(source.renamed)) for item in found]


def _parse(reference: str) -> tuple[str, str, Path]:
    """Return the head, the kind and the path of a reference."""
    start, colon, path = reference.partition(':')
    head, equals, kind = start.rpartition('=')
    if not colon or kind not in (*_FOLDERS, 'coco', 'bag') or not path or (equals and not head):
        raise DatasetError(f'labels {reference!r}: {_EXPECTED}')
    if not Path(path).exists():
        raise DatasetError(f'labels {reference!r}: there is no {path}')
    return head, kind, Path(path)


def _head(head: str, heads: Collection[str], reference: str) -> str:
    if not head and len(heads) == 1:
        return next(iter(heads))
    if head not in heads:
        raise DatasetError(
            f'labels {reference!r}: expected the head that they are for, as HEAD={reference}; the '
            f'models have {", ".join(sorted(heads)) or "none"}'
        )
    return head


def _labels_of_bag(path: Path, cameras: Mapping[str, str], stack: ExitStack) -> Iterator[Labels]:
    """Yield what a bag says, which is nothing if it has no labels; `stack` closes it."""
    with open_bag(path) as bag:
        if not any(GROUND_TRUTH in topic.split('/') for topic in bag.topics):
            return
    names = {camera_name(topic): camera for camera, topic in cameras.items()}
    labelled = stack.enter_context(LabelledBag(path))
    for kind in labelled.kinds:
        data = labelled_data(labelled, kind, labelled.classes(kind))
        yield Labels(kind, data, {
            (names[image.parent.name], int(image.name)): image
            for image in data.images if image.parent.name in names
        })


def _labels_of_files(
    reference: str, kind: str, path: Path, cameras: Collection[str],
    classes: Sequence[str] | None,
) -> tuple[BoxDataset | MaskDataset, dict[Key, Path]]:
    """Return labels whose names are the frames', and by frame those of these cameras."""
    images: dict[Key, Path] = {}
    data: Dataset | None = None
    if kind == 'coco':
        data = coco_data(load_coco(path, [path.parent]))
        images = {
            (image.parent.name, _stamp_ns(image)): image
            for image in data.images if image.parent.name in cameras
        }
    else:
        for camera in cameras:
            if any(f.is_dir() for f in (path / camera / 'images', path / 'images' / camera)):
                # The label of an image follows from its name: one data set reads them all.
                data = open_dataset(f'{kind}:{path}', classes, camera)
                images |= {(camera, _stamp_ns(image)): image for image in data.images}
    if not images:
        raise DatasetError(
            f'labels {reference!r}: expected images named <camera>/<stamp_ns>, or in folders '
            f'images/<camera>, of the cameras {", ".join(cameras)}; got none'
        )
    assert isinstance(data, (BoxDataset, MaskDataset)), 'there are no others'
    return data, images


def _stamp_ns(image: Path) -> int:
    if not image.stem.isdecimal():
        raise DatasetError(
            f'{image}: expected the name of a frame, <camera>/<stamp_ns>, got {image.stem!r}'
        )
    return int(image.stem)
