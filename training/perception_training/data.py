"""
Images with boxes and scene labels, and random views of them.

Two data sets each hold half of what the network learns: CamVid has scene labels and no boxes,
IDD boxes and no scene. `teachers` fills the gaps; what nobody knows is marked as unknown and
costs nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
import re

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torch.utils.data import Dataset

from perception_training.config import AugmentConfig, Config

# IDD's class numbers -> ours; its 4, motorbike, has no class here: an unknown region.
IDD_TO_OURS = {0: 0, 1: 3, 2: 2, 3: 1, 4: -1, 5: 4}
UNKNOWN_BOX = -1
UNKNOWN_SCENE = 255
BACKDROP = 254
VOID = 11
PAD = 114
SOURCES = ('camvid', 'idd', 'clip')


@dataclass(frozen=True)
class Sample:
    """
    One image and what is known of it; arrays are never written to after construction.

    `image` uint8 `[H, W, 3]` RGB; `boxes` float32 `[N, 4]` x1 y1 x2 y2 in pixels, (0, 0) = outer
    corner of the top-left pixel; `labels` int64 `[N]`, -1 = something may be here, do not
    call it background; `scene` uint8 `[H, W]` class ids, 254 = neither road nor car, 255 =
    unknown; `scene_weight` what a labelled pixel counts; `name` says where it came from.
    """

    name: str
    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scene: NDArray[np.uint8]
    scene_weight: float = 1.0


def drive_of(name: str) -> str:
    """
    Give the recording date of an IDD image, the unit that is held out as a whole.

    File names hold camera, date and time in several layouts, and one ride is cut into files that
    start minutes apart; the date is what all layouts have and never splits a ride.

    :raises ValueError: the name holds no date, or several.
    """
    dates = set(re.findall(r'20\d\d-\d\d-\d\d', name))
    if len(dates) != 1:
        raise ValueError(f'expected one recording date in {name!r}, got {sorted(dates)}')
    return dates.pop()


def idd_names(config: Config, held_out: bool) -> list[str]:
    """List IDD image stems of the held-out drives, or of all others."""
    drives = set(config.idd_val_drives.read_text().split())
    stems = sorted(p.stem for p in (config.data_root / 'idd/images').glob('*.jpg'))
    unknown = drives - {drive_of(s) for s in stems}
    if unknown:
        raise ValueError(f'{config.idd_val_drives}: no image has the dates {sorted(unknown)}')
    return [s for s in stems if (drive_of(s) in drives) == held_out]


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read an image as uint8 `[H, W, 3]` RGB."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f'cannot read an image from {path}')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def load_camvid(config: Config, split: str) -> list[Sample]:
    """Load CamVid `train` or `val`: scene labels, no boxes; void becomes unknown."""
    samples = []
    for path in sorted((config.data_root / 'camvid' / split / 'images').glob('*.jpg')):
        label = cv2.imread(str(path.parents[1] / 'labels' / f'{path.stem}.png'),
                           cv2.IMREAD_GRAYSCALE)
        label[label == VOID] = UNKNOWN_SCENE
        samples.append(Sample(path.stem, read_rgb(path), *_no_boxes(), label))
    return samples


def load_idd(config: Config, held_out: bool) -> list[Sample]:
    """Load IDD images of one side of the split by drives: boxes, no scene labels."""
    samples = []
    root = config.data_root / 'idd'
    for stem in idd_names(config, held_out):
        image = read_rgb(root / 'images' / f'{stem}.jpg')
        height, width = image.shape[:2]
        text = (root / 'labels' / f'{stem}.txt').read_text()
        rows = np.array(text.split(), np.float64).reshape(-1, 5)
        centre, size = rows[:, 1:3], rows[:, 3:5]
        relative = np.hstack((centre - size / 2, centre + size / 2))
        boxes = (relative * [width, height, width, height]).astype(np.float32)
        labels = np.array([IDD_TO_OURS[int(c)] for c in rows[:, 0]], np.int64)
        scene = np.full((height, width), UNKNOWN_SCENE, np.uint8)
        samples.append(Sample(stem, image, boxes, labels, scene))
    return samples


def load_clip(config: Config, every: int = 4) -> list[Sample]:
    """Load every fourth frame of the motorway clips: no labels at all."""
    samples = []
    for path in sorted((config.data_root / 'clips').glob('*.mp4')):
        video = cv2.VideoCapture(str(path))
        index = 0
        while True:
            ok, frame = video.read()
            if not ok:
                break
            if index % every == 0:
                image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                scene = np.full(image.shape[:2], UNKNOWN_SCENE, np.uint8)
                samples.append(Sample(f'{path.stem}_{index:04d}', image, *_no_boxes(), scene))
            index += 1
    return samples


def random_view(sample: Sample, rng: np.random.Generator, config: AugmentConfig,
                fit: float) -> Sample:
    """
    Cut a random window, scale it to the crop size, perhaps mirror it, and change its colours.

    :param fit: scale that letterboxes this image at test time; the random scale is around it.
    """
    height, width = sample.image.shape[:2]
    scale = fit * float(np.exp(rng.uniform(np.log(config.scale_min), np.log(config.scale_max))))
    window_w = max(round(config.crop_width / scale), 8)
    window_h = max(round(config.crop_height / scale), 8)
    # An image smaller than the window lies anywhere inside it, as letterboxing leaves it.
    left = int(rng.integers(min(0, width - window_w), max(0, width - window_w) + 1))
    top = int(rng.integers(min(0, height - window_h), max(0, height - window_h) + 1))
    view = cut(sample, (left, top, window_w, window_h), config.crop_width, config.crop_height)
    if rng.random() < config.flip:
        view = mirror(view)
    return replace(view, image=_recolour(view.image, rng, config.colour))


def cut(sample: Sample, window: tuple[int, int, int, int], width: int, height: int) -> Sample:
    """
    Scale a window (left, top, width, height in source pixels) to `width` x `height`.

    What lies outside of the image becomes grey and unknown. Boxes are clipped; one that keeps
    under a third of its area becomes an unknown region, and under 2 px it is dropped.
    """
    left, top, window_w, window_h = window
    scale_x, scale_y = width / window_w, height / window_h
    x0, y0 = max(left, 0), max(top, 0)
    x1 = min(left + window_w, sample.image.shape[1])
    y1 = min(top + window_h, sample.image.shape[0])
    image = np.full((height, width, 3), PAD, np.uint8)
    scene = np.full((height, width), UNKNOWN_SCENE, np.uint8)
    u0, v0 = round((x0 - left) * scale_x), round((y0 - top) * scale_y)
    u1, v1 = round((x1 - left) * scale_x), round((y1 - top) * scale_y)
    if u1 > u0 and v1 > v0:
        image[v0:v1, u0:u1] = cv2.resize(
            sample.image[y0:y1, x0:x1], (u1 - u0, v1 - v0),
            interpolation=cv2.INTER_AREA if scale_x < 1 else cv2.INTER_LINEAR)
        scene[v0:v1, u0:u1] = cv2.resize(
            sample.scene[y0:y1, x0:x1], (u1 - u0, v1 - v0), interpolation=cv2.INTER_NEAREST)
    shift = np.array([left, top, left, top], np.float32)
    factor = np.array([scale_x, scale_y, scale_x, scale_y], np.float32)
    whole = (sample.boxes - shift) * factor
    limit = np.array([width, height, width, height], np.float32)
    clipped = np.clip(whole, 0, limit)
    kept = _area(clipped) / np.maximum(_area(whole), 1e-6)
    side = np.minimum(clipped[:, 2] - clipped[:, 0], clipped[:, 3] - clipped[:, 1])
    labels = np.where(kept < 1 / 3, UNKNOWN_BOX, sample.labels)
    visible = side >= 2
    return replace(sample, image=image, scene=scene, boxes=clipped[visible].astype(np.float32),
                   labels=labels[visible])


def mirror(sample: Sample) -> Sample:
    """Mirror left and right, boxes and scene alike."""
    boxes = sample.boxes.copy()
    boxes[:, [0, 2]] = sample.image.shape[1] - boxes[:, [2, 0]]
    return replace(sample, image=np.ascontiguousarray(sample.image[:, ::-1]),
                   scene=np.ascontiguousarray(sample.scene[:, ::-1]), boxes=boxes)


@dataclass(frozen=True)
class Targets:
    """A batch's answers: per image boxes `[n, 4]` and labels `[n]`, scene `[B, H/4, W/4]`."""

    boxes: list[Tensor]
    labels: list[Tensor]
    scene: Tensor
    scene_weight: Tensor


