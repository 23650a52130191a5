"""Foreign models of every family: recognised, imported, and measured by their own recipes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from perception_ros.bundles.families import ALIASES, FAMILIES, family_of, matches, recognise
from perception_ros.bundles.families.grid import centres_are_decoded
from perception_ros.bundles.graph.read import read_foreign
from perception_ros.bundles.importing import import_model
from perception_ros.bundles.options import ImportOptions
from perception_ros.bundles.proof import synthetic_images
from perception_ros.core.errors import ImportModelError
from test.bundles import foreign, zoo
from test.bundles.shared import SHARED

BATCHES = (1, 2, 5)


def pictures() -> np.ndarray:
    """Return five real pictures where there are any, else synthetic ones: uint8 [5, H, W, 3]."""
    paths = sorted((SHARED / 'idd' / 'images').glob('*.jpg'))[::40][:5]
    if len(paths) < 5:
        return synthetic_images(5, zoo.HEIGHT, zoo.WIDTH, seed=3)
    return np.stack([
        cv2.cvtColor(cv2.resize(cv2.imread(str(p)), (zoo.WIDTH, zoo.HEIGHT)), cv2.COLOR_BGR2RGB)
        for p in paths
    ])


def session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])


def originals(case: zoo.Case, path: Path, images: np.ndarray) -> list[zoo.Raw]:
    """Run the original on one image after the other."""
    run = session(path)
    names = [output.name for output in run.get_outputs()]
    answers = []
    for image in images:
        tensor = case.tensor(image)
        (first, *others) = run.get_inputs()
        feeds = {first.name: tensor[None] if len(first.shape) == 4 else tensor}
        if others:
            feeds['orig_target_sizes'] = np.array([[zoo.WIDTH, zoo.HEIGHT]], np.int64)
        answers.append(dict(zip(names, run.run(names, feeds), strict=True)))
    return answers


def compare(want: zoo.Found, got: dict[str, np.ndarray], index: int) -> None:
    """Pair the boxes one to one."""
    count = int((got['scores'][index] > 0).sum())
    assert count == len(want.scores)
    assert (got['boxes'][index, count:] == 0).all() and (got['labels'][index, count:] == 0).all()
    assert (np.diff(got['scores'][index]) <= 0).all()
    free = set(range(count))
    for i, (box, score, label) in enumerate(
        zip(want.boxes, want.scores, want.labels, strict=True)
    ):
        partners = [
            j for j in free
            if got['labels'][index, j] == label
            and abs(got['scores'][index, j] - score) < 2e-4
            and np.abs(got['boxes'][index, j] - box).max() < 0.05
        ]
        assert partners, f'no partner for {box} {score} {label}'
        free.remove(partners[0])
        if want.masks is not None:
            np.testing.assert_allclose(
                got['masks'][index, partners[0]], want.masks[i], atol=2e-3)


@pytest.mark.parametrize('name', zoo.CASES)
def test_answers_are_the_recipe_s(tmp_path: Path, name: str) -> None:
    case = zoo.CASES[name]
    path = case.write(tmp_path / 'net.onnx')
    told: list[str] = []
    bundle = import_model(path, tmp_path / 'bundle', announce=told.append)
    assert told[0].startswith(f'recognised as {case.family}: ')
    assert any(case.says in sentence for sentence in told)
    manifest = bundle.manifest
    assert set(manifest.semantic) == set(case.heads)
    assert (manifest.detection is not None) == (case.boxes is not None)
    images = pictures()
    raw = originals(case, path, images)
    boxes = [case.boxes(item) for item in raw] if case.boxes else []
    assert not boxes or sum(len(want.scores) for want in boxes) > 20
    run = session(bundle.graph_path)
    names = [output.name for output in run.get_outputs()]
    for batch in BATCHES:
        got = dict(zip(names, run.run(names, {'images': images[:batch]}), strict=True))
        for i in range(batch):
            if boxes:
                assert (boxes[i].masks is not None) == ('masks' in got)
                compare(boxes[i], got, i)
            for head, ids in case.heads.items():
                assert (got[f'semantic_{head}'][i] != ids(raw[i])).mean() < 0.01


@pytest.mark.parametrize('name', zoo.CASES)
def test_families_are_not_confused(tmp_path: Path, name: str) -> None:
    """Exactly one family is sure of each network, and none comes close to it."""
    case = zoo.CASES[name]
    network = read_foreign(case.write(tmp_path / 'net.onnx'))
    found = recognise(network)
    assert found.family.name == case.family
    assert found.others == {}, str(found)
    sure = [family for family, match in matches(network).items() if match.score > 0.6]
    assert sure == [case.family]
    assert all(match.reason for match in matches(network).values())


@pytest.mark.parametrize('name', ['YOLOv8', 'YOLOX', 'RT-DETR', 'SSD', 'NanoDet', 'Faster R-CNN',
                                  'YOLOv10', 'YOLOv5'])
def test_wrong_families_are_refused(tmp_path: Path, name: str) -> None:
    """By their shapes; only `decoded` and its relatives may take each other's for their own."""
    case = zoo.CASES[name]
    path = case.write(tmp_path / 'net.onnx')
    relatives = {'decoded', 'ssd', 'detr'}
    for family in FAMILIES:
        if family == case.family or {family, case.family} <= relatives:
            continue
        if (case.family, family) == ('yolov10', 'yolov5'):
            continue  # six columns may be one class and its objectness
        with pytest.raises(ImportModelError, match='expected') as caught:
            import_model(path, tmp_path / 'bundle', family=family)
        assert 'net.onnx' in str(caught.value) or family in str(caught.value) or (
            'right family' in str(caught.value))
    assert not (tmp_path / 'bundle').exists()


