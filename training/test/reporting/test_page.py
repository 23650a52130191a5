"""The page, made from the records of runs; those of a real one are in `delivering`."""

import json
from pathlib import Path
import re
from typing import Any

import pytest

from perception_ros.pages.plots import COLOURS, curves, Line, smoothed
from perception_training.errors import TrainingError
from perception_training.reporting.page import render, write_report
from perception_training.reporting.runs import read_run

NAME = '<b>truck</b>'
"""A class that would be markup, were it not escaped."""


def box_class(n: int, ap: float) -> dict[str, Any]:
    size = {'n': n, 'ap50': ap, 'ap': ap}
    best = {'f1': 0.7, 'score': 0.4, 'precision': 0.8, 'recall': 0.6}
    return {'n': n, 'ap50': ap, 'ap': ap, 'best_f1': best,
            'sizes': {'small': size, 'medium': size, 'large': {'n': 0, 'ap50': None, 'ap': None}},
            'precision_at_recall': [1.0] * 101, 'f1_at_score': [0.5] * 101}


def evaluation(engine: str, map50: float, images: int = 9, **changes: Any) -> dict[str, Any]:
    metrics = {'images': images, 'map50': map50, 'map': 0.2, 'classes': {}}
    confusion = {'score': 0.3, 'names': [NAME, 'background'], 'counts': [[3, 1], [2, 0]]}
    details = {'map50': map50, 'map': 0.2, 'classes': {NAME: box_class(4, 0.5)},
               'confusion': confusion}
    return {
        'engine': engine, 'runtime': f'{engine} 1.0', 'device': 'cpu', 'precision': 'fp32',
        'weights': 'last.pt', 'size_mb': 3.8, 'parameters': 957417, 'step': 40, 'minutes': 2.0,
        'when': '2026-11-25T20:00:00+00:00', 'latency_ms': 12.5, 'agreement': None, 'worst': [],
        'examples': [],
        'colours': {'boxes': {NAME: [255, 0, 0]}},
        'sets': {'idd': {'images': images, 'of': 9, 'metrics': {'boxes': metrics},
                         'details': {'boxes': details}}}, **changes}


