"""The models of each library, small, and its own way from images to answers."""

from __future__ import annotations

import os

os.environ['HF_HUB_OFFLINE'] = '1'  # nothing is fetched: all weights are random

from coreyolo.infer.nms import non_max_suppression
from coreyolo.nn.model import CoreYOLO
import segmentation_models_pytorch as smp
import torch
from torch import nn, Tensor
from torchvision.models import segmentation
from torchvision.models.detection import (
    FasterRCNN,
    FCOS,
    MaskRCNN,
    ssdlite320_mobilenet_v3_large,
)
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import batched_nms
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
import transformers
from yolox.models import YoloPafpn, YoloxHead, YoloxModule
from yolox.utils import postprocess

from genuine.case import CLASSES, cut, Found, HEIGHT, louder, QUERIES_KEPT, WIDTH

SIZE = (WIDTH, HEIGHT)


def yolox() -> nn.Module:
    """Megvii's YOLOX-nano, in Pixeltable's distribution of it, as it exports it: not decoded."""
    model = YoloxModule(YoloPafpn(0.33, 0.25, depthwise=True),
                        YoloxHead(CLASSES, 0.25, depthwise=True))
    model.head.decode_in_inference = False
    louder([*model.head.cls_preds, *model.head.obj_preds], 3)
    return model


def yolox_decoded() -> nn.Module:
    """The same, exported with --decode-in-inference."""
    model = yolox()
    model.head.decode_in_inference = True
    return model


def yolox_boxes(model: nn.Module, images: Tensor) -> list[Found]:
    as_exported, model.head.decode_in_inference = model.head.decode_in_inference, True
    found = postprocess(model(images), CLASSES, 0.001, 0.45)
    model.head.decode_in_inference = as_exported
    return [Found.of(rows[:, :4], rows[:, 4] * rows[:, 5], rows[:, 6].long()) for rows in found]


class Joined(nn.Module):
    """Coefficients behind the rows, as users export masks; CoreYOLO gives them apart."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        rows, weights, prototypes = self.model(images)
        return torch.cat((rows, weights), 2 if self.model.end2end else 1), prototypes


def coreyolo(family: str, task: str = 'detect') -> nn.Module:
    """YOLOv8's head on C2f, YOLOv9's GELAN, or an end-to-end head."""
    model = CoreYOLO(CLASSES, family=family, task=task)
    heads = [*model.head.cv3, *getattr(model.head, 'one2one_cv3', [])]
    louder([branch[-1] for branch in heads], 3, bias=-2.0)
    return model if task == 'detect' else Joined(model)


def coreyolo_boxes(model: nn.Module, images: Tensor) -> list[Found]:
    rows = non_max_suppression(model(images), 0.001, 0.45, 300)
    return [Found.of(item[:, :4], item[:, 4], item[:, 5].long()) for item in rows]


def coreyolo_masks(model: nn.Module, images: Tensor) -> list[Found]:
    rows, weights, prototypes = model.model(images)
    found, weights = non_max_suppression(rows, 0.001, 0.45, 300, extra=weights)
    return [
        _with_masks(item, weight, prototype)
        for item, weight, prototype in zip(found, weights, prototypes, strict=True)]


def one_by_one(model: nn.Module, images: Tensor) -> list[Found]:
    """Read an end-to-end head; CoreYOLO's takes the boxes of the first image for all."""
    if isinstance(model, Joined):
        answers = [model.model(image[None]) for image in images]
        return [_with_masks(rows[0], weights[0], prototypes[0])
                for rows, weights, prototypes in answers]
    rows = [model(image[None])[0] for image in images]
    return [Found.of(item[:, :4], item[:, 4], item[:, 5].long()) for item in rows]


def _with_masks(rows: Tensor, weights: Tensor, prototypes: Tensor) -> Found:
    whole = torch.einsum('np,phw->nhw', weights, prototypes)
    masks = cut(whole, rows[:, :4], SIZE).sigmoid()
    return Found.of(rows[:, :4], rows[:, 4], rows[:, 5].long(), masks)


class Outputs(nn.Module):
    """Some of the outputs of a model of transformers, as a tuple."""

    def __init__(self, model: nn.Module, *names: str) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.model(pixel_values=images)
        return tuple(found[name] for name in self.names)