def test_models_stand_for_their_families() -> None:
    assert family_of('yolov11').name == 'yolov8'
    assert all(family in FAMILIES for family in ALIASES.values())


class TestNames:

    def test_come_from_the_file(self, tmp_path: Path) -> None:
        bundle = import_model(zoo.yolov8(tmp_path / 'net.onnx'), tmp_path / 'bundle')
        assert bundle.manifest.detection
        assert [c.name for c in bundle.manifest.detection.classes] == ['car', 'person', 'bus']

    @pytest.mark.parametrize('text', [
        pytest.param('__import__("os").system("false")', id='code'),
        pytest.param("{0: 'a', 5: 'b', 6: 'c'}", id='ids with gaps'),
        pytest.param('{0: 1, 1: 2, 2: 3}', id='numbers'),
        pytest.param('{' * 4000, id='deeply nested'),
        pytest.param("{0: 'a'}", id='too few'),
    ])
    def test_that_cannot_be_used_are_left_alone(self, tmp_path: Path, text: str) -> None:
        path = zoo.yolov8(tmp_path / 'net.onnx', metadata={'names': text})
        manifest = import_model(path, tmp_path / 'bundle').manifest
        assert manifest.detection
        assert [c.name for c in manifest.detection.classes] == ['class_0', 'class_1', 'class_2']

    def test_that_come_twice_are_told_apart(self, tmp_path: Path) -> None:
        path = zoo.yolov8(tmp_path / 'net.onnx', metadata={'names': "['a', 'b', 'a']"})
        manifest = import_model(path, tmp_path / 'bundle').manifest
        assert manifest.detection
        assert [c.name for c in manifest.detection.classes] == ['a', 'b', 'a_2']

    def test_of_a_user_go_first(self, tmp_path: Path) -> None:
        path = zoo.yolov8(tmp_path / 'net.onnx')
        options = ImportOptions(classes=('x', 'y', 'z'))
        manifest = import_model(path, tmp_path / 'bundle', options=options).manifest
        assert manifest.detection and manifest.detection.classes[0].name == 'x'
        with pytest.raises(ImportModelError, match='expected 3 class names.*got 2'):
            import_model(path, tmp_path / 'other', options=ImportOptions(classes=('x', 'y')))

    def test_boxes_of_classes_without_one_are_left_out(self, tmp_path: Path) -> None:
        path = zoo.deployed(tmp_path / 'net.onnx')
        options = ImportOptions(classes=('only',))
        bundle = import_model(path, tmp_path / 'bundle', options=options)
        (labels,) = session(bundle.graph_path).run(['labels'], {'images': pictures()})
        assert (labels == 0).all()


