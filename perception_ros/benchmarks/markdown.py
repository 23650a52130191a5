"""A report as a page: the tables, and what can and cannot be read from them."""

from __future__ import annotations

from collections.abc import Iterator

from perception_ros.benchmarks.grids import Grid, grids, not_measured
from perception_ros.benchmarks.report import EngineReport

_HOW_TO_READ = """\
- **Ratios travel, times do not.** All engines of a model were open at the same time and took
  turns, {rounds} rounds of {turn} s each, and each ratio is of two neighbours in one round. *×
  reference* is images/s over those of ONNX Runtime on the CPU at FP32 and the same batch. In
  brackets is where eight of ten rounds lie; if that holds 1, nothing has been shown.
- **p50 and p99** are of single calls of the engine, one after the other: copying, letterboxing
  and the way over ROS topics are not in them. A * stands at a p99 of fewer than 100 calls: it
  is the slowest of them. **images/s** is with both slots of the engine busy, as the pipeline
  keeps them.
- **Memory** is the most that a process with this engine alone has held, Python and the runtime
  included; with Triton of the client alone.
- **Differences** are the largest over all batches, on {images} real images: of the corners of
  boxes in pixels of the network's input, of their scores (0..1), and the share of mask pixels.
  Boxes of one class are paired by overlap. Scores below 0.01 and what lies in the padding
  around an image are left out, because there equal scores are ordered by rounding. *lost* and
  *gained* are boxes above the bundle's own threshold without a partner.
- **Accuracy** is of the same code for all backends (`perception_ros evaluate`). It says how far
  precisions and backends lie apart; how good a model is on the road it does not say: the data
  are few.
- Not in here: other machines, GPUs that are not named above, cold starts, several models at
  once, power.
"""


def page(report: EngineReport, plot: str | None = None) -> str:
    """Return the page.

    :param plot: where the picture lies, relative to the page.
    """
    return '\n'.join(_lines(report, plot)) + '\n'


def _lines(report: EngineReport, plot: str | None) -> Iterator[str]:
    yield from (
        '# Benchmarks',
        '',
        'Printed by the command below; no figure on this page was written by hand. In the source',
        'tree `make benchmarks` measures all of it anew.',
        '',
        f'    {report.command}',
        '',
    )
    yield from _environment(report)
    if report.warnings:
        yield from ('', '**Read with care:**', '')
        yield from (f'- {text}' for text in report.warnings)
    yield from ('', '## How to read this', '', _HOW_TO_READ.format(
        rounds=report.settings.rounds, turn=f'{2 * report.settings.seconds:g}',
        images=report.settings.images,
    ))
    if plot:
        yield from (f'![Images a second, compared with the reference]({plot})', '')
    for grid in grids(report):
        yield from _table(grid)
    if left_out := list(not_measured(report)):
        yield from ('## Not measured here', '')
        yield from (f'- {" ".join(text.split())}' for text in left_out)
        yield ''
    yield from _bundles(report)


def _environment(report: EngineReport) -> Iterator[str]:
    here = report.environment
    packages = ', '.join(f'{name} {number}' for name, number in here.packages.items())
    facts = {
        'measured': f'{report.measured}, commit {here.commit or "unknown"}',
        'CPU': f'{here.cpu}, {here.cores} cores',
        'its instructions': ', '.join(here.cpu_features) or 'none that matter here',
        'governor': here.governor or 'none visible',
        'memory': f'{here.memory_bytes / 1e9:.0f} GB',
        'GPU': '; '.join(here.gpus) or 'none',
        'load average': f'{here.load_average:g} before, {report.load_average_after:g} after',
        'system': f'{here.system}, {here.python}',
        'packages': f'perception_ros {here.perception_ros}, {packages}',
        'threads': str(report.settings.threads or "the runtime's choice"),
    }
    yield from ('| | |', '|---|---|')
    yield from (f'| {name} | {text} |' for name, text in facts.items())


def _table(grid: Grid) -> Iterator[str]:
    lines = ['---' if i < grid.first_number else '---:' for i in range(len(grid.columns))]
    yield from (f'## {grid.title}', '')
    for cells in (grid.columns, lines, *grid.rows):
        yield f'| {" | ".join(cell.replace("|", "¦") for cell in cells)} |'
    yield ''


def _bundles(report: EngineReport) -> Iterator[str]:
    yield from ('## Bundles', '', '| bundle | precision | input | graph, MB | SHA-256 |')
    yield '|---|---|---|---:|---|'
    for item in report.bundles:
        size = f'{item.input[0]}×{item.input[1]}'
        yield (
            f'| {item.name} | {item.precision} | {size} | {item.bytes / 1e6:.1f} | '
            f'`{item.sha256[:16]}…` |'
        )
