"""Draws docs/images/result.png: what a model says about the demo's cameras, on plain ground.

The photograph itself is not ours to show, what we find in it is. Run after `make demo`:

    .venv/bin/python tools/result_picture.py
"""

from pathlib import Path

import cv2
import numpy as np

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bundles import Bundle
from perception_ros.core.image import Image
from perception_ros.core.model import Model
from perception_ros.core.overlay import draw_legend, draw_result, Palette
from perception_ros.core.sources import open_source
from perception_ros.core.types import Frame

GROUND = (24, 27, 33)
GAP_PX = 6
WIDTH_PX = 640
PHOTOGRAPH = Path('.cache/demo/small-vehicles1.jpeg')
PICTURE = Path('docs/images/result.png')


def main() -> None:
    """Infer the first frame of each virtual camera and draw the results side by side."""
    bundle = Bundle.load('roadscene')
    palette = Palette.of(bundle.manifest)
    source = open_source(PHOTOGRAPH)
    views = next(iter(source.frame_sets()))
    frames = [
        Frame(name, 1, 1, Image.from_array(np.ascontiguousarray(pixels[..., ::-1])))
        for name, pixels in views.items()
    ]
    with open_engine(bundle, options=EngineOptions(max_batch=len(frames))) as engine:
        results = Model('roadscene', bundle.manifest, engine).infer(frames)
    tiles = []
    for result, pixels in zip(results, views.values(), strict=True):
        ground = np.full_like(pixels, GROUND)
        tiles.append(draw_result(ground, result, palette, mask_opacity=0.62))
    draw_legend(tiles[0], results[0].semantic, palette.semantic)
    height = round(WIDTH_PX * tiles[0].shape[0] / tiles[0].shape[1])
    tiles = [cv2.resize(t, (WIDTH_PX, height), interpolation=cv2.INTER_AREA) for t in tiles]
    gap = np.full((height, GAP_PX, 3), 255, np.uint8)
    row = np.hstack([part for tile in tiles for part in (tile, gap)][:-1])
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(PICTURE), row[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == '__main__':
    main()