class TestBatch:

    def test_that_cannot_be_dynamic_is_looped_with_a_warning(self, tmp_path: Path) -> None:
        path, told = foreign.batch_mixer(tmp_path / 'net.onnx'), []
        bundle = import_model(path, tmp_path / 'bundle', announce=told.append)
        assert 'runs image by image' in told[-1]
        assert 'runs image by image' in bundle.card_path.read_text()
        assert 'Loop' in [node.op_type for node in onnx.load(str(bundle.graph_path)).graph.node]

    def test_that_is_dynamic_by_name_alone_is_made_so(self, tmp_path: Path) -> None:
        shape = ('batch', 3, zoo.HEIGHT, zoo.WIDTH)
        path, told = zoo.yolov8(tmp_path / 'net.onnx', shape=shape), []
        import_model(path, tmp_path / 'bundle', announce=told.append)
        assert len(told) == 1 and told[0].startswith('recognised')

    @pytest.mark.parametrize('name', ['YOLOv8 with masks', 'YOLOP', 'decoded, NHWC', 'RT-DETR'])
    def test_loop_gives_the_same(self, tmp_path: Path, name: str) -> None:
        path = zoo.CASES[name].write(tmp_path / 'net.onnx')
        once = import_model(path, tmp_path / 'dynamic')
        loop = import_model(path, tmp_path / 'loop', options=ImportOptions(batch='loop'))
        answers = [session(b.graph_path).run(None, {'images': pictures()}) for b in (once, loop)]
        for one, two in zip(*answers, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-3)

    def test_of_detections_without_one_cannot_be_dynamic(self, tmp_path: Path) -> None:
        path = zoo.torchvision(tmp_path / 'net.onnx')
        with pytest.raises(ImportModelError, match='the number of boxes depends on the image'):
            import_model(path, tmp_path / 'bundle', options=ImportOptions(batch='dynamic'))

    def test_a_family_with_a_batch_needs_an_input_with_one(self, tmp_path: Path) -> None:
        net = zoo.Net(1.0)
        net.image = net('Unsqueeze', net.image, net.c([0], np.int64))
        logits = net.conv(net.image, 3, 4)
        path = net.write(tmp_path / 'net.onnx', {'logits': (logits, [1, 3, 16, 24])},
                         shape=(3, zoo.HEIGHT, zoo.WIDTH))
        with pytest.raises(ImportModelError, match='an input with a batch'):
            import_model(path, tmp_path / 'bundle')


class TestBadInput:

    def test_external_data_is_missing(self, tmp_path: Path) -> None:
        path = zoo.yolov8(tmp_path / 'net.onnx')
        onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True,
                  location='net.weights', size_threshold=0)
        assert import_model(path, tmp_path / 'whole').manifest.detection
        (tmp_path / 'net.weights').unlink()
        with pytest.raises(ImportModelError, match=r"'net.weights'\] is not in .*; copy them"):
            import_model(path, tmp_path / 'bundle')

    def test_external_data_is_cut_off(self, tmp_path: Path) -> None:
        path = zoo.yolov8(tmp_path / 'net.onnx')
        onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True,
                  location='net.weights', size_threshold=0)
        weights = tmp_path / 'net.weights'
        weights.write_bytes(weights.read_bytes()[:100])
        with pytest.raises(ImportModelError, match='copy or export'):
            import_model(path, tmp_path / 'bundle')

    @pytest.mark.parametrize(('domain', 'op', 'shown'), [
        ('', 'Telepathy', 'Telepathy'), ('mmdeploy', 'TRTBatchedNMS', 'mmdeploy::TRTBatchedNMS')])
    def test_unknown_operators(self, tmp_path: Path, domain: str, op: str, shown: str) -> None:
        path = zoo.yolov8(tmp_path / 'net.onnx')
        model = onnx.load(str(path))
        model.graph.node[0].op_type, model.graph.node[0].domain = op, domain
        if domain:
            model.opset_import.append(onnx.helper.make_opsetid(domain, 1))
        onnx.save(model, str(path))
        with pytest.raises(ImportModelError, match=f"expected standard ONNX.*'{shown}'.*export"):
            import_model(path, tmp_path / 'bundle')

    def test_no_image(self, tmp_path: Path) -> None:
        net = zoo.Net(1.0)
        path = net.write(tmp_path / 'net.onnx', {'y': (net.image, [1, 128])}, shape=(1, 128))
        with pytest.raises(ImportModelError, match=r'\[1, 128\]; a model of anything but colour'):
            import_model(path, tmp_path / 'bundle')

    def test_size_is_open(self, tmp_path: Path) -> None:
        net = zoo.Net(1.0)
        path = net.write(tmp_path / 'net.onnx', {'y': (net.conv(net.image, 3, 4), ['b', 3, 8, 8])},
                         shape=('b', 3, 'h', 'w'))
        with pytest.raises(ImportModelError, match=r'\[b, 3, h, w\]; give the input size'):
            import_model(path, tmp_path / 'bundle')
        options = ImportOptions(input_size=(64, 32))
        told: list[str] = []
        bundle = import_model(path, tmp_path / 'bundle', options=options, announce=told.append)
        assert bundle.manifest.semantic['y'].stride == 4

    def test_no_family(self, tmp_path: Path) -> None:
        net = zoo.Net(1.0)
        mean = net('GlobalAveragePool', net.image)
        path = net.write(tmp_path / 'net.onnx', {'y': (net('Flatten', mean), [1, 3])})
        with pytest.raises(ImportModelError, match=r"\{'y': \[1, 3\]\} fit no family.*--family"):
            import_model(path, tmp_path / 'bundle')

    def test_another_task(self, tmp_path: Path) -> None:
        path = zoo.yolov8(tmp_path / 'net.onnx', metadata={'task': 'pose'})
        with pytest.raises(ImportModelError, match="its task is 'pose'"):
            import_model(path, tmp_path / 'bundle')
        with pytest.raises(ImportModelError, match="'pose', which a bundle cannot hold"):
            import_model(path, tmp_path / 'bundle', family='yolov8')


