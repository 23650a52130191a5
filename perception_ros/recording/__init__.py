"""Pictures and labelled data turned into bags, named on the command line as KIND:PATH[@SPLIT]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from perception_ros.bags.writer import BagWriter
from perception_ros.core.errors import BagError
from perception_ros.recording.base import Recorder, RecordOptions, Track
from perception_ros.recording.boxes import record_boxes
from perception_ros.recording.camvid import record_camvid
from perception_ros.recording.kitti import record_kitti
from perception_ros.recording.nuscenes import record_nuscenes
from perception_ros.recording.pictures import record_images, record_video

__all__ = ['KINDS', 'RecordOptions', 'Recorder', 'record']

KINDS: Mapping[str, Callable[[Path, str, Recorder], None]] = {
    'images': record_images,
    'video': record_video,
    'camvid': record_camvid,
    'kitti': record_kitti,
    'nuscenes': record_nuscenes,
    'coco': record_boxes('coco'),
    'yolo': record_boxes('yolo'),
}
"""What is recorded -> who reads it."""


def record(
    reference: str,
    target: Path,
    options: RecordOptions,
    *,
    overwrite: bool = False,
    track: Track = iter,
) -> Mapping[str, int]:
    """Write a bag, and return how many messages each topic got.

    The same data and options give the same bytes.

    :param reference: `KIND:PATH[@SPLIT]`; SPLIT is a folder inside, such as `val`.
    :param target: `.mcap`, `.db3`, or a folder to make.
    :param track: what the frames are drawn through, such as a progress bar.
    :raises PerceptionError: the data cannot be read, or the bag not be written.
    """
    kind, colon, rest = reference.partition(':')
    if not colon or kind not in KINDS or not rest:
        raise BagError(
            f'{reference!r}: expected KIND:PATH or KIND:PATH@SPLIT with a kind of '
            f'{", ".join(KINDS)}'
        )
    path, split = Path(rest), ''
    if not path.exists() and '@' in rest:
        place, _, split = rest.rpartition('@')
        path = Path(place)
    if not path.exists():
        raise BagError(f'{reference!r}: there is no {path}')
    with BagWriter(target, overwrite=overwrite) as writer:
        recorder = Recorder(writer, options, track)
        KINDS[kind](path, split, recorder)
        if not recorder.counts:
            raise BagError(f'{reference!r}: nothing to record in {path}')
    return recorder.counts