_HYBRID = {
    'encoder_in_channels': [24, 32, 48], 'encoder_hidden_dim': 32, 'encoder_ffn_dim': 64,
    'd_model': 32, 'num_queries': QUERIES_KEPT, 'decoder_ffn_dim': 64, 'decoder_layers': 2,
    'decoder_in_channels': [32, 32, 32], 'decoder_attention_heads': 4,
    'encoder_attention_heads': 4, 'feat_strides': [8, 16, 32], 'num_labels': CLASSES}


def _resnet(stages: list[str], kind: type) -> transformers.PretrainedConfig:
    return kind(embedding_size=16, hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 1, 1],
                layer_type='basic', out_features=stages)


def _detr(model: nn.Module) -> nn.Module:
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and any(part in name for part in ('class', 'score', 'bbox')):
            nn.init.normal_(weight, 0, 0.3)
    return Outputs(model, 'logits', 'pred_boxes')


def rtdetr() -> nn.Module:
    backbone = _resnet(['stage2', 'stage3', 'stage4'], transformers.RTDetrResNetConfig)
    config = transformers.RTDetrConfig(backbone_config=backbone, **_HYBRID)
    return _detr(transformers.RTDetrForObjectDetection(config))


def rtdetrv2() -> nn.Module:
    backbone = _resnet(['stage2', 'stage3', 'stage4'], transformers.RTDetrResNetConfig)
    config = transformers.RTDetrV2Config(backbone_config=backbone, **_HYBRID)
    return _detr(transformers.RTDetrV2ForObjectDetection(config))


def dfine() -> nn.Module:
    backbone = transformers.HGNetV2Config(
        stem_channels=[3, 8, 8], stage_in_channels=[8, 16, 24, 32],
        stage_mid_channels=[8, 12, 16, 24], stage_out_channels=[16, 24, 32, 48],
        hidden_sizes=[16, 24, 32, 48], stage_num_blocks=[1] * 4, stage_numb_of_layers=[1] * 4,
        out_features=['stage2', 'stage3', 'stage4'])
    config = transformers.DFineConfig(backbone_config=backbone, **_HYBRID)
    return _detr(transformers.DFineForObjectDetection(config))


def detr() -> nn.Module:
    config = transformers.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
        backbone_config=_resnet(['stage4'], transformers.ResNetConfig), d_model=32,
        encoder_layers=1, decoder_layers=1, encoder_ffn_dim=64, decoder_ffn_dim=64,
        encoder_attention_heads=4, decoder_attention_heads=4, num_queries=QUERIES_KEPT,
        num_labels=CLASSES)
    return _detr(transformers.DetrForObjectDetection(config))