def test_no_object_is_no_class(tmp_path: Path) -> None:
    """DETR's last column: nothing in a graph says so, but the number of names may."""
    path = zoo.detr(tmp_path / 'net.onnx')
    names = tuple('ab'[:zoo.CLASSES - 1])
    with pytest.raises(ImportModelError, match='got 2; if the last column stands for no object'):
        import_model(path, tmp_path / 'bundle', options=ImportOptions(classes=names))
    options = ImportOptions(classes=names, background=1)
    bundle = import_model(path, tmp_path / 'bundle', options=options)
    images = pictures()
    run = session(bundle.graph_path)
    boxes, scores, labels = run.run(['boxes', 'scores', 'labels'], {'images': images})
    for i, raw in enumerate(originals(zoo.CASES['RT-DETR'], path, images)):
        shares = np.exp(raw['logits'][0])
        shares = (shares / shares.sum(1, keepdims=True))[:, :-1]
        best = int(shares.max(1).argmax())
        assert scores[i, 0] == pytest.approx(shares.max(), abs=1e-4)
        assert labels[i, 0] == shares[best].argmax()
        want = zoo.corners(raw['pred_boxes'][0][best:best + 1])[0]
        want = want * [zoo.WIDTH, zoo.HEIGHT, zoo.WIDTH, zoo.HEIGHT]
        np.testing.assert_allclose(boxes[i, 0], want, atol=1e-2)


def test_masks_over_the_whole_input_are_cut_to_their_boxes(tmp_path: Path) -> None:
    """As torchvision exports them; others give masks of their boxes, which stay as they are."""
    path = zoo.torchvision(tmp_path / 'net.onnx', whole=True)
    bundle = import_model(path, tmp_path / 'bundle', options=ImportOptions(mask_cells=14))
    images = pictures()
    run = session(bundle.graph_path)
    boxes, scores, masks = run.run(['boxes', 'scores', 'masks'], {'images': images})
    assert masks.shape[2:] == (14, 14)
    # The network's masks rise from 0 at the left border of the input to 1 at the right one.
    for image in range(len(images)):
        for n in range(int((scores[image] > 0).sum())):
            left, _, right, _ = boxes[image, n]
            want = (left + (np.arange(14) + 0.5) / 14 * (right - left) - 0.5) / (zoo.WIDTH - 1)
            np.testing.assert_allclose(masks[image, n, 7], want.clip(0, 1), atol=1e-3)


def test_places_are_told_from_offsets() -> None:
    """For noise a trained network may draw the whole image from every cell, or anything."""
    rng = np.random.default_rng(0)
    offsets = rng.normal(0.5, 1.5, (8400, 2)).astype(np.float32)
    assert not centres_are_decoded(offsets, (640, 640))
    assert centres_are_decoded(offsets * 3 + 320, (640, 640))
    assert centres_are_decoded(rng.uniform(0, 640, (8400, 2)).astype(np.float32), (640, 640))


