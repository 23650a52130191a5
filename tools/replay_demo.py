#!/usr/bin/env python3
"""
Shows what a replay is for: a labelled bag, a run that passes, and a worse bundle that fails.

Where DATA holds streets with labels, these are the bag; else the demo photograph, over which a
camera pans, with the labels beside this file. The worse bundle is roadscene in INT8 whose ranges
were measured on grey pictures: INT8 without calibration.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import shlex
import shutil
import sys
from typing import Any
import webbrowser

import cv2
import numpy as np
import yaml

from perception_ros.bundles import Bundle
from perception_ros.cli.main import main as perception_ros
from perception_ros.core.errors import PerceptionError
from perception_ros.core.sources import virtual_view
from perception_ros.quantization import Gate, quantize, Request

ROOT = Path(__file__).resolve().parents[1]
LABELS = Path(__file__).with_name('small-vehicles1.json')
PHOTOGRAPH = ROOT / '.cache' / 'demo' / 'small-vehicles1.jpeg'
LIMITS = ROOT / 'config' / 'replay_limits.yaml'
LIMITS_OF_WORSE = ROOT / 'config' / 'replay_limits_baseline.yaml'

FRAMES = 40
LEAST_SEEN = 0.6
"""A box of which less is in view is a region of which nothing is said."""
GREY = (64, 114, 160, 200)


class NoGate(Gate):
    """Lets everything pass: what comes is meant to be bad."""

    def problems(self, *figures: object) -> tuple[str, ...]:
        """Find none."""
        return ()


def call(*arguments: str | Path) -> int:
    """Run a command, shown as a user would type it, and return its status."""
    words = [str(argument) for argument in arguments]
    print(f'\n$ perception_ros {shlex.join(words)}', flush=True)
    try:
        perception_ros(words)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def need(status: int) -> None:
    """End with a status that is not 0."""
    if status:
        sys.exit(status)


def make_bag(data: Path, folder: Path) -> Path:
    """Make the labelled bag, and say of what."""
    folder.mkdir()
    idd, camvid = data / 'idd', data / 'camvid'
    if idd.is_dir() and camvid.is_dir():
        drives = ROOT / 'training' / 'splits' / 'idd_val_drives.txt'
        classes = 'car,bus,truck,person,motorbike,bicycle'
        print(f'The bag: validation parts of {data}, boxes of IDD and masks of CamVid, whose clip '
              'is near what roadscene was trained on.')
        need(call('bag', 'make', f'yolo:{idd}@{drives}', folder / 'idd.mcap', '--camera', 'idd',
                  '--labels', classes))
        need(call('bag', 'make', f'camvid:{camvid}@val', folder / 'camvid.mcap', '--camera',
                  'camvid', '--rate', '10', '--frames', '40'))
        return folder
    print(f'The bag: a camera that pans over {PHOTOGRAPH.name}, with boxes of {LABELS.name}.')
    need(call('bag', 'make', f'coco:{pan(folder / "pictures")}', folder / 'drive.mcap'))
    return folder / 'drive.mcap'


def pan(folder: Path) -> Path:
    """Write what a camera sees that pans over the photograph, and its labels; return these."""
    folder.mkdir()
    photograph = cv2.imread(str(PHOTOGRAPH))
    if photograph is None:
        sys.exit(f'error: {PHOTOGRAPH} is not there: run `make setup`')
    known = json.loads(LABELS.read_text(encoding='utf-8'))
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for index in range(FRAMES):
        # half a turn shows every view once
        x, y, width, height = virtual_view(photograph.shape[1::-1], 0.5 * index / FRAMES)
        name = f'{index:03d}.png'
        cv2.imwrite(str(folder / name), photograph[y : y + height, x : x + width])
        images.append({'id': index + 1, 'file_name': name, 'width': width, 'height': height})
        for item in known['annotations']:
            left, top, wide, high = item['bbox']
            low = np.clip((left - x, top - y), 0, (width, height))
            far = np.clip((left + wide - x, top + high - y), 0, (width, height))
            seen = float(np.prod(far - low) / (wide * high))
            if seen > 0:
                boxes.append({
                    **item, 'id': len(boxes) + 1, 'image_id': index + 1,
                    'bbox': [*low.tolist(), *(far - low).tolist()],
                    'iscrowd': int(item['iscrowd'] or seen < LEAST_SEEN),
                })
    path = folder / 'labels.json'
    path.write_text(json.dumps({**known, 'images': images, 'annotations': boxes}))
    return path


def write_config(path: Path, bundle: str | Path) -> Path:
    """Write a parameter file of all cameras of the bag and one model."""
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': {
        'camera_names': [''], 'model_names': ['roadscene'], 'backend': 'onnxruntime',
        'models': {'roadscene': {'bundle': str(bundle)}},
    }}}))
    return path


def make_worse(folder: Path) -> Path:
    """Write roadscene in INT8, its ranges measured on pictures of nothing."""
    print('\nThe worse bundle: roadscene in INT8, calibrated on grey pictures.', flush=True)
    grey = folder / 'grey'
    grey.mkdir()
    for level in GREY:
        cv2.imwrite(str(grey / f'{level}.png'), np.full((384, 640, 3), level, np.uint8))
    output = folder / 'roadscene_grey_int8'
    request = Request(
        Bundle.load('roadscene'), output, 'int8', (grey,), NoGate(), spare=False, overwrite=True,
        rounds=0,
    )
    quantize(request, lambda said: None, lambda items, description: items)
    return output


def show(title: str, output: Path, is_open: bool) -> None:
    """Say where a report lies, and open it where there is a display."""
    page = output / 'report.html'
    print(f'{title}: {page}', flush=True)
    if is_open and (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        webbrowser.open(page.resolve().as_uri())


def main() -> int:
    """Run it; 0 where the first run passes and the worse one fails, as both must."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--data', type=Path, default=Path('../shared/data'))
    parser.add_argument('--output', type=Path, default=Path('out/replay-demo'))
    parser.add_argument(
        '--worse', action='store_true', help='end with the status of the worse run')
    parser.add_argument('--open', action='store_true', help='open the reports in a browser')
    options = parser.parse_args()
    output: Path = options.output
    if output.exists() and not (output / '.replay-demo').exists():
        sys.exit(f'error: {output} is no folder of this demonstration: name another --output')
    fresh(output)
    try:
        bag = make_bag(options.data, output / 'bag')
        config = write_config(output / 'config.yaml', 'roadscene')
        first = call('replay', bag, '--config', config, '--output', output / 'first',
                     '--limits', LIMITS)
        worse_config = write_config(output / 'worse.yaml', make_worse(output))
    except PerceptionError as error:
        sys.exit(f'error: {error}')
    worse = call('replay', bag, '--config', worse_config, '--output', output / 'worse',
                 '--baseline', output / 'first', '--limits', LIMITS_OF_WORSE)
    print()
    show(f'first run: exit status {first}, {"PASS" if not first else "FAIL"}', output / 'first',
         options.open)
    show(f'worse bundle: exit status {worse}, {"PASS" if not worse else "FAIL"}',
         output / 'worse', options.open)
    if options.worse:
        return worse
    if first or worse != 1:
        print('error: the first run must pass and the worse one must fail', file=sys.stderr)
        return 1
    return 0


def fresh(output: Path) -> None:
    """Make an empty folder that says whose it is."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    (output / '.replay-demo').touch()


if __name__ == '__main__':
    sys.exit(main())
