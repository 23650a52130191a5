"""The report as JSON, as tables, as a page and as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from perception_ros.benchmarks.grids import doubts, grids, not_measured, number, verdict
from perception_ros.benchmarks.markdown import page
from perception_ros.benchmarks.plot import draw, ticks
from perception_ros.benchmarks.report import EngineReport
from perception_ros.benchmarks.schema import json_schema
from perception_ros.benchmarks.statistics import Spread
from perception_ros.core.errors import BenchmarkError
from test.benchmarks.reports import CPU, report, row, spread

SCHEMA = Path(__file__).parents[2] / 'docs' / 'benchmark.schema.json'


def test_the_published_schema_is_what_the_models_say() -> None:
    printed = 'print it anew: python -m perception_ros.benchmarks.schema'
    assert json.loads(SCHEMA.read_text()) == json_schema(), printed


def test_every_field_that_needs_it_is_explained_in_the_schema() -> None:
    for name in ('latency_ms', 'images_ratio', 'precision_ratio', 'peak_memory_bytes'):
        assert json_schema()['$defs']['EngineRow']['properties'][name]['description']


def test_a_report_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / 'a.json'
    path.write_text(report().model_dump_json())
    assert EngineReport.read(path) == report()


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        pytest.param(None, 'cannot be read; No such file', id='absent'),
        pytest.param('{"benchmark": "engine"}', 'expected a report.*command', id='another file'),
        pytest.param('{', 'expected a report', id='cut off'),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / 'a.json').write_text(text)
    with pytest.raises(BenchmarkError, match=message):
        EngineReport.read(tmp_path / 'a.json')


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (None, '-'), (0.0, '0'), (0.0000041, '0.0000041'), (0.123456, '0.123'), (12.345, '12.3'),
        (1234.5, '1234'), (2.0, '2'), (99.99, '100'),
    ],
)
def test_numbers_have_three_digits_and_no_exponent(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ('ratio', 'said'),
    [
        (Spread(median=1.2, p10=1.01, p90=1.4, samples=9), 'faster'),
        (Spread(median=0.8, p10=0.7, p90=0.99, samples=9), 'slower'),
        (Spread(median=1.2, p10=0.9, p90=1.4, samples=9), 'no clear difference'),
    ],
)
def test_faster_is_said_only_where_the_rounds_agree(ratio: Spread, said: str) -> None:
    assert verdict(ratio) == said


def test_tables_show_what_was_measured() -> None:
    tables = {grid.title: grid.rows for grid in grids(report())}
    assert list(tables) == [
        'net', 'Lower precision', 'Largest difference from the reference', 'Accuracy',
    ]
    assert tables['net'][0] == (
        'fp32', CPU, '1', '50', '80 *', '20 (18 to 22)', '1 (0.9 to 1.1)', '200',
    )
    assert [cells[2] for cells in tables['Lower precision']] == ['slower', 'faster']
    assert tables['Largest difference from the reference'][0] == (
        'net-fp32', CPU, '12', '0.0000041', '0.25', '40', '2', '1', '1.25',
    )
    assert tables['Accuracy'] == [('net-int8', CPU, 'camvid:data@val', '101', '0.500', '-')]


def test_what_has_no_figures_is_listed_with_the_reason() -> None:
    assert list(not_measured(report())) == [
        'tensorrt: no GPU\n here',
        'net-int8 in dies, batch 1: signal SIGSEGV',
        'net-fp32 in onnxruntime@cpu on yolo:data: disk full',
    ]


def test_a_precision_that_is_not_the_graph_s_is_shown() -> None:
    other = row('net-fp32', 'gpu', 1, 3.0)
    assert other.engine is not None
    as_half = other.engine.model_copy(update={'precision': 'bf16'})
    rows = (other.model_copy(update={'engine': as_half, 'device_memory_bytes': 300_000_000}),)
    cells = next(grids(report(rows=rows))).rows[0]
    assert cells[0] == 'fp32, run as bf16' and cells[-1] == '200 + 300 on the GPU'


def test_noise_is_a_doubt() -> None:
    assert list(doubts(report().rows)) == []
    wild = Spread(median=20, p10=10, p90=30, samples=7)
    [said] = doubts([row('net-fp32', CPU, 1, 1.0), row('net-fp32', CPU, 2, 1, images_per_s=wild)])
    assert said.startswith('in 1 of 2 rows')


class TestPage:

    def test_it_says_on_what_and_how(self) -> None:
        text = page(report(), 'images/benchmarks.png')
        here = report().environment
        for words in (
            here.cpu, f'{here.cores} cores', '2026-11-22T04:00:00+00:00', 'load average',
            'perception_ros bench engine net-fp32 net-int8', '- the machine was busy',
            '7 rounds of 1 s', 'on 12 real images', '](images/benchmarks.png)',
            '- tensorrt: no GPU here', '`0123456789abcdef…`', '| 20 (18 to 22) |',
        ):
            assert words in text

    def test_every_table_is_whole(self) -> None:
        """A cell with a bar in it would shift all that follow."""
        accuracy = tuple(
            item.model_copy(update={'dataset': 'yolo:a|b'}) for item in report().accuracy
        )
        text = page(report(accuracy=accuracy))
        blocks = [block.splitlines() for block in text.split('\n\n')]
        tables = [block for block in blocks if block[0].startswith('|')]
        assert len(tables) == 6
        for table in tables:
            assert len({line.count('|') for line in table}) == 1, table

    def test_without_a_plot_there_is_no_picture(self) -> None:
        assert '![' not in page(report())


class TestPlot:

    def test_it_has_a_panel_for_each_model_and_a_colour_for_each_engine(self) -> None:
        picture = draw(report())
        assert picture.dtype == np.uint8 and picture.shape[1:] == (1600, 3)
        assert picture.shape[0] > 420
        colours = {tuple(pixel) for pixel in picture[::4, ::4].reshape(-1, 3)}
        assert len(colours) > 3, 'paper, ink, lines and bars'

    def test_bars_go_up_for_faster_and_down_for_slower(self) -> None:
        """Of the two bars of this report the first is half as fast, the second 2.5 times."""
        picture = draw(report())[:420]
        saturation = picture.max(axis=2).astype(int) - picture.min(axis=2)
        rows, columns = np.nonzero(saturation > 40)
        left, right = rows[columns < 800], rows[columns >= 800]
        assert right.max() < left.max() and right.min() < left.min()

    def test_nothing_to_compare(self) -> None:
        with pytest.raises(BenchmarkError, match='--plot: expected something to compare'):
            draw(report(rows=report().rows[:1]))

    def test_the_axis_holds_every_whisker_and_one(self) -> None:
        assert ticks([spread(3.0)]) == [1, 2, 4]
        assert ticks([spread(0.3)]) == [0.25, 0.5, 1]
        assert ticks([spread(1.0)]) == [0.5, 1, 2]
