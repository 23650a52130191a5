"""The measurement of a fusion, its report, its table and its picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from perception_ros.benchmarks.canvas import Canvas, COLORS, FAINT, Pixels, WIDTH
from perception_ros.benchmarks.fusion.scene import Scene
from perception_ros.benchmarks.fusion.sides import SIDES, Turn
from perception_ros.benchmarks.grids import Grid, number, with_range
from perception_ros.benchmarks.report import Occasion, Report, Strict
from perception_ros.benchmarks.rounds import interleave, Side
from perception_ros.benchmarks.statistics import Latency, ratios, Spread

STAGES = ('points', 'ground', 'projection', 'objects', 'painting', 'fields')
_WARM_UP = 3
_MOST_CORES = 1.1
"""More than so much CPU time for each second says that it was not one thread."""
_LEFT, _RIGHT, _TOP, _ROW, _BOTTOM = 170, 60, 80, 90, 110


class FusionSide(Strict):
    """One way to fuse a sweep."""

    name: str
    total_ms: Latency
    stages_ms: dict[str, Latency] = Field(description='In the order in which they run')
    cpu_ms: Latency = Field(
        description='CPU time of all threads of the process: what else runs on a machine adds to '
        'the time that passes, less to this'
    )


class FusionReport(Report):
    """Our fusion beside a plain loop over the cameras, on the same sweep in the same rounds."""

    benchmark: Literal['fusion'] = 'fusion'
    scene: str
    points: int
    cameras: int
    width: int = Field(description='Of the images and masks of the first camera, px')
    height: int
    boxes: int = Field(description='2D boxes in all images')
    rounds: int = Field(description='In each, every side has its turn')
    sides: tuple[FusionSide, ...]
    ratio: Spread = Field(description="The plain loop's time / the fusion's, round by round")
    agreement: float = Field(
        description='Share of the points that both paint to which both give the same class, 0..1'
    )


def measure(
    scene: Scene, rounds: int, announce: Callable[[str], None], command: str
) -> FusionReport:
    """Fuse one sweep again and again, in this thread; OpenCV gets no other."""
    occasion = Occasion(command)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for fuse in SIDES.values():
            for _ in range(_WARM_UP):
                fuse(scene)
        sides = {name: Side(partial(fuse, scene)) for name, fuse in SIDES.items()}
        interleave(
            list(sides.values()), rounds, lambda done: announce(f'{done} of {rounds} rounds')
        )
    finally:
        cv2.setNumThreads(threads)
    rows = [_row(name, side.turns) for name, side in sides.items()]
    totals = {name: [turn.total_ms for turn in side.turns] for name, side in sides.items()}
    ratio = ratios(totals['plain'], totals['fusion'])
    assert ratio, 'there is a round at least'
    busy = [row.name for row in rows if row.cpu_ms.median > _MOST_CORES * row.total_ms.median]
    doubts = (
        f'{" and ".join(busy)} kept more than one core busy: set OMP_NUM_THREADS=1 and '
        'OPENBLAS_NUM_THREADS=1, so that these are figures of one thread',
    ) if busy else ()
    first = scene.fusion_set.views[0].lens
    return FusionReport(
        **occasion.facts(*doubts), scene=scene.name, points=len(scene.cloud),
        cameras=len(scene.fusion_set.views), width=first.width, height=first.height,
        boxes=scene.boxes, rounds=rounds, sides=tuple(rows), ratio=ratio,
        agreement=_agreement(*(side.turns[-1] for side in sides.values())),
    )


def _row(name: str, turns: Sequence[Turn]) -> FusionSide:
    stages = [stage for stage in STAGES if stage in turns[0].stages_ms]
    return FusionSide(
        name=name, total_ms=Latency.of([turn.total_ms for turn in turns]),
        stages_ms={
            stage: Latency.of([turn.stages_ms[stage] for turn in turns]) for stage in stages
        },
        cpu_ms=Latency.of([turn.cpu_ms for turn in turns]),
    )


def _agreement(one: Turn, other: Turn) -> float:
    ours, theirs = one.says(), other.says()
    both = (ours != '') & (theirs != '')
    return float((ours == theirs)[both].mean()) if both.any() else 1.0


def grid(report: FusionReport) -> Grid:
    """Return the report as a table."""
    columns = ('', 'p50, ms', 'p99, ms', 'CPU, ms', *(f'{stage}, ms' for stage in STAGES))
    rows = [
        (
            side.name, number(side.total_ms.median), number(side.total_ms.p99),
            number(side.cpu_ms.median),
            *(number(side.stages_ms[stage].median) if stage in side.stages_ms else '-'
              for stage in STAGES),
        )
        for side in report.sides
    ]
    title = (
        f'{report.scene}: {report.points} points, {report.cameras} cameras of '
        f'{report.width}x{report.height} with masks, {report.boxes} boxes'
    )
    return Grid(title, columns, rows, 1)


def lines(report: FusionReport) -> list[str]:
    """Return what is said below the table."""
    here = report.environment
    return [
        f'on {here.cpu}, {here.cores} cores, Python {here.python.split()[-1]}, NumPy '
        f'{here.packages.get("numpy", "?")}; OpenCV in one thread',
        f'plain / fusion: {with_range(report.ratio)}, {report.rounds} rounds; both give '
        f'{report.agreement:.1%} of the points that both paint the same class. The plain loop '
        'knows no ground, nothing hidden and no objects in space.'
    ]


def draw(report: FusionReport) -> Pixels:
    """Return the stages of each side one after the other, uint8 [H, W, 3] BGR."""
    height = _TOP + _ROW * len(report.sides) + _BOTTOM
    canvas = Canvas(height)
    canvas.write(f'ms for a sweep of {report.points} points and {report.cameras} cameras, median '
                 'of each stage', _LEFT, 44, 0.9)
    medians = {side.name: {name: spread.median for name, spread in side.stages_ms.items()}
               for side in report.sides}
    most_ms = max(sum(stages.values()) for stages in medians.values())
    tick_ms = float(10.0 ** np.floor(np.log10(most_ms)))
    tick_ms /= 2 if most_ms / tick_ms < 5 else 1
    scale = (WIDTH - _LEFT - _RIGHT) / most_ms
    for tick in np.arange(0, most_ms, tick_ms):
        x = _LEFT + float(tick) * scale
        canvas.line((x, _TOP - 10), (x, height - _BOTTOM), FAINT, 1)
        canvas.write(number(float(tick)), x, height - _BOTTOM + 28, 0.65, align=0.5)
    for row, (side, stages) in enumerate(medians.items()):
        top, x = _TOP + row * _ROW, float(_LEFT)
        canvas.write(side, _LEFT - 20, top + _ROW / 2 + 8, 0.8, align=1.0)
        for stage, spent_ms in stages.items():
            right = x + spent_ms * scale
            canvas.box((x, top + 12), (right, top + _ROW - 12), COLORS[STAGES.index(stage)])
            x = right
    room = (WIDTH - _LEFT - _RIGHT) / len(STAGES)
    for place, stage in enumerate(STAGES):
        x, y = _LEFT + place * room, height - 50
        canvas.box((x, y), (x + 30, y + 24), COLORS[place])
        canvas.write(stage, x + 40, y + 20, 0.7)
    return canvas.finished()
