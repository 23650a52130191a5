"""The demo, in small: it learns, delivers and draws, or says that it did not."""

from pathlib import Path

import cv2
import pytest
from rich.console import Console

from perception_ros.bundles import Bundle
from perception_training.cli import _measured
from perception_training.config import load
from perception_training.demo.demo import BUNDLE, demo, PICTURES, REPORT, require_progress, Seen
from perception_training.errors import TrainingError

CONFIG = Path(__file__).resolve().parents[2] / 'configs/demo_shapes.yaml'


def test_it_trains_delivers_and_runs_a_segmenter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load(CONFIG, [
        f'run_dir={tmp_path}/run', 'fit.steps=30', 'fit.evaluate_every=15', 'fit.batch=4',
        'fit.device=cpu', 'fit.threads=1', 'fit.max_minutes=null', 'data.workers=0',
        'fit.log_every=5', 'data.val.0.count=4', 'augment.width=96', 'augment.height=64'])
    seen = demo(config, tmp_path, ['perception_train', 'demo'],
                lambda trained: _measured(config, trained), Console())
    assert [each.step for each in seen] == [0, 15, 30]
    said = capsys.readouterr().out
    assert all(str(each) in said for each in seen)
    assert Bundle.load(tmp_path / BUNDLE).manifest.semantic['scene'].classes[1].name == 'road'
    for number in range(PICTURES):
        picture = cv2.imread(str(tmp_path / f'picture_{number}.jpg'))
        assert picture.shape == (384 + 28, 3 * 512, 3)
        image, labels, answer = (picture[28:, i * 512:(i + 1) * 512].astype(int) for i in range(3))
        assert abs(image - labels).mean() > 5 and abs(image - answer).mean() > 5
    assert '<svg' in (tmp_path / REPORT).read_text()


@pytest.mark.parametrize(('mious', 'losses', 'said'), [
    ((0.1, 0.12), (None, 1.0), 'expected mIoU to rise by 0.05 at least, got 0.100, 0.120'),
    ((0.1, 0.5, 0.6), (None, 1.0, 1.1), 'expected the loss to fall, got 1.000, 1.100'),
], ids=['miou', 'loss'])
def test_what_did_not_learn_fails(
    mious: tuple[float, ...], losses: tuple[float | None, ...], said: str
) -> None:
    seen = [Seen(i, 0.1 * i, loss, miou) for i, (loss, miou) in enumerate(
        zip(losses, mious, strict=True))]
    with pytest.raises(TrainingError, match=said):
        require_progress(seen)
