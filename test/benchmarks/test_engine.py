"""The whole benchmark on real bundles: real engines, real processes, and one that dies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import sys

import cv2
import numpy as np
import pytest

from perception_ros.backends import Backend, BACKENDS
from perception_ros.backends.triton.repository import Serving, write_repository
from perception_ros.benchmarks.engine import measure, Measured
from perception_ros.benchmarks.plan import (
    default_backends,
    EnginePlan,
    LabelledData,
    model_of,
    REFERENCE,
    SERVED,
)
from perception_ros.bundles import Bundle
from perception_ros.core.errors import BenchmarkError, DatasetError, ImageError
from test.backends.triton.process import ServerProcess
from test.builders import fake_bundle, picture, write_real_bundle

BREAKING = (sys.executable, '-m', 'test.benchmarks.breaking_worker')


def without_news(what: str) -> None:
    """Take what is announced."""


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with labels: each is of one colour, whose box the bundle always gives."""
    root = tmp_path_factory.mktemp('data')
    for part in ('images', 'labels'):
        (root / part).mkdir()
    for label, colour in enumerate(('red', 'green', 'blue')):
        rgb = picture(96, 64, **{colour: (0, 0, 96, 64)})
        cv2.imwrite(str(root / 'images' / f'{colour}.png'), np.ascontiguousarray(rgb[..., ::-1]))
        x, y = 4 * label + 10, 4 * label + 5
        (root / 'labels' / f'{colour}.txt').write_text(
            f'{label} {x / 96} {y / 64} {20 / 96} {10 / 64}\n'
        )
    return root


@pytest.fixture(scope='module')
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, ...]:
    """One model at two precisions, if one believes what they say."""
    root = tmp_path_factory.mktemp('bundles')
    return (
        write_real_bundle(root / 'means', 'means'),
        write_real_bundle(root / 'means-int8', 'means-int8', precision='int8'),
    )


@pytest.fixture(scope='module')
def plan(bundles: tuple[Bundle, ...], folder: Path) -> EnginePlan:
    return EnginePlan(
        bundles[::-1], ('openvino', 'dies', 'raises'), (1, 2), folder / 'images', image_count=3,
        datasets=(
            LabelledData(f'yolo:{folder}', labels=('rouge', 'green', 'blue'),
                         rename={'rouge': 'red'}),
        ),
        rounds=2, seconds=0.01,
    )


@pytest.fixture(scope='module')
def measured(plan: EnginePlan) -> Measured:
    with pytest.MonkeyPatch.context() as patch:
        for name in ('dies', 'raises'):
            patch.setitem(BACKENDS, name, Backend(f'breaking_{name}'))
        return measure(plan, without_news, BREAKING)


def rows(measured: Measured, **wanted: object) -> list[object]:
    return [
        row for row in measured.rows
        if all(getattr(row, name) == value for name, value in wanted.items())
    ]


@pytest.mark.slow
class TestMeasure:

    def test_every_configuration_has_a_row(self, measured: Measured) -> None:
        assert [(row.bundle, row.backend, row.batch) for row in measured.rows] == [
            (bundle, backend, batch)
            for batch in (1, 2)
            for bundle, backends in (
                ('means', (REFERENCE, 'openvino', 'dies')), ('means-int8', ('openvino', 'dies')),
            )
            for backend in backends
        ]

    def test_a_backend_that_does_not_work_is_named_with_its_reason(
        self, measured: Measured
    ) -> None:
        states = {state.name: state for state in measured.backends}
        assert list(states) == ['onnxruntime', 'openvino', 'dies', 'raises']
        assert states['onnxruntime'].found and states['onnxruntime'].reason is None
        assert states['raises'].reason == 'RuntimeError: out of memory'

    def test_a_crash_is_a_row_with_the_reason(self, measured: Measured) -> None:
        broken = rows(measured, backend='dies')
        assert len(broken) == 4
        for row in broken:
            assert 'signal SIGSEGV' in row.problem and row.latency_ms is None

    def test_the_others_have_all_figures(self, measured: Measured) -> None:
        good = rows(measured, problem=None)
        assert len(good) == 6
        for row in good:
            assert row.images_per_s.samples == 2 and row.images_per_s.median > 0
            assert 0 < row.latency_ms.median <= row.latency_ms.p99
            assert row.latency_ratio.samples == row.images_ratio.samples == 2
            assert 20e6 < row.peak_memory_bytes < 2e9
            assert row.engine.backend.partition(' ')[0] == row.backend.partition('@')[0]

    def test_the_reference_is_as_fast_as_itself(self, measured: Measured) -> None:
        for row in rows(measured, backend=REFERENCE):
            assert row.images_ratio.median == row.latency_ratio.median == 1
            assert row.precision_ratio is None
        for row in rows(measured, bundle='means-int8', problem=None):
            assert row.precision_ratio.samples == 2

    def test_answers_are_compared_with_the_reference_at_batch_1(
        self, measured: Measured
    ) -> None:
        for row in rows(measured, problem=None):
            if (row.backend, row.batch) == (REFERENCE, 1):
                assert row.difference is None
            else:
                assert row.difference.images == row.difference.boxes == 3
                assert row.difference.lost == row.difference.gained == 0
                assert row.difference.score < 1e-5 and row.difference.mask_share == 0

    def test_accuracy_is_measured_once_for_each_engine(self, measured: Measured) -> None:
        assert [(row.bundle, row.backend) for row in measured.accuracy] == [
            ('means', REFERENCE), ('means', 'openvino'), ('means-int8', 'openvino'),
        ]
        for row in measured.accuracy:
            assert row.problem is None and row.images == 3
            assert row.figures['map50'] == pytest.approx(1)
            assert 'rouge as red' in row.dataset