class Deployed(nn.Module):
    """RT-DETR's and D-FINE's deployed form: their post-processing inside, and a second input."""

    def __init__(self, model: Outputs) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, images: Tensor, orig_target_sizes: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        if orig_target_sizes is None:
            orig_target_sizes = torch.tensor([SIZE])
        logits, boxes = self.model(images)
        scores, index = logits.sigmoid().flatten(1).topk(QUERIES_KEPT)
        boxes = boxes.gather(1, (index // CLASSES)[:, :, None].expand(-1, -1, 4))
        low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
        boxes = torch.cat((low, high), 2) * orig_target_sizes.repeat(1, 2)[:, None]
        return index % CLASSES, boxes, scores


def queries(processor: str) -> object:
    """Return the way of a processor of transformers from queries to boxes."""

    def boxes(model: nn.Module, images: Tensor) -> list[Found]:
        reader = getattr(transformers, processor)()
        inner = model.model if isinstance(model, Outputs) else model.model.model
        found = reader.post_process_object_detection(
            inner(pixel_values=images), threshold=0.001,
            target_sizes=[(HEIGHT, WIDTH)] * len(images))
        return [Found.of(item['boxes'], item['scores'], item['labels']) for item in found]

    return boxes


def segformer() -> nn.Module:
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, num_attention_heads=[1, 1, 2, 4],
        decoder_hidden_size=32, num_labels=5)
    return Outputs(transformers.SegformerForSemanticSegmentation(config), 'logits')


def segformer_heads(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    reader = transformers.SegformerImageProcessor()
    ids = reader.post_process_semantic_segmentation(
        model.model(pixel_values=images), target_sizes=[(HEIGHT, WIDTH)] * len(images))
    return {'scene': torch.stack(list(ids))}


def unet(kind: str) -> nn.Module:
    """U-Net, DeepLabV3Plus or another of segmentation-models-pytorch."""
    return getattr(smp, kind)(encoder_name='mobilenet_v2', encoder_weights=None, classes=4)


class ChannelsLast(nn.Module):
    """The same model for [B, H, W, 3], as converted from TensorFlow."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def logits_of(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    return {'logits': model(images).argmax(1)}


def last_logits_of(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    return {'logits': model(images).argmax(3)}


def deeplab() -> nn.Module:
    return segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4, aux_loss=True)


def named_logits(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    return {name: logits.argmax(1) for name, logits in model(images).items()}


def rcnn(kind: type = FasterRCNN) -> nn.Module:
    """Faster or Mask R-CNN on ResNet-18."""
    backbone = resnet_fpn_backbone(backbone_name='resnet18', weights=None)
    sizes = {'min_size': HEIGHT, 'max_size': WIDTH, 'rpn_pre_nms_top_n_test': 40,
             'rpn_post_nms_top_n_test': 20, 'box_detections_per_img': 12}
    heads = {'box_head': TwoMLPHead(256 * 7 * 7, 64),
             'box_predictor': FastRCNNPredictor(64, CLASSES + 1)}
    if kind is MaskRCNN:
        heads |= {'mask_head': MaskRCNNHeads(256, (32,), 1),
                  'mask_predictor': MaskRCNNPredictor(32, 32, CLASSES + 1)}
    return kind(backbone, **sizes, **heads)


def mask_rcnn() -> nn.Module:
    return rcnn(MaskRCNN)


def fcos() -> nn.Module:
    """FCOS on ResNet-18, whose export looks like that of Faster R-CNN."""
    backbone = resnet_fpn_backbone(
        backbone_name='resnet18', weights=None, returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256))
    model = FCOS(backbone, topk_candidates=30, detections_per_img=20, score_thresh=0.001,
                 num_classes=CLASSES + 1, min_size=HEIGHT, max_size=WIDTH)
    louder([model.head.classification_head.cls_logits], 8, bias=-2.0)
    return model


def listed(model: nn.Module, images: Tensor) -> list[Found]:
    """Read torchvision's detectors; their masks lie over the whole image."""
    answers = []
    for item in model(list(images)):
        masks = item.get('masks')
        if masks is not None:
            masks = cut(masks[:, 0], item['boxes'], SIZE)
        answers.append(Found.of(item['boxes'], item['scores'], item['labels'] - 1, masks))
    return answers


class Pairs(nn.Module):
    """torchvision's SSDlite up to scores and relative corners, the outputs SSDs are known for."""

    def __init__(self) -> None:
        super().__init__()
        self.model = ssdlite320_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=CLASSES + 1).eval()
        for part in self.model.head.classification_head.module_list:
            louder([part[-1]], 8)
        blank = torch.zeros(1, 3, 320, 320)
        with torch.no_grad():
            features = list(self.model.backbone(blank).values())
        (anchors,) = self.model.anchor_generator(ImageList(blank, [(320, 320)]), features)
        self.register_buffer('anchors', anchors)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model.head(list(self.model.backbone(images).values()))
        centre = (self.anchors[:, :2] + self.anchors[:, 2:]) / 2
        side = self.anchors[:, 2:] - self.anchors[:, :2]
        shift = found['bbox_regression']
        middle = centre + shift[..., :2] / 10 * side
        half = side * (shift[..., 2:] / 5).exp() / 2
        return found['cls_logits'].softmax(2), torch.cat((middle - half, middle + half), 2) / 320


def pair_boxes(model: nn.Module, images: Tensor) -> list[Found]:
    """Decode with torchvision's own coder, and take each anchor's best class, as documented."""
    found = model.model.head(list(model.model.backbone(images).values()))
    answers = []
    for shift, logits in zip(found['bbox_regression'], found['cls_logits'], strict=True):
        boxes = model.model.box_coder.decode_single(shift, model.anchors)
        scores, labels = logits.softmax(1)[:, 1:].max(1)
        best = scores.argsort(descending=True)[:512]
        kept = best[batched_nms(boxes[best], scores[best], labels[best], 0.45)][:300]
        answers.append(Found.of(boxes[kept], scores[kept], labels[kept]))
    return answers