def make_run(folder: Path, *evaluations: dict[str, Any], map50: float = 0.5) -> Path:
    """Write what a run of 40 steps of 8 images leaves, a second and a half each."""
    (folder / 'evaluation').mkdir(parents=True)
    lines = [{'step': step, 'loss': 9 / step, 'boxes/box': 1 / step, 'lr': 1e-3,
              'seconds': 30 + 1.5 * step} for step in range(10, 41, 10)]
    measured = {'step': 40, 'training_minutes': 2.0, 'idd': {'boxes': {'map50': map50}}}
    lines.append({'step': 40, 'metrics': measured, 'overall': map50})
    (folder / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    (folder / 'data.json').write_text(json.dumps(
        {'train': [{'name': 'idd', 'images': 64, 'share': 1}], 'images_per_step': 8}))
    (folder / 'run.json').write_text(json.dumps({
        'command': ['perception_train', 'fit'], 'commit': 'abc', 'clean': False, 'seed': 7,
        'started': '2026-11-25T19:00:00+00:00', 'hardware': 'a processor', 'python': '3.11',
        'torch': '2.14', 'libraries': {'openvino': '2026.4.1'}}))
    (folder / 'config.yaml').write_text(
        'width: 640\nheight: 384\nmodel: {name: yolo, size: n}\n'
        'fit: {precision: bf16, evaluate_every: 20}\n'
        'labels: {boxes: [truck]}\nbundle: {description: Finds trucks., val_notes: [By day.]}\n')
    for item in evaluations or (evaluation('checkpoint', map50),):
        (folder / 'evaluation' / f'{item["engine"]}.json').write_text(json.dumps(item))
    return folder


def page(*folders: Path) -> str:
    return render([read_run(folder) for folder in folders])


@pytest.fixture(scope='module')
def of_one(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the page of one run, of which everything is recorded that can be."""
    same = {'with': 'checkpoint', 'ok': True, 'box_px': 0.001, 'score': 1e-6, 'cells': 0.0,
            'mask': 0.0}
    run = make_run(
        tmp_path_factory.mktemp('runs') / 'trucks',
        evaluation('openvino', 0.48, agreement={**same, 'ok': False, 'box_px': 0.4}),
        evaluation('onnxruntime', 0.5, agreement=same), evaluation('checkpoint', 0.5),
        evaluation('tensorrt', 0.7, images=3))
    (run / 'compression.json').write_text(json.dumps([{
        'name': 'half of the channels', 'kind': 'prune',
        'before': {'miou': 0.6, 'size_mb': 8.0, 'parameters': 2_000_000},
        'after': {'miou': 0.59, 'size_mb': 2.0, 'latency_ms': 3.5}}]))
    (run / 'benchmark.json').write_text(json.dumps({
        'model': 'a processor', 'step': {'median': 81.25, 'p10': 80.5},
        'both': {'median': 40.5, 'p10': 39.0}, 'variants': [{'name': 'bf16', 'gain': None}]}))
    return page(run)


def test_time_per_epoch_is_that_of_the_run_s_own_records(tmp_path: Path) -> None:
    """64 images are 8 steps of 8, at 1.5 s; what came before the first report is no part of it."""
    run = read_run(make_run(tmp_path / 'run'))
    assert run.seconds_per_epoch == pytest.approx(12.0)
    assert run.epochs == pytest.approx(5.0)
    assert run.minutes == pytest.approx(1.5)
    assert run.best_step == 40


def test_one_run_says_what_it_is_how_good_and_how_it_was_made(of_one: str) -> None:
    for said in ('<h1>trucks</h1>', 'Finds trucks.', 'yolo n · 640x384 px · boxes of 1 classes',
                 '0.500 <small>mAP50</small>', 'boxes, idd, 9 images', 'By day.',
                 'abc, with changes that were not committed', 'openvino 2026.4.1', 'a processor',
                 'Loss over steps', 'Accuracy over time',
                 'Precision at each recall', 'F1 at each score threshold', 'precision: bf16'):
        assert said in of_one, said


def test_it_needs_no_network_and_no_script(of_one: str) -> None:
    names = {'http://www.w3.org/2000/svg', 'http://www.w3.org/1999/xlink'}
    assert set(re.findall(r'https?://[^"\s<]+', of_one)) <= names
    assert '<script' not in of_one and '<link' not in of_one
    assert all(uri.startswith('#') for uri in re.findall(r'href="([^"]*)"', of_one))


def test_names_are_escaped(of_one: str) -> None:
    assert NAME not in of_one
    assert '&lt;b&gt;truck&lt;/b&gt;' in of_one


def test_engines_stand_side_by_side_and_a_difference_is_flagged(of_one: str) -> None:
    assert 'Other answers: openvino.' in of_one and 'The same answers: onnxruntime.' in of_one
    found = dict(re.findall(r'<tr><th scope="row" class="">(\w+)</th>(.*?)</tr>', of_one,
                            re.DOTALL))
    assert 'reference' in found['checkpoint']
    assert '0.500 (+0.0000)' in found['onnxruntime'] and '>yes<' in found['onnxruntime']
    assert '0.480 (-0.0200)' in found['openvino'] and 'DIFFERS' in found['openvino']
    assert '0.700 *' in found['tensorrt'] and 'not compared' in found['tensorrt']


def test_compression_and_benchmark_are_shown(of_one: str) -> None:
    for said in ('pruned', '0.600 → 0.590 (-1.0 points)', '8.00 → 2.00 (-75%)', '– → 3.5',
                 'a processor', '81.25', '40.5', 'bf16'):
        assert said in of_one, said


def test_several_runs_are_compared_by_time_per_epoch_and_accuracy(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / 'slow' / 'run'),
               make_run(tmp_path / 'good' / 'run', map50=0.61)]
    write_report(folders, tmp_path / 'pages' / 'report.html')
    text = (tmp_path / 'pages' / 'report.html').read_text()
    head, *rows = re.findall(r'<tr>.*?</tr>', text, re.DOTALL)[:3]
    assert 's/epoch' in head and 'mAP50 boxes, idd' in head
    assert 'slow/run' in rows[0] and '12.0' in rows[0] and '0.500' in rows[0]
    assert 'good/run' in rows[1] and '0.610' in rows[1]
    assert 'Accuracy over time, mean over sets and heads' in text
    assert 'Hardware: a processor.' in text


def test_a_folder_with_measurements_alone_is_shown(tmp_path: Path) -> None:
    """Such as that of a bundle that was made elsewhere."""
    folder = tmp_path / 'shipped'
    (folder / 'evaluation').mkdir(parents=True)
    (folder / 'evaluation' / 'onnxruntime.json').write_text(
        json.dumps(evaluation('onnxruntime', 0.5, parameters=None, step=None)))
    assert 'There is no run.json' in page(folder)


@pytest.mark.parametrize(('file', 'text', 'said'), [
    (None, '', 'expected the run_dir of a run'),
    ('run.json', '{', r'run\.json: expected JSON'),
    ('compression.json', '[{"name": "a", "kind": "shrink"}]', r"compression\.json: .*'prune'"),
], ids=['nothing there', 'cut off', 'of no kind'])
def test_what_cannot_be_shown_is_said(
    tmp_path: Path, file: str | None, text: str, said: str
) -> None:
    if file is not None:
        (tmp_path / file).write_text(text)
    with pytest.raises(TrainingError, match=said):
        write_report([tmp_path], tmp_path / 'report.html')


def test_a_plot_takes_its_ink_from_the_page() -> None:
    lines = [Line('a', [0, 1, 2], [1, 2, 3]), Line('b & c', [0, 1, 2], [3, 2, 1])]
    drawn = curves(lines, 'step', 'loss')
    assert 'currentColor' in drawn and '#010203' not in drawn
    assert COLOURS[0] in drawn and COLOURS[1] in drawn
    assert 'b &amp; c' in drawn and '<style' not in drawn
    assert drawn == curves(lines, 'step', 'loss')  # the same page for the same run


def test_smoothing_is_the_mean_of_the_last_values() -> None:
    assert smoothed([4, 2, 6, 0], 2) == [4, 3, 4, 3]
