"""Fixed shapes give what torchvision's own code gives."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models import resnet18
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import batched_nms, MultiScaleRoIAlign

from perception_training.config.labels import LabelsConfig
from perception_training.config.model import MaskRcnnConfig
from perception_training.errors import CheckpointError, TrainingError
from perception_training.models import BOXES, build, MASKS, SCORES
from perception_training.models.mask_rcnn import take_from_torchvision
from perception_training.models.regions import (
    anchors_at,
    BOX_CODE,
    decode,
    encode,
    region_features,
    survivors,
)

CLASSES = ('car', 'person')
SMALL = MaskRcnnConfig(name='mask_rcnn', backbone='resnet18', channels=16, hidden=16,
                       candidates=60, proposals=40, detections=20, samples=16)


def random_boxes(rng: np.random.Generator, count: int, width: int, height: int) -> Tensor:
    low = rng.random((2, count, 2)) * (width - 8, height - 8)
    size = 6 + rng.random((2, count, 1)) ** 2 * (width, height)
    high = np.minimum(low + size, (width, height))
    return torch.from_numpy(np.concatenate((low, high), 2)).float()


@pytest.mark.parametrize('cells', [7, 14])
def test_features_of_regions_are_torchvision_s(cells: int) -> None:
    """All levels on one sheet, one sampling: no number may come from a neighbouring level."""
    width, height = 1024, 512
    features = {s: torch.rand(2, 3, height // s, width // s) for s in (4, 8, 16, 32)}
    boxes = random_boxes(np.random.default_rng(0), 60, width, height)
    sides = (boxes[..., 2:] - boxes[..., :2]).prod(-1).sqrt()
    assert all(((sides > low) & (sides < high)).any() for low, high in (
        (0, 112), (112, 224), (224, 448), (448, 1e4)))
    pool = MultiScaleRoIAlign([str(s) for s in features], cells, sampling_ratio=2)
    wanted = pool({str(s): f for s, f in features.items()}, list(boxes), [(height, width)] * 2)
    torch.testing.assert_close(region_features(features, boxes, cells), wanted, atol=2e-4, rtol=0)


@pytest.mark.parametrize('groups', [1, 3])
def test_survivors_are_those_of_greedy_suppression(groups: int) -> None:
    rng = np.random.default_rng(1)
    boxes = random_boxes(rng, 300, 160, 120)
    group = torch.from_numpy(rng.integers(0, groups, (2, 300)))
    alive = torch.from_numpy(rng.random((2, 300)) < 0.9)
    kept = survivors(boxes, group, alive, 0.5)
    for i in range(2):
        rows = alive[i].nonzero()[:, 0]
        falling = torch.linspace(1, 0, len(rows))
        wanted = rows[batched_nms(boxes[i, rows], falling, group[i, rows], 0.5)]
        assert kept[i].nonzero()[:, 0].tolist() == sorted(wanted.tolist())


def test_codes_lead_back_to_their_boxes() -> None:
    boxes, references = random_boxes(np.random.default_rng(2), 40, 200, 100)
    codes = encode(boxes, references, BOX_CODE)
    torch.testing.assert_close(decode(codes, references, BOX_CODE), boxes, atol=1e-3, rtol=1e-4)


def test_anchors_stand_cell_by_cell() -> None:
    around = torch.tensor([[[-8.0, -4, 8, 4], [-4, -8, 4, 8]]])
    (anchors,) = anchors_at([(2, 3)], (4,), around)
    assert anchors.shape == (12, 4)
    assert anchors[:3].tolist() == [[-8, -4, 8, 4], [-4, -8, 4, 8], [-4, -4, 12, 4]]
    assert anchors[-1].tolist() == [4, -4, 12, 12]


@pytest.fixture(scope='module')
def twin() -> MaskRCNN:
    """Give torchvision's own network of the same sizes, which leaves images of 192x128 px so."""
    torch.manual_seed(3)
    wide, classes = SMALL.channels, len(CLASSES) + 1
    backbone = BackboneWithFPN(resnet18(), {f'layer{i + 1}': str(i) for i in range(4)},
                               [64, 128, 256, 512], wide)
    network = MaskRCNN(
        backbone, min_size=128, max_size=192, box_score_thresh=0.001,
        rpn_pre_nms_top_n_test=SMALL.candidates, rpn_post_nms_top_n_test=SMALL.proposals,
        box_detections_per_img=SMALL.detections, box_head=TwoMLPHead(wide * 49, SMALL.hidden),
        box_predictor=FastRCNNPredictor(SMALL.hidden, classes),
        mask_head=MaskRCNNHeads(wide, (wide,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(wide, wide, classes))
    for name, module in network.named_modules():
        # Louder than at the start of a training, so that scores, boxes and masks differ.
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear) and 'body' not in name:
            torch.nn.init.xavier_normal_(module.weight, 0.3 if 'bbox' in name else 1)
    return network.eval()


def test_its_answers_are_torchvision_s_own(twin: MaskRCNN) -> None:
    """The same weights, the same images: the same boxes, scores and masks."""
    network = build(SMALL, LabelsConfig(boxes=CLASSES)).eval()
    take_from_torchvision(network, twin.state_dict(), ('none', 'person', 'car'))
    images = torch.rand(2, 3, 128, 192)
    with torch.no_grad():
        answers = network.answers(network(images))
        batch, _ = twin.transform(list(images))
        features = twin.backbone(batch.tensors)
        proposals, _ = twin.rpn(batch, features)
        found, _ = twin.roi_heads(features, proposals, batch.image_sizes)
    for i, wanted in enumerate(found):
        scores, labels = answers[SCORES][i].max(1)
        count = len(wanted['scores'])
        assert count > 5 and wanted['scores'].std() > 0.01
        assert (scores[count:] == 0).all()
        torch.testing.assert_close(scores[:count], wanted['scores'], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(answers[BOXES][i, :count], wanted['boxes'], atol=1e-2, rtol=0)
        assert labels[:count].tolist() == [{1: 1, 2: 0}[n] for n in wanted['labels'].tolist()]
        torch.testing.assert_close(answers[MASKS][i, :count], wanted['masks'][:, 0], atol=1e-3,
                                   rtol=0)


def test_weights_of_another_backbone_are_refused(twin: MaskRCNN) -> None:
    network = build(SMALL, LabelsConfig(boxes=CLASSES))
    state = twin.state_dict()
    state['backbone.body.conv1.weight'] = torch.zeros(64, 3, 3, 3)
    with pytest.raises(CheckpointError, match=r'expected \(64, 3, 7, 7\), got \(64, 3, 3, 3\)'):
        take_from_torchvision(network, state, ('none', 'car', 'person', 'tree'))


def test_it_needs_boxes() -> None:
    with pytest.raises(TrainingError, match='finds boxes with masks'):
        build(SMALL, LabelsConfig(semantic={'scene': ('road', 'sky')}))
