"""Reports of running nodes: what turns say together, tables, a picture, and a search."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.benchmarks.live.figures import Delays
from perception_ros.benchmarks.live.plot import draw
from perception_ros.benchmarks.live.reports import LiveReport, PipelineReport, RateTry, side_rows
from perception_ros.benchmarks.live.search import highest_rate
from perception_ros.benchmarks.live.tables import doubts, not_measured, tables
from perception_ros.benchmarks.schema import read_report
from perception_ros.core.errors import BenchmarkError
from test.benchmarks.live_reports import pipeline_report, side, turn
from test.benchmarks.reports import report as engine_report


def test_percentiles_are_delays_that_occurred() -> None:
    found = Delays.of(np.arange(1, 101))
    assert found == Delays(p50=51, p95=96, p99=100, max=100)
    assert Delays.of([]) is None


def test_sides_are_compared_round_by_round() -> None:
    """Each round has its own load: 1/4, 2/8; the third has no partner."""
    report = pipeline_report()
    found = [(r.figure, r.side, r.over, r.value.median, r.value.samples) for r in report.ratios]
    assert found == [
        ('cpu_ms_per_frame', 'node', 'plain@default', 0.25, 2),
        ('delay_p99_ms', 'node', 'plain@default', 0.1, 2),
    ]
    row = report.row('plain@default')
    assert row.lost_percent and row.lost_percent.median == 10
    assert report.row('bare').cpu_ms_per_frame is None


def test_tables_show_what_was_measured_and_what_was_not() -> None:
    report = pipeline_report(tries=(RateTry(rate_hz=15, is_bounded=False, why='p99 90 ms'),))
    found = {grid.title: grid.rows for grid in tables(report)}
    node = found['2 cameras, 64x48 raw, 10 Hz'][0]
    assert node == (
        'node', '20 (20 to 20)', '0 (0 to 0)', '4 (4 to 4)', '8 (8 to 8)', '2 (1.2 to 2.8)',
        '0.5 (0.5 to 0.5)', '300 (300 to 300)',
    )
    ratio = found['Ratios, round by round'][0]
    assert ratio[:2] == ('node / plain@default', '0.25 (0.25 to 0.25)')
    assert ('15', 'no', 'p99 90 ms') in found['Rates tried: is p99 within - ms?']
    assert found['plain@default, by its own account; dropped in all turns: 8 superseded'][0] == (
        'prepare', '40', '72', '80', '160',
    )
    assert found['What was sent, in all turns'][0] == ('node', '120', '10', '3', '0.3', '0.1')
    assert list(not_measured(report)) == ['bare after 0 turns: no engine']


def test_a_sender_that_is_too_slow_is_a_doubt() -> None:
    """Else a rate is reported that nobody has sent."""
    assert list(doubts(pipeline_report())) == []
    asked = turn().sent.model_copy(update={'asked_hz': 30.0})
    slow = side_rows({'node': side(turn().model_copy(update={'sent': asked}))})
    said = next(iter(doubts(pipeline_report(rows=slow))))
    assert 'kept 10 Hz where 30 were asked for' in said


def test_the_picture_has_a_panel_for_each_figure() -> None:
    picture = draw(pipeline_report())
    assert picture.dtype == np.uint8 and picture.shape[1:] == (1600, 3)
    assert picture.shape[0] == 3 * (70 + 2 * 46 + 50), 'three figures, two sides that have them'
    saturation = picture.max(axis=2).astype(int) - picture.min(axis=2)
    delays = saturation[212:424] > 40
    assert delays[70:116].sum() * 5 < delays[116:162].sum(), 'bars are as long as their values'


def test_nothing_measured_is_not_drawn() -> None:
    with pytest.raises(BenchmarkError, match='--plot: expected a side that was measured'):
        draw(pipeline_report(rows=pipeline_report().rows[2:]))


def test_a_file_is_read_as_what_it_is(tmp_path: Path) -> None:
    for number, written in enumerate([pipeline_report(), engine_report()]):
        path = tmp_path / f'{number}.json'
        path.write_text(written.model_dump_json())
        assert read_report(path) == written
    damaged = tmp_path / 'damaged.json'
    damaged.write_text('{"benchmark": "pipeline", "rows": 3}')
    with pytest.raises(BenchmarkError, match='expected a report of this benchmark'):
        read_report(damaged)


def test_all_reports_state_the_machine() -> None:
    for name in ('environment', 'command', 'measured', 'middleware', 'stream', 'timing'):
        assert name in LiveReport.model_fields and name in PipelineReport.model_fields
    assert side(turn()).turns[0].lost_percent == 0


@given(limit=st.floats(1, 500), start=st.floats(5, 100))
def test_the_highest_rate_is_found_from_any_start(limit: float, start: float) -> None:
    found = highest_rate(lambda rate: rate <= limit, start, 4)
    if limit < start / 64:
        assert found is None
    elif found is not None and limit < 32 * start:
        assert found <= limit <= found * 2 ** (1 / 16) * 1.000001