@pytest.mark.slow
def test_without_the_reference_there_are_times_but_no_ratios(
    bundles: tuple[Bundle, ...], folder: Path
) -> None:
    plan = EnginePlan(
        bundles[1:], ('onnxruntime@cpu',), (1,), folder / 'images', rounds=1, seconds=0.0
    )
    [row] = measure(plan, without_news).rows
    assert row.problem is None and row.images_ratio is None and row.difference is None


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        pytest.param({'backends': ('abacus',)}, "backend 'abacus': expected some of", id='name'),
        pytest.param({'backends': ()}, 'backend: expected one or more', id='no backend'),
        pytest.param({'batches': (1, 1)}, 'batch: expected each only once, got 1', id='twice'),
        pytest.param({'batches': (0,)}, 'batch: expected 1 or more, got 0', id='batch of none'),
        pytest.param({'bundles': ()}, 'bundle: expected one or more', id='no bundle'),
    ],
)
def test_what_cannot_be_measured_is_refused(
    plan: EnginePlan, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(BenchmarkError, match=message):
        measure(replace(plan, **{'backends': (REFERENCE,), **changes}), without_news)


def test_no_images_and_no_labels_are_told_before_anything_runs(
    plan: EnginePlan, tmp_path: Path
) -> None:
    quiet = replace(plan, backends=(REFERENCE,))
    with pytest.raises(ImageError, match='no pictures in'):
        measure(replace(quiet, images=tmp_path, datasets=()), without_news)
    with pytest.raises(DatasetError, match='there is no'):
        measure(replace(quiet, datasets=(LabelledData('yolo:nowhere'),)), without_news)


def test_what_auto_may_take_is_measured_and_the_reference_first() -> None:
    names = default_backends()
    assert names[0] == REFERENCE and 'openvino' in names and 'fake' not in names
    assert 'onnxruntime' not in names, 'it is the reference'
    assert SERVED not in names and default_backends('host:8001')[-1] == SERVED


@pytest.mark.slow
def test_a_server_is_measured_where_one_is_named(
    bundles: tuple[Bundle, ...], folder: Path, tmp_path: Path
) -> None:
    """It takes two images at once, so four are no figure but a reason."""
    write_repository(tmp_path / 'models', [bundles[1]], Serving(max_batch=2, queue_timeout_ms=0))
    with ServerProcess(tmp_path / 'models') as server:
        measured = measure(
            EnginePlan(
                bundles[1:], (SERVED,), (2, 4), folder / 'images', rounds=1, seconds=0.0,
                server=server.address,
            ),
            without_news,
        )
    two, four = measured.rows
    assert two.problem is None and server.address in two.engine.device
    assert 'expected an engine for batches of 4, got one for at most 2' in four.problem


@pytest.mark.parametrize(
    ('name', 'model'),
    [('net', 'net'), ('net-int8', 'net'), ('net_fp16', 'net'), ('fp16', 'fp16'), ('a8', 'a8')],
)
def test_precisions_of_one_model_share_its_name(name: str, model: str) -> None:
    assert model_of(fake_bundle(name=name)) == model


def test_classes_are_renamed_only_for_a_bundle_that_lacks_them(folder: Path) -> None:
    data = LabelledData(
        f'yolo:{folder}', labels=('red', 'lime', 'azul'), rename={'red': 'green', 'lime': 'green'}
    )
    fit = data.fitting(fake_bundle().manifest)
    assert fit is not None and fit.rename == {'lime': 'green'}
    assert fit.title == f'yolo:{folder} (lime as green)'
    others = LabelledData(f'yolo:{folder}', labels=('rot', 'gruen', 'blau'))
    assert others.fitting(fake_bundle().manifest) is None