def test_ambiguity_is_told(tmp_path: Path) -> None:
    """Corners relative to the input whose scores have no background fit no family well."""
    net = zoo.Net(1.0, seed=8)
    table = net('Transpose', net.grid(7, (16,)), perm=[0, 2, 1])
    low = net('Mul', net('Sigmoid', net.part(table, 0, 2, 2)), net.c(np.float32(0.5)))
    box = net('Concat', low, net('Add', low, net('Sigmoid', net.part(table, 2, 4, 2))), axis=2)
    scores = net.probability(net.part(table, 4, 7, 2))
    path = net.write(tmp_path / 'net.onnx', {'boxes': (box, [1, 24, 4]),
                                             'scores': (scores, [1, 24, 3])})
    found = recognise(read_foreign(path))
    assert 'no background class: then give --background 0' in str(found)
    options = ImportOptions(background=0)
    manifest = import_model(path, tmp_path / 'bundle', options=options).manifest
    assert manifest.detection and len(manifest.detection.classes) == 3
    near = replace(found, others={'decoded': 'corners'})
    assert str(near).endswith('could also be decoded: corners. Name it with --family to be sure.')


def test_masks_have_the_size_that_was_asked_for(tmp_path: Path) -> None:
    path = zoo.yolov8(tmp_path / 'net.onnx', masks=True)
    options = ImportOptions(mask_cells=14, selection={'max_detections': 50})
    bundle = import_model(path, tmp_path / 'bundle', options=options)
    assert bundle.manifest.tasks == ('detection', 'instances')
    masks, scores = session(bundle.graph_path).run(['masks', 'scores'], {'images': pictures()})
    assert masks.shape == (5, 50, 14, 14) and masks.dtype == np.float32
    assert (masks[scores == 0] == 0).all()
    assert masks.min() >= 0 and masks.max() <= 1


def test_some_of_a_family_s_ways_can_be_changed(tmp_path: Path) -> None:
    path = zoo.yolox(tmp_path / 'net.onnx')
    options = ImportOptions(letterbox={'pad_value': 0}, selection={'nms_iou': 0.6})
    manifest = import_model(path, tmp_path / 'bundle', options=options).manifest
    assert manifest.input.letterbox.anchor == 'top_left', 'as the family has it'
    assert manifest.input.letterbox.pad_value == 0
    assert manifest.detection and manifest.detection.nms_iou == 0.6


def halved(path: Path) -> Path:
    """Make a file's floats half ones, its input among them."""
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == 'Cast' and attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = onnx.TensorProto.FLOAT16
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize('name', ['YOLOv8 with masks', 'YOLOX', 'YOLOv10', 'RT-DETR', 'SSD',
                                  'NanoDet-Plus', 'Faster R-CNN', 'one head'])
def test_half_precision(tmp_path: Path, name: str) -> None:
    case, told = zoo.CASES[name], []
    path = halved(case.write(tmp_path / 'net.onnx'))
    bundle = import_model(path, tmp_path / 'bundle', announce=told.append)
    assert told[0].startswith(f'recognised as {case.family}: ')
    assert bundle.manifest.precision == 'fp16'


@pytest.mark.parametrize('opset', [9, 10, 12])
def test_old_opsets(tmp_path: Path, opset: int) -> None:
    """Operators that have changed since: Upsample, Resize without sizes, early quantisation."""
    net = zoo.Net(1.0)
    if opset > 9:
        scale, zero = net.c(np.float32(1 / 255)), net.c(0, np.uint8)
        net.image = net('DequantizeLinear', net('QuantizeLinear', net.image, scale, zero),
                        scale, zero)
    logits, shape = net.conv(net.image, 3, 4), [1, 3, 16, 24]
    if opset < 11:
        doubled = net.c([1, 1, 2, 2], np.float32)
        logits = net('Upsample' if opset < 10 else 'Resize', logits, doubled, mode='nearest')
        shape = [1, 3, 32, 48]
    path = net.write(tmp_path / 'net.onnx', {'logits': (logits, shape)}, opset=opset)
    manifest = import_model(path, tmp_path / 'bundle').manifest
    assert manifest.precision == ('int8' if opset > 9 else 'fp32')
    assert manifest.semantic['logits'].stride == (2 if opset < 11 else 4)
