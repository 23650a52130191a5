"""A teacher's answers as labels: right, the same each time, and read by all that reads labels."""

from __future__ import annotations

from contextlib import nullcontext
import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from perception_ros.cli.main import main
from perception_ros.evaluation.datasets.coco import coco_data, load_coco
from perception_ros.labelling import pictures as pictures_module
from perception_ros.labelling.label import label as label_pictures
from perception_ros.labelling.label import LabelOptions
from perception_ros.replay.crew import Crew
from test.builders import COLOURS, picture, write_real_bundle
from test.replay.drawn import configuration, drawn_bag

MASKS = {
    'detection': {
        'classes': [{'name': name, 'color': rgb} for name, rgb in COLOURS.items()],
        'max_detections': 8, 'score_threshold': 0.3, 'masks': {'width': 4, 'height': 4},
    },
}


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """With boxes, their masks, and the head 'ground'."""
    write_real_bundle(tmp_path / 'teacher', **MASKS)
    return tmp_path / 'teacher'


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def label(teacher: Path, output: Path, *arguments: str | Path, backend: str = 'fake') -> Any:
    """Return the status, and what was written."""
    status = call(
        'label', *arguments, '--bundle', teacher, '--output', output, '--backend', backend
    )
    return status, json.loads(output.read_text()) if output.exists() else None


def test_a_bag_is_labelled_with_what_is_in_it(tmp_path: Path, teacher: Path) -> None:
    """The fake engine sees what was drawn; the names are those that `replay` looks for."""
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=3)
    status, found = label(teacher, tmp_path / 'labels.json', bag)
    assert status == 0
    assert [item['file_name'] for item in found['images']] == [
        f'{camera}/{1_000_000_000 + 100_000_000 * i}.jpg'
        for i in range(3) for camera in ('front', 'rear')
    ]
    assert [(item['category_id'], item['bbox']) for item in found['annotations']] == [
        (1 + i, [8 + i, 8, 40, 32]) for i in range(3) for _ in range(2)
    ]
    assert [item['name'] for item in found['categories']] == ['red', 'green', 'blue']
    assert {item['area'] for item in found['annotations']} == {40 * 32}
    of = found['info']['teacher']
    assert (of['name'], of['licence']['weights']) == ('means', 'Apache-2.0')
    assert len(of['sha256']) == 64
    ids = cv2.imread(str(tmp_path / 'ground/labels/front/1000000000.png'), cv2.IMREAD_UNCHANGED)
    assert ids.shape == (64, 96) and ids[20, 20] == 0 and ids[0, 0] == 3
    assert (tmp_path / 'ground/classes.txt').read_text().split() == [
        'red', 'green', 'blue', 'other']


