"""Frames of videos, without labels."""

from pathlib import Path

import cv2

from perception_ros.core.sources import video_frames
from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import VideoConfig
from perception_training.data.files import folder_of
from perception_training.data.sample import Sample
from perception_training.errors import DataError


class Video:
    """Every n-th frame of all `.mp4` files of a folder; decoded once, for seeking is slow."""

    def __init__(self, config: VideoConfig, labels: LabelsConfig, root: Path) -> None:
        """
        Decode the frames.

        :raises DataError: there is no video, or one cannot be decoded.
        """
        self.name = config.folder
        folder = folder_of(root / config.folder, self.name)
        self._samples = [sample for path in sorted(folder.glob('*.mp4'))
                         for sample in _frames(path, config.every)]
        if not self._samples:
            raise DataError(f'{folder}: expected .mp4 files, got none')

    @property
    def names(self) -> tuple[str, ...]:
        """File and number of each frame."""
        return tuple(sample.name for sample in self._samples)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]


def _frames(path: Path, every: int) -> list[Sample]:
    samples = [
        Sample(f'{path.stem}_{index * every:04d}', cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
        for index, bgr in enumerate(video_frames(path, every))
    ]
    if not samples:
        raise DataError(f'{path}: expected a video, no frame can be decoded')
    return samples
