"""A checkpoint of transformers, made and saved here, is where training starts."""

from pathlib import Path
import sys
from typing import Any

from builders import DFINE, RTDETRV2, SCENE, SEGFORMER
from pydantic import TypeAdapter
import pytest
import torch
import transformers

from perception_training.config.labels import LabelsConfig
from perception_training.config.model import ModelConfig
from perception_training.errors import CheckpointError, TrainingError
from perception_training.models import BOXES, build, Network
from perception_training.models.query_sizes import settings_of

THEIRS = ('person', 'bicycle', 'car', 'motorbike', 'bus', 'truck', 'train')
OURS = ('car', 'bus')


def made(settings: dict[str, Any], root: Path | None, **labels: Any) -> Network:
    config = TypeAdapter(ModelConfig).validate_python(settings)
    return build(config, LabelsConfig(**labels), root)


def saved(folder: Path, settings: dict[str, Any]) -> transformers.PreTrainedModel:
    """Save a detector of other classes, as the library does."""
    config = TypeAdapter(ModelConfig).validate_python(settings)
    theirs = settings_of(config, THEIRS)
    theirs.id2label = dict(enumerate(THEIRS))
    kind = transformers.DFineForObjectDetection if settings['name'] == 'dfine' \
        else transformers.RTDetrV2ForObjectDetection
    torch.manual_seed(5)
    model = kind(theirs).eval()
    for name, weight in model.named_parameters():
        if 'class_embed' in name or 'bbox_embed' in name:
            torch.nn.init.normal_(weight, 0, 0.3)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize('settings', [RTDETRV2, DFINE], ids=['rtdetrv2', 'dfine'])
def test_a_detector_starts_with_what_the_checkpoint_says(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """With the rows of our classes: the library's own answers are the measure."""
    theirs = saved(tmp_path / 'theirs', settings)
    network = made({**settings, 'weights': str(tmp_path / 'theirs')}, tmp_path, boxes=OURS).eval()
    assert network.pretrained == ('trunk.', 'heads.boxes.')
    images = torch.rand(2, 3, 64, 96)
    rows = [THEIRS.index(name) for name in OURS]
    # Proposals are chosen by the best class: with fewer classes, by fewer rows of scores.
    theirs.model.enc_score_head.weight.data = theirs.model.enc_score_head.weight.data[rows]
    theirs.model.enc_score_head.bias.data = theirs.model.enc_score_head.bias.data[rows]
    with torch.no_grad():
        wanted = theirs(images)
        answers = network.answers(network(images))
    torch.testing.assert_close(answers['scores'], wanted.logits.sigmoid()[..., rows])
    size = torch.tensor([96.0, 64.0])
    middle, sides = wanted.pred_boxes.split(2, -1)
    torch.testing.assert_close(
        answers[BOXES],
        torch.cat(((middle - sides / 2) * size, (middle + sides / 2) * size), -1),
        atol=1e-3, rtol=1e-4)


def test_classes_that_the_checkpoint_does_not_know_are_new(tmp_path: Path) -> None:
    saved(tmp_path / 'theirs', RTDETRV2)
    settings = {**RTDETRV2, 'weights': str(tmp_path / 'theirs')}
    started = made(settings, tmp_path, boxes=('car', 'rickshaw'))
    unstarted = made(settings, None, boxes=('car', 'rickshaw'))
    state = unstarted.state_dict()
    same = [name for name, value in started.state_dict().items() if torch.equal(state[name], value)
            and 'class_embed.' in name and 'denoising' not in name and name.endswith('weight')]
    assert len(same) == 2  # one a decoder layer
    assert not torch.equal(state['trunk.encoder.lateral_convs.0.conv.weight'],
                           started.state_dict()['trunk.encoder.lateral_convs.0.conv.weight'])


@pytest.mark.parametrize('classifier', [True, False], ids=['of-imagenet', 'of-masks'])
def test_segformer_starts_with_what_the_checkpoint_has(classifier: bool, tmp_path: Path) -> None:
    kind = transformers.SegformerForImageClassification if classifier \
        else transformers.SegformerForSemanticSegmentation
    theirs = kind(transformers.SegformerConfig(**SEGFORMER['library'], num_labels=7))
    theirs.save_pretrained(tmp_path / 'theirs')
    network = made({**SEGFORMER, 'weights': str(tmp_path / 'theirs')}, tmp_path,
                   semantic={'scene': SCENE})
    assert network.pretrained == (('trunk.encoder.',) if classifier else ('trunk.',))
    ours = network.trunk.encoder.state_dict()
    assert all(torch.equal(ours[name], value)
               for name, value in theirs.segformer.state_dict().items())
    fused = network.trunk.decoder.linear_fuse.weight
    assert classifier or torch.equal(fused, theirs.decode_head.linear_fuse.weight)


def test_what_is_no_such_checkpoint_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / 'theirs', RTDETRV2)
    weights = {'weights': str(tmp_path / 'theirs')}
    wider = {**RTDETRV2['library'], 'encoder_ffn_dim': 96}
    with pytest.raises(CheckpointError, match='is of another size: .*set model.size'):
        made({**RTDETRV2, 'library': wider, **weights}, tmp_path, boxes=OURS)
    with pytest.raises(CheckpointError, match='is a rt_detr_v2; expected a d_fine'):
        made({**DFINE, **weights}, tmp_path, boxes=OURS)
    for nothing in (tmp_path / 'nothing', tmp_path):
        with pytest.raises(CheckpointError, match='is no checkpoint that can be read'):
            made({**RTDETRV2, 'weights': str(nothing)}, tmp_path, boxes=OURS)


def test_a_checkpoint_that_is_a_pickle_is_not_read(tmp_path: Path) -> None:
    theirs = saved(tmp_path / 'theirs', RTDETRV2)
    (tmp_path / 'theirs/model.safetensors').unlink()
    torch.save(theirs.state_dict(), tmp_path / 'theirs/pytorch_model.bin')
    with pytest.raises(CheckpointError, match='expected a folder with config.json and model.saf'):
        made({**RTDETRV2, 'weights': str(tmp_path / 'theirs')}, tmp_path, boxes=OURS)


@pytest.mark.parametrize(('settings', 'words'), [
    pytest.param({'decoder_layer': 2}, "has no .'decoder_layer'.", id='mistyped'),
    pytest.param({'decoder_layers': 'two'}, 'expected int, got str', id='no-number'),
    pytest.param({'d_model': 30}, 'must be divisible by num_heads', id='widths-do-not-fit'),
])
def test_a_setting_that_the_library_does_not_have_is_refused(
    settings: dict[str, Any], words: str
) -> None:
    """The library itself would keep a mistyped one unread."""
    with pytest.raises(TrainingError, match=words):
        made({'name': 'rtdetrv2', 'library': settings}, None, boxes=OURS)


def test_more_queries_than_an_image_has_cells_are_refused() -> None:
    network = made({**RTDETRV2, 'queries': 127}, None, boxes=OURS).eval()
    with pytest.raises(TrainingError, match='model.queries: expected at most 126.*got 127'):
        network.answers(network(torch.rand(1, 3, 64, 96)))


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ('queries', 'query_sizes', 'transformers_weights'):
        monkeypatch.delitem(sys.modules, f'perception_training.models.{module}', raising=False)
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(TrainingError, match="model 'dfine' needs transformers; make train-setup"):
        made(DFINE, None, boxes=OURS)