class Views(Dataset[tuple[Tensor, Targets]]):
    """
    Whole batches by step number.

    A batch depends on the seed and its step alone, not on what was drawn before: a resumed run
    sees exactly the batches that it would have seen.
    """

    def __init__(self, sources: dict[str, list[Sample]], config: Config, start: int) -> None:
        self.sources = sources
        self.config = config
        self.start = start

    def __len__(self) -> int:
        return self.config.optim.steps - self.start

    def __iter__(self) -> Iterator[tuple[Tensor, Targets]]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> tuple[Tensor, Targets]:
        rng = np.random.default_rng([self.config.seed, self.start + index])
        views = []
        for source in SOURCES:
            samples = self.sources[source]
            for _ in range(getattr(self.config.batch, source)):
                sample = samples[int(rng.integers(len(samples)))]
                fit = min(self.config.width / sample.image.shape[1],
                          self.config.height / sample.image.shape[0])
                views.append(random_view(sample, rng, self.config.augment, fit))
        return collate(views)


def collate(views: list[Sample]) -> tuple[Tensor, Targets]:
    """Give images uint8 `[B, H, W, 3]` and the targets; scene labels at each 4x4's middle."""
    images = torch.from_numpy(np.stack([v.image for v in views]))
    scene = torch.from_numpy(np.stack([v.scene[2::4, 2::4] for v in views]).astype(np.int64))
    return images, Targets(
        [torch.from_numpy(v.boxes) for v in views], [torch.from_numpy(v.labels) for v in views],
        scene, torch.tensor([v.scene_weight for v in views]))


def to_input(images: Tensor) -> Tensor:
    """Turn uint8 `[B, H, W, 3]` into float32 `[B, 3, H, W]` in 0..1, channels-last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255.0)


def _recolour(image: NDArray[np.uint8], rng: np.random.Generator,
              strength: float) -> NDArray[np.uint8]:
    if strength == 0:
        return image
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
    image = cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)
    if rng.random() < 0.15 * strength:
        image = cv2.GaussianBlur(image, (3, 3), 0)
    return image


def _area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _no_boxes() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
