"""Every export that is proven, by the name that the documentation gives it."""

from __future__ import annotations

from functools import partial

from genuine import libraries as lib
from genuine import published as pub
from genuine.case import Genuine, IMAGENET, NAMES, QUERIES_KEPT

YOLOX, CORE = 'pixeltable-yolox', 'coreyolo'
HF, SMP, VISION, OURS = 'transformers', 'segmentation-models-pytorch', 'torchvision', 'ours'
_PIXELS_BGR = {'order': 'bgr', 'divisor': 1.0}
_NANODET = {**_PIXELS_BGR, 'mean': (103.53, 116.28, 123.675), 'std': (57.375, 57.12, 58.395)}
_ROWS, _MASKS = ('output0',), ('output0', 'output1')
_DETR = ('logits', 'pred_boxes')
_LISTS = ('boxes', 'labels', 'scores')
_NAMED = {'classes': NAMES}
_LOOPS = 'runs image by image'
_BEST = {'classes': NAMES, 'selection': {'max_detections': QUERIES_KEPT}}
_rtdetr_boxes = lib.queries('RTDetrImageProcessor')

CASES = {
    'YOLOX-nano': Genuine(
        'yolox', YOLOX, lib.yolox, ('output',), lib.yolox_boxes, opset=11, dynamic=False,
        **_PIXELS_BGR),
    'YOLOX-nano, decoded': Genuine(
        'yolov5', YOLOX, lib.yolox_decoded, ('output',), lib.yolox_boxes, opset=12,
        slow=True, **_PIXELS_BGR),
    'YOLOX-nano, half precision': Genuine(
        'yolox', YOLOX, lib.yolox, ('output',), half=True, **_PIXELS_BGR),
    "YOLOv8's head": Genuine(
        'yolov8', CORE, partial(lib.coreyolo, 'dfl'), _ROWS, lib.coreyolo_boxes, opset=13,
        slow=True),
    "YOLOv9's GELAN": Genuine(
        'yolov8', CORE, partial(lib.coreyolo, 'gelan'), _ROWS, lib.coreyolo_boxes, opset=19,
        dynamic=False, slow=True),
    "YOLOv8's head with masks": Genuine(
        'yolov8', CORE, partial(lib.coreyolo, 'dfl', 'segment'), _MASKS, lib.coreyolo_masks,
        dynamic=False),
    'end to end, as YOLOv10 and YOLO26': Genuine(
        'yolov10', CORE, partial(lib.coreyolo, 'e2e'), _ROWS, lib.one_by_one, options=_NAMED,
        says=_LOOPS),
    'end to end with masks': Genuine(
        'yolov10', CORE, partial(lib.coreyolo, 'e2e', 'segment'), _MASKS, lib.one_by_one,
        dynamic=False, options=_NAMED, says=_LOOPS, slow=True),
    "YOLOv5's layout": Genuine(
        'yolov5', OURS, pub.YoloV5, _ROWS, pub.yolov5_boxes, opset=12, dynamic=False),
    "YOLOv5's layout with masks": Genuine(
        'yolov5', OURS, partial(pub.YoloV5, masks=True), _MASKS, pub.yolov5_boxes, opset=16),
    "YOLOP's layout": Genuine(
        'yolov5', OURS, pub.Yolop, ('det_out', 'drive_area_seg', 'lane_line_seg'),
        pub.yolov5_boxes, pub.yolop_heads, opset=12, dynamic=False, **IMAGENET),
    "NanoDet-Plus's layout": Genuine(
        'nanodet', OURS, pub.NanoDetPlus, ('output',), pub.nanodet_boxes, opset=11, dynamic=False,
        **_NANODET),
    'RT-DETR': Genuine('detr', HF, lib.rtdetr, _DETR, _rtdetr_boxes, opset=16, options=_BEST),
    'RT-DETRv2': Genuine(
        'detr', HF, lib.rtdetrv2, _DETR, _rtdetr_boxes, dynamic=False, options=_BEST, says=_LOOPS,
        slow=True),
    'RT-DETR deployed': Genuine(
        'detr', HF, lambda: lib.Deployed(lib.rtdetr()), ('labels', 'boxes', 'scores'),
        _rtdetr_boxes, opset=16, deployed=True, options=_BEST, slow=True),
    'D-FINE': Genuine('detr', HF, lib.dfine, _DETR, _rtdetr_boxes, opset=20, options=_BEST),
    'DETR': Genuine(
        'detr', HF, lib.detr, _DETR, lib.queries('DetrImageProcessor'), opset=14,
        options={'classes': NAMES, 'background': 1}, **IMAGENET),
    'SegFormer': Genuine(
        'semantic', HF, lib.segformer, ('logits',), heads=lib.segformer_heads, opset=14,
        options={'heads': {'scene': ('logits', 1)}}, slow=True, **IMAGENET),
    'SegFormer, dynamo': Genuine(
        'semantic', HF, lib.segformer, ('logits',), heads=lib.segformer_heads, opset=18,
        dynamo=True, options={'heads': {'scene': ('logits', 1)}}, **IMAGENET),
    'U-Net': Genuine(
        'semantic', SMP, partial(lib.unet, 'Unet'), ('logits',), heads=lib.logits_of, opset=13,
        **IMAGENET),
    'U-Net, NHWC': Genuine(
        'semantic', SMP, lambda: lib.ChannelsLast(lib.unet('Unet')), ('logits',),
        heads=lib.last_logits_of, opset=15, dynamic=False, nhwc=True, **IMAGENET),
    'DeepLabV3+': Genuine(
        'semantic', SMP, partial(lib.unet, 'DeepLabV3Plus'), ('logits',), heads=lib.logits_of,
        opset=11, dynamic=False, **IMAGENET),
    'DeepLabV3, two heads': Genuine(
        'semantic', VISION, lib.deeplab, ('out', 'aux'), heads=lib.named_logits, opset=12,
        slow=True, **IMAGENET),
    'SSDlite up to scores and relative corners': Genuine(
        'ssd', VISION, lib.Pairs, ('scores', 'boxes'), lib.pair_boxes, opset=11, dynamic=False,
        size=(320, 320), mean=(0.5,) * 3, std=(0.5,) * 3),
    'Faster R-CNN': Genuine(
        'torchvision', VISION, lib.rcnn, _LISTS, lib.listed, batched=False, options=_NAMED,
        says=_LOOPS, slow=True),
    'Mask R-CNN': Genuine(
        'torchvision', VISION, lib.mask_rcnn, (*_LISTS, 'masks'), lib.listed, opset=16,
        batched=False, options=_NAMED, says=_LOOPS),
    'FCOS': Genuine(
        'torchvision', VISION, lib.fcos, ('boxes', 'scores', 'labels'), lib.listed,
        batched=False, options=_NAMED, says=_LOOPS, slow=True),
    "YOLOv9's GELAN with masks, dynamo": Genuine(
        'yolov8', CORE, partial(lib.coreyolo, 'gelan', 'segment'), _MASKS, lib.coreyolo_masks,
        opset=20, dynamo=True, slow=True),
    'YOLOX-nano, dynamo': Genuine(
        'yolox', YOLOX, lib.yolox, ('output',), lib.yolox_boxes, opset=18, dynamo=True, slow=True,
        **_PIXELS_BGR),
}
