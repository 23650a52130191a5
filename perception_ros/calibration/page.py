"""The page of a calibration check, and its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from perception_ros.calibration.check import Checked, Look, Report
from perception_ros.calibration.overlay import draw_points
from perception_ros.core.errors import ConfigError
from perception_ros.core.files import write_bytes, write_text
from perception_ros.fusion.alignment import Verdict
from perception_ros.pages.page import jpeg_uri, render
from perception_ros.pages.tables import Cell, number, Table, text
from perception_ros.pages.tables import Look as CellLook

PAGE = 'calibration.html'
_WIDTH_PX = 1400
_MOST_PICTURES = 3
"""Moments of a camera that are shown."""
_QUALITY = 85
_WORDS: dict[Verdict, tuple[str, str]] = {
    'agrees': ('AGREES', 'What the cameras see fits what the LiDAR sees.'),
    'refuted': ('REFUTED', 'At least one camera or lens is not as it is said to be.'),
    'unclear': (
        'UNCLEAR', 'Nothing is refuted, but some cameras show too little to tell: record more, '
        'with poles, cars and corners of houses at 5 to 30 m.'
    ),
}
_LOOKS: dict[Verdict, CellLook] = {'agrees': 'good', 'refuted': 'bad', 'unclear': ''}


def write(folder: Path, bag: str, report: Report) -> Path:
    """Write the page and its pictures into a folder, which is made, and return the page's path.

    :raises ConfigError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sections = [_section(folder, item) for item in report.cameras]
        word, said = _WORDS[report.verdict]
        write_text(folder / PAGE, render(
            'perception_ros.calibration', 'calibration.html.j2', bag=bag, verdict=report.verdict,
            word=word, said=said, problems=report.problems, table=_table(report),
            sections=sections, ramp=_ramp(),
        ))
    except OSError as error:
        raise ConfigError(f'{folder}: cannot be written; {error.strerror}') from error
    return folder / PAGE


def _section(folder: Path, item: Checked) -> dict[str, Any]:
    name = item.camera if item.source == 'tf' else f'{item.camera} ({item.source})'
    places = np.linspace(0, len(item.looks) - 1, min(_MOST_PICTURES, len(item.looks))).round()
    pairs = []
    for place in places.astype(int):
        pair = []
        for title, jpeg in _pictures(item, item.looks[place]):
            file = f'{item.camera}_{item.source}_{place}_{title.partition(":")[0]}.jpg'
            write_bytes(folder / file, jpeg)
            pair.append((title, jpeg_uri(jpeg)))
        pairs.append(pair)
    return {
        'name': name, 'verdict': item.verdict, 'said': item.said(), 'faults': item.faults,
        'pairs': pairs,
    }


def _pictures(item: Checked, look: Look) -> Iterator[tuple[str, bytes]]:
    given = look.camera_from_lidar
    yield 'given', _draw(look, given)
    if item.estimate is not None:
        said = 'roll {:+.2f}, pitch {:+.2f}, yaw {:+.2f} deg'.format(*item.estimate.correction_deg)
        yield f'best: {said}', _draw(look, item.estimate.corrected(given))


def _draw(look: Look, camera_from_lidar: np.ndarray[Any, Any]) -> bytes:
    rgb = draw_points(
        look.pixels(), look.lens, look.moment.sweep.points, camera_from_lidar, _WIDTH_PX)
    quality = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    return cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)[1].tobytes()


def _table(report: Report) -> Table:
    head = ['camera', 'by', 'verdict', 'frames', 'points in the image', 'image after sweep, s',
            'edges', 'roll', 'pitch', 'yaw', 'draws that agree']
    return Table(head, [_row(item) for item in report.cameras])


def _row(item: Checked) -> list[Cell]:
    found = item.estimate
    turns = [
        Cell(f'{turn:+.2f} ± {spread:.2f}', number=True)
        for turn, spread in zip(found.correction_deg, found.spread_deg, strict=True)
    ] if found else [number(None)] * 3
    return [
        text(item.camera, 'head'), text(item.source), text(item.verdict, _LOOKS[item.verdict]),
        number(len(item.looks)), number(100 * item.seen, 1, ' %'), number(item.offset_s, 3),
        number(found.edges if found else None), *turns,
        number(100 * found.sure if found else None, 0, ' %'),
    ]


def _ramp() -> str:
    """Return the colours of distances, near to far, as CSS has them."""
    levels = np.linspace(255, 0, 9).astype(np.uint8).reshape(-1, 1)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_TURBO).reshape(-1, 3)
    return ', '.join(f'rgb({red}, {green}, {blue})' for blue, green, red in colours.tolist())
