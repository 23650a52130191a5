"""One tiny network of each family, with random weights and the outputs that real exports have.

Beside each stands its recipe in NumPy, which shares no code with the package: from the raw outputs
for one image to its boxes in input pixels, or to its class ids.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto

WIDTH, HEIGHT, CLASSES, PROTOTYPES = 96, 64, 3, 8
Raw = dict[str, np.ndarray]


@dataclass
class Found:
    """Boxes [N, 4] in input pixels, scores [N], class ids [N], masks [N, h, w]."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None


@dataclass(frozen=True)
class Case:
    """A network, what it must be recognised as, and its own recipe."""

    family: str
    write: Callable[[Path], Path]
    boxes: Callable[[Raw], Found] | None = None
    heads: dict[str, Callable[[Raw], np.ndarray]] = field(default_factory=dict)
    order: str = 'rgb'
    divisor: float = 255.0
    mean: tuple[float, ...] = (0, 0, 0)
    std: tuple[float, ...] = (1, 1, 1)
    nhwc: bool = False
    says: str = ''
    """What the import must tell."""

    def tensor(self, image: np.ndarray) -> np.ndarray:
        """Normalise uint8 [H, W, 3] RGB as the makers of the network do."""
        pixels = image[..., ::-1] if self.order == 'bgr' else image
        pixels = (pixels / self.divisor - np.array(self.mean)) / np.array(self.std)
        if not self.nhwc:
            pixels = pixels.transpose(2, 0, 1)
        return np.ascontiguousarray(pixels, np.float32)


