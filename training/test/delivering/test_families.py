"""The shipped examples fit on real images, and their bundles answer as they do."""

from pathlib import Path

import pytest

from perception_training.config import load
from perception_training.delivering.bundle import make_bundle
from perception_training.fitting.log import read_numbers
from perception_training.fitting.loop import fit
from perception_training.fitting.record import start_record

pytestmark = pytest.mark.filterwarnings('default')
TRAINING = Path(__file__).resolve().parents[2]
# Those of a hundred layers are made smaller, for the contract does not hang on them.
SMALLER = {'unet_camvid': ['model.encoder=resnet18'],
           'deeplabv3plus_camvid': ['model.encoder=resnet18'],
           # Until normalisation knows the images all anchors and queries answer alike: no proof.
           'rtdetrv2_r18_idd': ['model.queries=60', 'model.library={decoder_layers: 2}',
                                'fit.steps=30'],
           'dfine_n_idd': ['model.queries=30', 'model.library={decoder_layers: 2}',
                           'fit.steps=30'],
           'yolo_n_masks_camvid': ['fit.steps=30'],
           'mask_rcnn_r50_camvid': [
               'model.backbone=resnet18', 'model.channels=32', 'model.hidden=64',
               'model.candidates=100', 'model.proposals=64', 'model.detections=30']}
EXAMPLES = ('yolo_n_idd', 'yolo_n_nms_free_idd', 'rtdetrv2_r18_idd', 'dfine_n_idd',
            'unet_camvid', 'deeplabv3plus_camvid', 'deeplabv3plus_r101_camvid',
            'deeplabv3plus_mobile_camvid', 'segformer_b0_camvid', 'roadseg_camvid',
            'yolo_n_masks_camvid', 'mask_rcnn_r50_camvid')
MASKED = ('yolo_n_masks_camvid', 'mask_rcnn_r50_camvid')


@pytest.mark.slow
@pytest.mark.parametrize('name', EXAMPLES)
def test_an_example_fits_and_its_bundle_is_proven(
    name: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make_bundle` fails unless checkpoint and bundle agree at batch 1, 2 and 5."""
    monkeypatch.chdir(TRAINING.parent)
    config = load(TRAINING / f'configs/{name}.yaml', [
        f'run_dir={tmp_path}/run', f'data.root={shared}', 'data.val=[]', 'data.workers=0',
        'data.train.0.cache=false', 'fit.steps=3', 'fit.batch=2', 'fit.log_every=1',
        'fit.device=cpu', 'fit.schedule.warmup=0', 'augment.width=160', 'augment.height=96',
        'width=160', 'height=96', *SMALLER.get(name, [])])
    start_record(config, ['perception_train', 'fit'])
    fit(config)
    assert len(read_numbers(config.run_dir)) == config.fit.steps
    bundle = make_bundle(config, tmp_path / name)
    card = (bundle.path / 'CARD.md').read_text()
    assert '| 5 | 5 |' in card
    detection = bundle.manifest.detection
    assert bool(detection and detection.masks) == (name in MASKED)
