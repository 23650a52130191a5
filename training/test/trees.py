"""Data sets of a few small images, in the layouts that their publishers use."""

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 100, 50


def picture(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """Draw blobs of a few pixels: no two seeds look alike, and JPEG keeps them."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (13, 25, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def write(path: Path, content: Any) -> Path:
    """Write an image, JSON or text by the end of its name, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, np.ndarray):
        assert cv2.imwrite(str(path), content)
    elif path.suffix == '.json':
        path.write_text(json.dumps(content))
    else:
        path.write_text(content)
    return path


def write_camvid(root: Path, ids: Mapping[str, NDArray[np.uint8]], split: str = 'train') -> Path:
    for seed, (name, values) in enumerate(ids.items()):
        height, width = values.shape[:2]
        write(root / f'camvid/{split}/images/{name}.jpg', picture(seed, width, height))
        write(root / f'camvid/{split}/labels/{name}.png', values)
    return root


def write_yolo(root: Path, texts: Mapping[str, str], names: Sequence[str] = (),
               folder: str = 'set', first: int = 0) -> Path:
    for seed, (name, text) in enumerate(texts.items(), first):
        write(root / folder / f'images/{name}.png', picture(seed))
        write(root / folder / f'labels/{name}.txt', text)
    if names:
        write(root / folder / 'classes.txt', '\n'.join(names))
    return root


def write_kitti(root: Path, texts: Mapping[str, str], folder: str = 'kitti/training') -> Path:
    for seed, (name, text) in enumerate(texts.items()):
        write(root / folder / f'image_2/{name}.png', picture(seed))
        write(root / folder / f'label_2/{name}.txt', text)
    return root


def kitti(kind: str, *box: float) -> str:
    """Give a line of KITTI's text for a box in pixels."""
    return f'{kind} 0.00 0 -1.57 {" ".join(map(str, box))} 1.5 1.6 3.9 1.8 1.5 8.4 0.01'


def write_cityscapes(root: Path, name: str, ids: NDArray[np.uint8],
                     instances: NDArray[np.uint16], split: str = 'train') -> Path:
    place = f'{split}/{name.partition("_")[0]}/{name}'
    top = root / 'cityscapes'
    write(top / f'leftImg8bit/{place}_leftImg8bit.png', picture(0, ids.shape[1], ids.shape[0]))
    write(top / f'gtFine/{place}_gtFine_labelIds.png', ids)
    write(top / f'gtFine/{place}_gtFine_instanceIds.png', instances)
    return root


def write_coco(root: Path, annotations: Sequence[Mapping[str, Any]],
               categories: Sequence[str] = ('person', 'car', 'banana')) -> Path:
    """Write two images, a.png (id 7) and b.png (id 9); ids of categories are 10, 20, ..."""
    for seed, name in enumerate('ab'):
        write(root / f'coco/val2017/{name}.png', picture(seed))
    write(root / 'coco/annotations/instances_val2017.json', {
        'images': [{'id': 7, 'file_name': 'a.png'}, {'id': 9, 'file_name': 'b.png'}],
        'categories': [{'id': 10 * i, 'name': name} for i, name in enumerate(categories, 1)],
        'annotations': list(annotations)})
    return root


def box2d(category: str, *corners: float, **attributes: Any) -> dict[str, Any]:
    """Give a label of BDD100K."""
    return {'id': '1', 'category': category, 'attributes': attributes,
            'box2d': dict(zip(('x1', 'y1', 'x2', 'y2'), corners, strict=True))}


def write_bdd(root: Path, names: Sequence[str], split: str = 'train') -> Path:
    """Write images with drivable area in the lower half and a single white line in column 9."""
    top = root / 'bdd100k'
    drivable = np.full((HEIGHT, WIDTH), 2, np.uint8)
    drivable[HEIGHT // 2:] = 0
    drivable[HEIGHT // 2:, :20] = 1
    lane = np.full((HEIGHT, WIDTH), 255, np.uint8)
    lane[:, 9] = 6 | 1 << 4 | 1 << 5  # a dashed one, across
    for seed, name in enumerate(names):
        write(top / f'images/100k/{split}/{name}.jpg', picture(seed))
        write(top / f'labels/drivable/masks/{split}/{name}.png', drivable)
        write(top / f'labels/lane/masks/{split}/{name}.png', lane)
    return root