def test_replay_and_evaluate_take_them_for_the_truth(
    tmp_path: Path, teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the same engine they have full marks: boxes, outlines and label maps."""
    bag, output = drawn_bag(tmp_path / 'drawn.mcap', frames=3), tmp_path / 'labels.json'
    assert label(teacher, output, bag, '--images', tmp_path / 'images')[0] == 0
    assert call(
        'replay', bag, '--config', configuration(tmp_path), '--output', tmp_path / 'run',
        '--ground-truth', f'coco:{output}',
    ) == 0
    verdict = json.loads((tmp_path / 'run/summary.json').read_text())['accuracy']['colours']
    assert (verdict['images'], verdict['mAP']) == (6, pytest.approx(1))
    figures = tmp_path / 'figures.json'
    status = call(
        'evaluate', teacher, '--backend', 'fake', '--json', figures,
        '--dataset', f'coco:{output}', '--dataset', f'camvid:{tmp_path / "ground"}@front',
    )
    assert status == 0, capsys.readouterr().err
    said = json.loads(figures.read_text())
    # the pictures were written as JPEG, which moves an edge by a pixel
    assert said['map50'] == pytest.approx(1)
    assert said['datasets'][0]['mask_map50'] == pytest.approx(1)
    assert said['miou'] > 0.95


def test_the_same_bytes_whatever_the_batch(tmp_path: Path, teacher: Path) -> None:
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=4)
    for batch in ('1', '3'):
        path = tmp_path / batch / 'labels.json'
        status, _ = label(teacher, path, bag, '--batch', batch, backend='onnxruntime')
        assert status == 0
    written = [
        {file.relative_to(tmp_path / batch): file.read_bytes()
         for file in (tmp_path / batch).rglob('*') if file.is_file()}
        for batch in ('1', '3')
    ]
    assert written[0] == written[1] and len(written[0]) == 8 + 2


def test_every_nth_of_each_camera_and_some_classes(tmp_path: Path, teacher: Path) -> None:
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=5)
    _, found = label(
        teacher, tmp_path / 'labels.json', bag, '--every', '2', '--classes', 'green, blue'
    )
    assert [item['file_name'].rpartition('/')[2][:2] for item in found['images']] == [
        '10', '10', '12', '12', '14', '14']
    assert {item['category_id'] for item in found['annotations']} == {2, 3}, 'ids stay'
    _, none = label(teacher, tmp_path / 'labels.json', bag, '--score-threshold', '0.95')
    assert len(none['images']) == 10 and not none['annotations']


def test_pictures_and_videos_by_their_own_names(tmp_path: Path, teacher: Path) -> None:
    """Files keep their bytes; only what was no file is written as a JPEG."""
    folder = tmp_path / 'folder'
    for name in ('a/1.png', 'a/2.jpg', 'b.bmp'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        rgb = picture(96, 64, red=(10, 10, 50, 50))
        assert cv2.imwrite(str(folder / name), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    video = tmp_path / 'clip.avi'
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*'MJPG'), 10, (96, 64))
    for _ in range(3):
        writer.write(np.zeros((64, 96, 3), np.uint8))
    writer.release()
    images = tmp_path / 'images'
    status, found = label(
        teacher, tmp_path / 'labels.json', folder, video, '--images', images, '--every', '2'
    )
    assert status == 0
    names = [item['file_name'] for item in found['images']]
    assert names == ['a/1.png', 'b.bmp', 'clip/000000.jpg', 'clip/000002.jpg']
    assert all((images / name).is_file() for name in names)
    assert (images / 'a/1.png').read_bytes() == (folder / 'a/1.png').read_bytes()
    data = coco_data(load_coco(tmp_path / 'labels.json', [images]))
    truth = data.truth(images / 'a/1.png', (96, 64))
    np.testing.assert_allclose(truth.boxes, [(10, 10, 50, 50)], atol=1)


def test_what_is_damaged_costs_itself_and_the_status(
    tmp_path: Path, teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / 'folder'
    folder.mkdir()
    _, png = cv2.imencode('.png', picture(96, 64, red=(10, 10, 50, 50)))
    (folder / 'cut.png').write_bytes(png.tobytes()[:90])
    (folder / 'whole.png').write_bytes(png.tobytes())
    broken = tmp_path / 'broken.mcap'
    broken.write_bytes(b'no bag')
    empty = tmp_path / 'empty.mp4'
    empty.write_bytes(b'')
    status, found = label(teacher, tmp_path / 'labels.json', broken, empty, folder)
    assert status == 1
    assert [item['file_name'] for item in found['images']] == ['whole.png']
    said = capsys.readouterr().err
    for name in ('broken.mcap', 'empty.mp4', 'cut.png'):
        assert name in said
    assert 'Traceback' not in said


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['drawn.mcap', 'drawn.mcap'], 'two inputs have a picture front/1000000000: label them'),
        (['gone.mcap'], 'there is no such bag, folder, picture or video'),
        (['config.yaml'], "the ending '.yaml' is of none"),
        (['drawn.mcap', '--classes', 'car'], 'has no class car; expected some of red, green'),
        (['nothing'], 'there is no picture that could be labelled'),
        (['drawn.mcap', '--images', 'drawn.mcap'], 'which is to be labelled: name another place'),
        (['drawn.mcap', '--images', '.'], 'holds what is to be labelled: name another folder'),
        (['.'], 'which is to be labelled: name another place'),
    ],
    ids=['one name twice', 'not there', 'no picture', 'no such class', 'empty', 'into itself',
         'beside itself', 'labels among pictures'],
)
def test_what_cannot_be_labelled_is_refused_with_advice(
    tmp_path: Path, teacher: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    drawn_bag(Path('drawn.mcap'), frames=1)
    Path('config.yaml').touch()
    Path('nothing').mkdir()
    assert label(teacher, tmp_path / 'labels.json', *arguments) == (1, None)
    assert says in ' '.join(capsys.readouterr().err.split())


def test_a_bag_is_not_written_over(tmp_path: Path, teacher: Path) -> None:
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=1)
    before = bag.read_bytes()
    assert call('label', bag, '--bundle', teacher, '--output', bag, '--backend', 'fake') == 1
    assert bag.read_bytes() == before


def test_a_full_disk_is_said(
    tmp_path: Path, teacher: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from perception_ros.labelling import label as module

    def full(path: Path, payload: bytes) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(module, 'write_bytes', full)
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=1)
    assert label(teacher, tmp_path / 'labels.json', bag) == (1, None)
    assert 'cannot be written; No space left on device' in capsys.readouterr().err


def test_the_same_whoever_labels_what(
    tmp_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of bags, or several inputs in one go: nothing is lost, doubled or out of order."""
    monkeypatch.setattr(pictures_module, '_BLOCK', 2)
    first = drawn_bag(tmp_path / 'first.mcap', frames=7)
    second = drawn_bag(tmp_path / 'second.mcap', frames=3, cameras=('left',))
    options = LabelOptions(
        (first, second), str(teacher), tmp_path / 'labels.json', every=2, backend='fake'
    )
    whole = label_pictures(options, print)
    assert len(whole['images']) == 2 * 4 + 2
    for workers in (1, 2, 5):
        crew = Mock(Crew, is_alone=False)
        with Crew().at_work() as alone:  # as Ray's workers do it, but here
            crew.at_work.return_value = nullcontext(alone._replace(workers=workers))
        assert label_pictures(options, print, crew) == whole
    assert not list(tmp_path.glob('.labels*'))


def test_workers_of_a_cluster_say_the_same(
    tmp_path: Path, teacher: Path, ray_cluster: None
) -> None:
    """Real processes, which know nothing but what is handed to them; real answers, to the byte."""
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=40)
    written = []
    for workers in ('1', '2'):
        folder = tmp_path / workers
        status, _ = label(
            teacher, folder / 'labels.json', bag, '--workers', workers, backend='onnxruntime'
        )
        assert status == 0
        written.append({
            file.relative_to(folder): file.read_bytes()
            for file in folder.rglob('*') if file.is_file()
        })
    assert written[0] == written[1] and len(written[0]) == 80 + 2