class Net:
    """Nodes and random weights, and the file in the end."""

    def __init__(self, scale: float, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.image = self('Mul', 'images', self.c(np.float32(scale)))

    def c(self, value: Any, dtype: Any = None) -> str:
        name = f'c{len(self.constants)}'
        self.constants[name] = np.asarray(value, dtype)
        return name

    def __call__(self, op: str, *inputs: str, out: int = 1, **attributes: Any) -> Any:
        names = [f't{len(self.nodes)}_{i}' for i in range(out)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names if out > 1 else names[0]

    def conv(self, tensor: str, channels: int, kernel: int, source: int = 3) -> str:
        weights = self.rng.normal(0, 2 / kernel, (channels, source, kernel, kernel))
        bias = self.rng.normal(0, 1, channels).astype(np.float32)
        return self('Conv', tensor, self.c(weights.astype(np.float32)), self.c(bias),
                    kernel_shape=[kernel, kernel], strides=[kernel, kernel])

    def grid(self, channels: int, strides: tuple[int, ...], *, up: bool = False) -> str:
        """Return [1, channels, A] over the cells of all strides."""
        levels = []
        for stride in strides:
            image, pads = self.image, [0] * 8
            if up:
                pads[6], pads[7] = -HEIGHT % stride, -WIDTH % stride
                image = self('Pad', image, self.c(pads, np.int64))
            level = self.conv(image, channels, stride)
            levels.append(self('Reshape', level, self.c([1, channels, -1], np.int64)))
        joined = self('Concat', *levels, axis=2)
        count = cells(strides, up=up)
        # Real pictures are smooth: without this all cells would say nearly the same.
        noise = self.rng.normal(0, 2, (1, channels, count)).astype(np.float32)
        return self('Add', joined, self.c(noise))

    def part(self, tensor: str, start: int, stop: int, axis: int) -> str:
        return self('Slice', tensor, self.c([start], np.int64), self.c([stop], np.int64),
                    self.c([axis], np.int64))

    def probability(self, tensor: str) -> str:
        return self('Sigmoid', self('Sub', tensor, self.c(np.float32(2))))

    def centred(self, raw: str, strides: tuple[int, ...]) -> str:
        """Turn [1, 4, A] into cx, cy, w, h in pixels."""
        places, steps = points(strides)
        near = self('Mul', self('Tanh', self.part(raw, 0, 2, 1)), self.c(steps.T[None]))
        centre = self('Add', near, self.c((places.T[None] + 0.5) * steps.T[None]))
        size = self('Mul', self('Sigmoid', self.part(raw, 2, 4, 1)), self.c(steps.T[None] * 6))
        return self('Concat', centre, size, axis=1)

    def prototypes(self) -> str:
        raw = self.conv(self.image, PROTOTYPES, 4)
        noise = self.rng.normal(0, 2, (1, PROTOTYPES, HEIGHT // 4, WIDTH // 4))
        return self('Add', raw, self.c(noise.astype(np.float32)))

    def write(
        self, path: Path, outputs: dict[str, tuple[str, list[Any]]], *, opset: int = 13,
        shape: tuple[Any, ...] = (1, 3, HEIGHT, WIDTH), metadata: dict[str, str] | None = None,
        types: dict[str, int] | None = None, inputs: tuple[onnx.ValueInfoProto, ...] = (),
    ) -> Path:
        for name, (tensor, _) in outputs.items():
            self.nodes.append(helper.make_node('Identity', [tensor], [name]))
        graph = helper.make_graph(
            self.nodes, 'zoo',
            [helper.make_tensor_value_info('images', TensorProto.FLOAT, shape), *inputs],
            [helper.make_tensor_value_info(name, (types or {}).get(name, TensorProto.FLOAT), dims)
             for name, (_, dims) in outputs.items()],
            [numpy_helper.from_array(v, n) for n, v in self.constants.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)],
                                  ir_version=8)
        helper.set_model_props(model, metadata or {})
        onnx.save(model, str(path))
        return path


def points(strides: tuple[int, ...], *, up: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return column and row of each cell [A, 2], and its stride [A, 1]."""
    places, steps = [], []
    for stride in strides:
        wide, high = WIDTH / stride, HEIGHT / stride
        columns, rows = (int(np.ceil(n)) if up else int(n) for n in (wide, high))
        places += [(x, y) for y in range(rows) for x in range(columns)]
        steps += [stride] * (rows * columns)
    return np.array(places, np.float32), np.array(steps, np.float32)[:, None]


def cells(strides: tuple[int, ...], *, up: bool = False) -> int:
    return len(points(strides, up=up)[1])


P5, P6 = (8, 16, 32), (8, 16, 32, 64)
A = cells(P5)


def corners(boxes: np.ndarray) -> np.ndarray:
    x, y, w, h = boxes.T
    return np.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2), 1)


def suppressed(boxes: np.ndarray, by_class: np.ndarray, iou: float) -> np.ndarray:
    """Return the indices that are kept, class by class."""
    labels, best = by_class.argmax(1), by_class.max(1)
    kept: list[int] = []
    for i in np.argsort(-best, kind='stable'):
        if best[i] < 0.001:
            break
        for j in kept:
            if labels[i] != labels[j]:
                continue
            low = np.maximum(boxes[i, :2], boxes[j, :2])
            sides = np.maximum(np.minimum(boxes[i, 2:], boxes[j, 2:]) - low, 0)
            areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (boxes[i], boxes[j])]
            if sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1]) > iou:
                break
        else:
            kept.append(int(i))
    return np.array(kept[:300], int)


def best(boxes: np.ndarray, by_class: np.ndarray, iou: float = 0.45,
         weights: np.ndarray | None = None, prototypes: np.ndarray | None = None) -> Found:
    kept = suppressed(boxes, by_class, iou)
    masks = None
    if weights is not None and prototypes is not None:
        masks = cut(weights[kept], prototypes, boxes[kept])
    return Found(boxes[kept], by_class.max(1)[kept], by_class.argmax(1)[kept], masks)


def cut(weights: np.ndarray, prototypes: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Sample sum(weight * prototype) at 28 x 28 places of each box, bilinearly."""
    height, width = prototypes.shape[1:]
    masks = np.zeros((len(boxes), 28, 28))
    for n, (x1, y1, x2, y2) in enumerate(boxes):
        whole = (weights[n][:, None, None] * prototypes).sum(0)
        for i in range(28):
            for j in range(28):
                u = (x1 + (j + 0.5) / 28 * (x2 - x1)) / WIDTH * width - 0.5
                v = (y1 + (i + 0.5) / 28 * (y2 - y1)) / HEIGHT * height - 0.5
                u, v = min(max(u, 0), width - 1), min(max(v, 0), height - 1)
                left, top = min(int(u), width - 2), min(int(v), height - 2)
                a, b = u - left, v - top
                masks[n, i, j] = (
                    whole[top, left] * (1 - a) * (1 - b) + whole[top, left + 1] * a * (1 - b)
                    + whole[top + 1, left] * (1 - a) * b + whole[top + 1, left + 1] * a * b)
    return 1 / (1 + np.exp(-masks))


def yolov5(path: Path, masks: bool = False, heads: bool = False, **options: Any) -> Path:
    net = Net(options.pop('scale', 1.0), seed=1)
    columns = 5 + CLASSES + (PROTOTYPES if masks else 0)
    tables = []
    for _ in range(3):
        raw = net.grid(columns, P5)
        parts = [net.centred(raw, P5), net.probability(net.part(raw, 4, 5 + CLASSES, 1))]
        if masks:
            parts.append(net('Tanh', net.part(raw, 5 + CLASSES, columns, 1)))
        tables.append(net('Transpose', net('Concat', *parts, axis=1), perm=[0, 2, 1]))
    outputs = {'output0': (net('Concat', *tables, axis=1), [1, 3 * A, columns])}
    if masks:
        outputs['output1'] = (net.prototypes(), [1, PROTOTYPES, HEIGHT // 4, WIDTH // 4])
    if heads:
        for name in ('drive_area_seg', 'lane_line_seg'):
            logits = net.conv(net.image, 2, 2)
            outputs[name] = (logits, [1, 2, HEIGHT // 2, WIDTH // 2])
    return net.write(path, outputs, opset=12, **options)


def yolov5_boxes(raw: Raw) -> Found:
    table = raw['output0'][0]
    by_class = table[:, 5:5 + CLASSES] * table[:, 4:5]
    weights = table[:, 5 + CLASSES:] if 'output1' in raw else None
    prototypes = raw['output1'][0] if 'output1' in raw else None
    return best(corners(table[:, :4]), by_class, 0.45, weights, prototypes)


def yolov8(path: Path, masks: bool = False, batch: Any = 1, **options: Any) -> Path:
    net = Net(1.0, seed=2)
    columns = 4 + CLASSES + (PROTOTYPES if masks else 0)
    raw = net.grid(columns, P5)
    parts = [net.centred(raw, P5), net.probability(net.part(raw, 4, 4 + CLASSES, 1))]
    if masks:
        parts.append(net.part(raw, 4 + CLASSES, columns, 1))
    outputs = {'output0': (net('Concat', *parts, axis=1), [1, columns, A])}
    if masks:
        outputs['output1'] = (net.prototypes(), [1, PROTOTYPES, HEIGHT // 4, WIDTH // 4])
    metadata = {'names': "{0: 'car', 1: 'person', 2: 'bus'}", 'task': 'detect'}
    return net.write(path, outputs, metadata=options.pop('metadata', metadata), **options)


def yolov8_boxes(raw: Raw) -> Found:
    table = raw['output0'][0].T
    weights = table[:, 4 + CLASSES:] if 'output1' in raw else None
    prototypes = raw['output1'][0] if 'output1' in raw else None
    return best(corners(table[:, :4]), table[:, 4:4 + CLASSES], 0.45, weights, prototypes)


def yolov10(path: Path, masks: bool = False) -> Path:
    net = Net(1.0, seed=3)
    columns = 4 + CLASSES + (PROTOTYPES if masks else 0)
    table = net.grid(columns, P5)
    middle = net.centred(table, P5)
    half = net('Mul', net.part(middle, 2, 4, 1), net.c(np.float32(0.5)))
    centre = net.part(middle, 0, 2, 1)
    boxes = net('Concat', net('Sub', centre, half), net('Add', centre, half), axis=1)
    scores = net.probability(net.part(table, 4, 4 + CLASSES, 1))
    value, _ = net('TopK', scores, net.c([1], np.int64), out=2, axis=1)
    label = net('Cast', net('ArgMax', scores, axis=1, keepdims=1), to=TensorProto.FLOAT)
    parts = [boxes, value, label]
    if masks:
        parts.append(net.part(table, 4 + CLASSES, columns, 1))
    rows = net('Transpose', net('Concat', *parts, axis=1), perm=[0, 2, 1])
    _, order = net('TopK', value, net.c([40], np.int64), out=2, axis=2)
    order = net('Transpose', order, perm=[0, 2, 1])
    width = 6 + (PROTOTYPES if masks else 0)
    spread = net('Expand', order, net.c([1, 40, width], np.int64))
    outputs = {'output0': (net('GatherElements', rows, spread, axis=1), [1, 40, width])}
    if masks:
        outputs['output1'] = (net.prototypes(), [1, PROTOTYPES, HEIGHT // 4, WIDTH // 4])
    return net.write(path, outputs, metadata={'names': "['a', 'b', 'c']"})


def yolov10_boxes(raw: Raw) -> Found:
    table = raw['output0'][0]
    masks = cut(table[:, 6:], raw['output1'][0], table[:, :4]) if 'output1' in raw else None
    return Found(table[:, :4], table[:, 4], table[:, 5].astype(int), masks)


def yolox(path: Path, decoded: bool = False) -> Path:
    net = Net(1 / 255, seed=4)
    raw = net.grid(5 + CLASSES, P5)
    box = net.centred(raw, P5) if decoded else net('Tanh', net.part(raw, 0, 4, 1))
    rest = net.probability(net.part(raw, 4, 5 + CLASSES, 1))
    table = net('Transpose', net('Concat', box, rest, axis=1), perm=[0, 2, 1])
    return net.write(path, {'output': (table, [1, A, 5 + CLASSES])}, opset=11 if decoded else 13)


def yolox_boxes(raw: Raw) -> Found:
    table = raw['output'][0]
    places, steps = points(P5)
    centre, size = (table[:, :2] + places) * steps, np.exp(table[:, 2:4]) * steps
    boxes = np.concatenate((centre - size / 2, centre + size / 2), 1)
    return best(boxes, table[:, 5:] * table[:, 4:5])


def yolox_decoded_boxes(raw: Raw) -> Found:
    table = raw['output'][0]
    return best(corners(table[:, :4]), table[:, 5:] * table[:, 4:5])


def nanodet(path: Path, strides: tuple[int, ...] = P6, bins: int = 8) -> Path:
    net = Net(1.0, seed=5)
    raw = net.grid(CLASSES + 4 * bins, strides, up=True)
    parts = [net.probability(net.part(raw, 0, CLASSES, 1)),
             net.part(raw, CLASSES, CLASSES + 4 * bins, 1)]
    table = net('Transpose', net('Concat', *parts, axis=1), perm=[0, 2, 1])
    shape = [1, cells(strides, up=True), CLASSES + 4 * bins]
    return net.write(path, {'output': (table, shape)})


def nanodet_boxes(strides: tuple[int, ...], bins: int, offset: float) -> Callable[[Raw], Found]:

    def boxes(raw: Raw) -> Found:
        table = raw['output'][0].astype(np.float64)
        places, steps = points(strides, up=True)
        share = np.exp(table[:, CLASSES:].reshape(-1, 4, bins))
        sides = (share / share.sum(2, keepdims=True) * np.arange(bins)).sum(2) * steps
        x, y = ((places + offset) * steps).T
        left, top, right, bottom = sides.T
        return best(np.stack((x - left, y - top, x + right, y + bottom), 1),
                    table[:, :CLASSES], 0.6)

    return boxes


def _queries(net: Net, classes: int = CLASSES) -> tuple[str, str, int]:
    table = net.grid(4 + classes, (16,))
    table = net('Transpose', table, perm=[0, 2, 1])
    boxes = net('Sigmoid', net.part(table, 0, 4, 2))
    return boxes, net.part(table, 4, 4 + classes, 2), cells((16,))


def detr(path: Path, merged: bool = False) -> Path:
    net = Net(1.0, seed=6)
    boxes, logits, count = _queries(net)
    if merged:
        table = net('Concat', boxes, net.probability(logits), axis=2)
        return net.write(path, {'output0': (table, [1, count, 4 + CLASSES])})
    return net.write(path, {'logits': (logits, [1, count, CLASSES]),
                            'pred_boxes': (boxes, [1, count, 4])}, opset=16)


def detr_boxes(raw: Raw) -> Found:
    if 'logits' in raw:
        boxes, scores = raw['pred_boxes'][0], 1 / (1 + np.exp(-raw['logits'][0]))
    else:
        boxes, scores = raw['output0'][0][:, :4], raw['output0'][0][:, 4:]
    boxes = corners(boxes) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    pairs = sorted(((s, q, c) for (q, c), s in np.ndenumerate(scores) if s >= 0.001),
                   reverse=True)[:300]
    return Found(np.array([boxes[q] for _, q, _ in pairs]), np.array([s for s, _, _ in pairs]),
                 np.array([c for _, _, c in pairs]))


def deployed(path: Path) -> Path:
    """Write labels, boxes and scores scaled to the second input, as RT-DETR and D-FINE are."""
    net = Net(1.0, seed=7)
    boxes, logits, count = _queries(net)
    low = net('Sub', net.part(boxes, 0, 2, 2),
              net('Mul', net.part(boxes, 2, 4, 2), net.c(np.float32(0.5))))
    high = net('Add', low, net.part(boxes, 2, 4, 2))
    size = net('Cast', 'orig_target_sizes', to=TensorProto.FLOAT)
    size = net('Unsqueeze', net('Concat', size, size, axis=1), net.c([1], np.int64))
    pixels = net('Mul', net('Concat', low, high, axis=2), size)
    scores = net.probability(logits)
    value, _ = net('TopK', scores, net.c([1], np.int64), out=2, axis=2)
    outputs = {
        'labels': (net('ArgMax', scores, axis=2, keepdims=0), ['N', count]),
        'boxes': (pixels, ['N', count, 4]),
        'scores': (net('Squeeze', value, net.c([2], np.int64)), ['N', count]),
    }
    size_input = helper.make_tensor_value_info('orig_target_sizes', TensorProto.INT64, ['N', 2])
    for name, value in net.constants.items():
        if value.dtype == np.int64 and value.size == 3 and value[0] == 1:
            net.constants[name] = np.array([-1, *value[1:]])
            if value[2] == -1:  # only one size may be left open
                net.constants[name] = np.array([0, value[1], -1])
    return net.write(path, outputs, opset=16, shape=('N', 3, HEIGHT, WIDTH),
                     types={'labels': TensorProto.INT64}, inputs=(size_input,))


def deployed_boxes(raw: Raw) -> Found:
    order = np.argsort(-raw['scores'][0], kind='stable')
    return Found(raw['boxes'][0][order], raw['scores'][0][order], raw['labels'][0][order])


def ssd(path: Path) -> Path:
    net = Net(1.0, seed=8)
    boxes, logits, count = _queries(net, CLASSES + 1)
    low = net('Mul', net.part(boxes, 0, 2, 2), net.c(np.float32(0.7)))
    size = net('Mul', net.part(boxes, 2, 4, 2), net.c(np.float32(0.3)))
    both = net('Concat', low, net('Add', low, size), axis=2)
    return net.write(path, {'scores': (net('Softmax', logits, axis=2), [1, count, CLASSES + 1]),
                            'boxes': (both, [1, count, 4])})


def ssd_boxes(raw: Raw) -> Found:
    return best(raw['boxes'][0] * [WIDTH, HEIGHT, WIDTH, HEIGHT], raw['scores'][0][:, 1:])


def decoded(path: Path, masks: str = '') -> Path:
    """Write corners in pixels and probabilities, of a network that takes NHWC."""
    net = Net(1.0, seed=9)
    net.image = net('Transpose', net.image, perm=[0, 3, 1, 2])
    table = net.grid(4 + CLASSES + PROTOTYPES, P5)
    middle = net.centred(table, P5)
    half = net('Mul', net.part(middle, 2, 4, 1), net.c(np.float32(0.5)))
    centre = net.part(middle, 0, 2, 1)
    boxes = net('Concat', net('Sub', centre, half), net('Add', centre, half), axis=1)
    scores = net.probability(net.part(table, 4, 4 + CLASSES, 1))
    outputs = {
        'det_boxes': (net('Transpose', boxes, perm=[0, 2, 1]), [1, A, 4]),
        'det_scores': (net('Transpose', scores, perm=[0, 2, 1]), [1, A, CLASSES]),
    }
    rows = net('Transpose', net.part(table, 4 + CLASSES, 4 + CLASSES + PROTOTYPES, 1),
               perm=[0, 2, 1])
    if masks == 'prototypes':
        outputs |= {'weights': (rows, [1, A, PROTOTYPES]),
                    'bases': (net.prototypes(), [1, PROTOTYPES, HEIGHT // 4, WIDTH // 4])}
    elif masks == 'ready':
        cells = net('Reshape', net('Sigmoid', rows), net.c([1, A, 2, PROTOTYPES // 2], np.int64))
        outputs['outlines'] = (cells, [1, A, 2, PROTOTYPES // 2])
    return net.write(path, outputs, shape=(1, HEIGHT, WIDTH, 3))


def decoded_boxes(raw: Raw) -> Found:
    boxes, scores = raw['det_boxes'][0], raw['det_scores'][0]
    if 'outlines' in raw:
        kept = suppressed(boxes, scores, 0.45)
        return replace(best(boxes, scores), masks=raw['outlines'][0][kept])
    if 'weights' in raw:
        return best(boxes, scores, weights=raw['weights'][0], prototypes=raw['bases'][0])
    return best(boxes, scores)


def torchvision(path: Path, masks: bool = False, whole: bool = False) -> Path:
    """Write outputs whose length depends on the image, of an input without a batch."""
    net = Net(1.0, seed=10)
    net.image = net('Unsqueeze', net.image, net.c([0], np.int64))
    table = net.grid(6, (16,))
    middle = net.centred(table, (16,))
    half = net('Mul', net.part(middle, 2, 4, 1), net.c(np.float32(0.5)))
    centre = net.part(middle, 0, 2, 1)
    boxes = net('Concat', net('Sub', centre, half), net('Add', centre, half), axis=1)
    boxes = net('Squeeze', net('Transpose', boxes, perm=[0, 2, 1]), net.c([0], np.int64))
    score = net('Reshape', net.probability(net.part(table, 4, 5, 1)), net.c([-1], np.int64))
    label = net('Reshape', net('Greater', net.part(table, 5, 6, 1), net.c(np.float32(0))),
                net.c([-1], np.int64))
    label = net('Add', net('Cast', label, to=TensorProto.INT64), net.c(1, np.int64))
    sure = net('NonZero', net('Greater', score, net.c(np.float32(0.2))))
    sure = net('Squeeze', sure, net.c([0], np.int64))
    outputs = {
        'boxes': (net('Gather', boxes, sure, axis=0), ['n', 4]),
        'labels': (net('Gather', label, sure, axis=0), ['n']),
        'scores': (net('Gather', score, sure, axis=0), ['n']),
    }
    if masks:
        share = net('Sigmoid', net('Mul', net('Unsqueeze', outputs['boxes'][0],
                                             net.c([1, 3], np.int64)), net.c(np.float32(0.02))))
        wide = net('Transpose', net('Tile', share, net.c([1, 1, 1, 7], np.int64)),
                   perm=[0, 1, 3, 2])
        outputs['masks'] = (net('Tile', wide, net.c([1, 1, 1, 2], np.int64)), ['n', 1, 7, 8])
    if whole:
        ramp = np.broadcast_to(np.linspace(0, 1, WIDTH), (1, 1, HEIGHT, WIDTH))
        first = net('Unsqueeze', net('Mul', outputs['scores'][0], net.c(np.float32(0))),
                    net.c([1, 2, 3], np.int64))
        outputs['masks'] = (net('Add', first, net.c(ramp, np.float32)), ['n', 1, HEIGHT, WIDTH])
    return net.write(path, outputs, opset=13, shape=(3, HEIGHT, WIDTH),
                     types={'labels': TensorProto.INT64})


def torchvision_boxes(raw: Raw) -> Found:
    order = np.argsort(-raw['scores'], kind='stable')
    masks = raw['masks'][order, 0] if 'masks' in raw else None
    return Found(raw['boxes'][order], raw['scores'][order], raw['labels'][order] - 1, masks)


def semantic(path: Path, heads: tuple[int, ...] = (4,), nhwc: bool = False) -> Path:
    net = Net(1.0, seed=11)
    if nhwc:
        net.image = net('Transpose', net.image, perm=[0, 3, 1, 2])
    outputs = {}
    for i, classes in enumerate(heads):
        logits, shape = net.conv(net.image, classes, 4), [classes, HEIGHT // 4, WIDTH // 4]
        if nhwc:
            logits, shape = net('Transpose', logits, perm=[0, 2, 3, 1]), [*shape[1:], classes]
        outputs[f'head{i}'] = (logits, [1, *shape])
    return net.write(path, outputs, shape=(1, HEIGHT, WIDTH, 3) if nhwc else
                     (1, 3, HEIGHT, WIDTH))


def argmax(output: str, axis: int = 0) -> Callable[[Raw], np.ndarray]:
    return lambda raw: raw[output][0].argmax(axis)


CASES = {
    'YOLOv5': Case('yolov5', yolov5, yolov5_boxes),
    'YOLOv5 with masks': Case('yolov5', lambda p: yolov5(p, masks=True), yolov5_boxes),
    'YOLOP': Case(
        'yolov5', lambda p: yolov5(p, heads=True), yolov5_boxes,
        {name: argmax(name) for name in ('drive_area_seg', 'lane_line_seg')}),
    'YOLOX decoded': Case('yolov5', lambda p: yolox(p, decoded=True), yolox_decoded_boxes),
    'YOLOv8': Case('yolov8', yolov8, yolov8_boxes),
    'YOLOv8 with masks': Case('yolov8', lambda p: yolov8(p, masks=True), yolov8_boxes),
    'YOLOv10': Case('yolov10', yolov10, yolov10_boxes),
    'YOLO26 with masks': Case('yolov10', lambda p: yolov10(p, masks=True), yolov10_boxes),
    'YOLOX': Case('yolox', yolox, yolox_boxes, order='bgr', divisor=1),
    'NanoDet-Plus': Case(
        'nanodet', nanodet, nanodet_boxes(P6, 8, 0.0), order='bgr', divisor=1,
        mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395)),
    'NanoDet': Case(
        'nanodet', lambda p: nanodet(p, P5, 11), nanodet_boxes(P5, 11, 0.5), order='bgr',
        divisor=1, mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395)),
    'RT-DETR': Case('detr', detr, detr_boxes),
    'RT-DETR in one output': Case('detr', lambda p: detr(p, merged=True), detr_boxes),
    'D-FINE deployed': Case('detr', deployed, deployed_boxes, says='how many classes'),
    'SSD': Case('ssd', ssd, ssd_boxes, divisor=1, mean=(127,) * 3, std=(128,) * 3),
    'decoded, NHWC': Case('decoded', decoded, decoded_boxes, nhwc=True),
    'decoded with masks': Case(
        'decoded', lambda p: decoded(p, 'ready'), decoded_boxes, nhwc=True),
    'decoded with prototypes': Case(
        'decoded', lambda p: decoded(p, 'prototypes'), decoded_boxes, nhwc=True),
    'Faster R-CNN': Case('torchvision', torchvision, torchvision_boxes, says='image by image'),
    'Mask R-CNN': Case(
        'torchvision', lambda p: torchvision(p, masks=True), torchvision_boxes,
        says='image by image'),
    'one head': Case('semantic', semantic, heads={'head0': argmax('head0')}),
    'three heads': Case(
        'semantic', lambda p: semantic(p, (3, 4, 1)),
        heads={'head0': argmax('head0'), 'head1': argmax('head1'),
               'head2': lambda raw: raw['head2'][0, 0] > 0}),
    'heads, NHWC': Case(
        'semantic', lambda p: semantic(p, (3, 5), nhwc=True), nhwc=True,
        heads={f'head{i}': argmax(f'head{i}', axis=2) for i in range(2)}),
}
