"""Importing small foreign networks: what comes out, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, TensorProto
import onnxruntime as ort
import pytest

from perception_ros.bundles import Bundle
from perception_ros.bundles.graph.foreign import LEAST_OPSET, opset_of
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.importing import import_model
from perception_ros.bundles.manifest import LetterboxInfo, LicenceInfo, ProvenanceInfo
from perception_ros.bundles.options import HeadOptions, ImportOptions, Tolerance
from perception_ros.bundles.proof import Proof, synthetic_images
from perception_ros.core.errors import BundleError, ImportModelError
from perception_ros.core.image import Image
from test.builders import picture
from test.bundles import foreign


def answers(bundle: Bundle, images: np.ndarray) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(str(bundle.graph_path), providers=['CPUExecutionProvider'])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {'images': images}), strict=True))


class TestDecoded:

    def test_becomes_a_bundle(self, tmp_path: Path) -> None:
        proofs: list[Proof] = []
        bundle = import_model(
            foreign.two_heads(tmp_path / 'net.onnx'),
            tmp_path / 'engines' / 'net',
            family='decoded',
            options=ImportOptions(
                classes=('car', 'person', 'bus'),
                heads={'scene': HeadOptions('scene', tuple('abcde'), stride=2)},
                provenance=ProvenanceInfo(source='us', data='theirs', seed=4),
                licence=LicenceInfo(weights='Apache-2.0', data='research only'),
            ),
            report=proofs.append,
        )
        loaded = Bundle.load(bundle.path).manifest
        assert loaded == bundle.manifest
        assert loaded.detection and loaded.detection.max_detections == foreign.CELLS
        assert [item.name for item in loaded.detection.classes] == ['car', 'person', 'bus']
        assert loaded.semantic['scene'].stride == 2
        assert loaded.provenance.seed == 4
        assert loaded.provenance.tools['onnx'] == onnx.__version__
        card = bundle.card_path.read_text()
        assert 'research only' in card and 'semantic_scene' in card
        assert {row.batch for row in proofs[0].rows} == {1, 2, 5}
        assert {row.output for row in proofs[0].rows} >= {'boxes', 'semantic_scene'}

    def test_agrees_with_hand_written_steps(self, tmp_path: Path) -> None:
        """Not with the importer's own recipe: with the original, followed step by step here."""
        path = foreign.two_heads(tmp_path / 'net.onnx')
        options = ImportOptions(heads={'scene': HeadOptions('scene')})
        bundle = import_model(path, tmp_path / 'net', family='decoded', options=options)
        images = synthetic_images(3, foreign.HEIGHT, foreign.WIDTH, seed=9)
        got = answers(bundle, images)
        session = ort.InferenceSession(str(path), providers=['CPUExecutionProvider'])
        for i, image in enumerate(images):
            tensor = (image.astype(np.float32) / 255).transpose(2, 0, 1)[None]
            boxes, scores, scene = session.run(None, {'images': tensor})
            np.testing.assert_array_equal(got['semantic_scene'][i], scene[0].argmax(0))
            best = int(scores[0].max(1).argmax())
            np.testing.assert_allclose(got['boxes'][i, 0], boxes[0, best], atol=1e-4)
            assert got['scores'][i, 0] == pytest.approx(scores[0].max(), abs=1e-5)
            assert got['labels'][i, 0] == scores[0, best].argmax()

    def test_dynamic_batch_and_new_opset_pass_through(self, tmp_path: Path) -> None:
        path = foreign.two_heads(tmp_path / 'net.onnx', batch='N', opset=20)
        bundle = import_model(path, tmp_path / 'net', family='decoded')
        assert opset_of(onnx.load(str(bundle.graph_path))) == 20
        assert set(bundle.manifest.semantic) == {'scene'}, 'outputs that are left become heads'

    def test_old_opset_is_raised(self, tmp_path: Path) -> None:
        path = foreign.two_heads(tmp_path / 'net.onnx', opset=11)
        bundle = import_model(path, tmp_path / 'net', family='decoded')
        assert opset_of(onnx.load(str(bundle.graph_path))) == LEAST_OPSET

    def test_half_precision_is_stated(self, tmp_path: Path) -> None:
        path = foreign.two_heads(tmp_path / 'net.onnx', dtype=TensorProto.FLOAT16, opset=13)
        loose = Tolerance(score=0.01, box_px=0.2, boxes=0.2, cells=0.1, raw=0.01)
        options = ImportOptions(tolerance=loose)
        bundle = import_model(path, tmp_path / 'net', family='decoded', options=options)
        assert bundle.manifest.precision == 'fp16'
        assert answers(bundle, np.zeros((2, 16, 32, 3), np.uint8))['boxes'].dtype == np.float32

    def test_open_size_needs_one(self, tmp_path: Path) -> None:
        path = foreign.two_heads(tmp_path / 'net.onnx', size=('h', 'w'))
        with pytest.raises(ImportModelError, match=r'fixed input height and width, got \[1, 3, h'):
            import_model(path, tmp_path / 'net', family='decoded')
        options = ImportOptions(input_size=(foreign.WIDTH, foreign.HEIGHT))
        bundle = import_model(path, tmp_path / 'net', family='decoded', options=options)
        assert (bundle.manifest.input.width, bundle.manifest.input.height) == (32, 16)

    def test_uint8_is_nowhere_inside(self, tmp_path: Path) -> None:
        """TensorRT takes UINT8 as a network's input and output only: no node may lie between."""
        path = foreign.two_heads(tmp_path / 'net.onnx')
        bundle = import_model(path, tmp_path / 'net', family='decoded')
        model = onnx.shape_inference.infer_shapes(onnx.load(str(bundle.graph_path)))
        inner = [value.name for value in model.graph.value_info
                 if value.type.tensor_type.elem_type == TensorProto.UINT8]
        assert inner == []
        readers = [node.op_type for node in model.graph.node if 'images' in node.input]
        assert readers == ['Cast']
        used = {name for node in model.graph.node for name in node.input}
        assert not used & {output.name for output in model.graph.output}

    def test_is_reproducible(self, tmp_path: Path) -> None:
        path = foreign.two_heads(tmp_path / 'net.onnx')
        sums = {
            import_model(path, tmp_path / name, family='decoded').manifest.graph.sha256
            for name in ('one', 'two')
        }
        assert len(sums) == 1

    def test_notes_of_the_exporter_do_not_come_along(self, tmp_path: Path) -> None:
        path = foreign.two_heads(tmp_path / 'net.onnx')
        model = onnx.load(str(path))
        model.graph.node[0].doc_string = 'File "/home/somebody/train.py", line 3'
        onnx.save(model, str(path))
        bundle = import_model(path, tmp_path / 'net', family='decoded')
        assert b'somebody' not in bundle.graph_path.read_bytes()


class TestSemantic:

    def test_outputs_with_wild_names_become_heads(self, tmp_path: Path) -> None:
        path = foreign.segmenter(tmp_path / 'net.onnx')
        model = onnx.load(str(path))
        model.graph.output[0].name = model.graph.node[-1].output[0] = '/Dec-oder/2'
        onnx.save(model, str(path))
        bundle = import_model(path, tmp_path / 'net', family='semantic')
        assert set(bundle.manifest.semantic) == {'dec_oder_2'}

    @pytest.mark.parametrize('pixels', [
        pytest.param(PixelFormat(), id='0..1'),
        pytest.param(
            PixelFormat('bgr', 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), id='ImageNet'),
        pytest.param(PixelFormat('bgr', 1), id='0..255'),
    ])
    def test_sees_what_it_was_trained_on(self, tmp_path: Path, pixels: PixelFormat) -> None:
        path = foreign.segmenter(tmp_path / 'net.onnx')
        options = ImportOptions(pixels=pixels)
        bundle = import_model(path, tmp_path / 'net', family='semantic', options=options)
        images = synthetic_images(3, foreign.HEIGHT, foreign.WIDTH, seed=5)
        got = answers(bundle, images)['semantic_logits']
        session = ort.InferenceSession(str(path), providers=['CPUExecutionProvider'])
        for i, image in enumerate(images):
            tensor = image[..., ::-1] if pixels.order == 'bgr' else image
            tensor = (tensor / pixels.divisor - pixels.mean) / pixels.std
            tensor = np.ascontiguousarray(tensor.transpose(2, 0, 1)[None], np.float32)
            (logits,) = session.run(None, {'images': tensor})
            assert (got[i] != logits[0].argmax(0)).mean() < 0.01

    def test_letterbox_is_written_down(self, tmp_path: Path) -> None:
        fit = LetterboxInfo(anchor='top_left', pad_value=0)
        bundle = import_model(
            foreign.segmenter(tmp_path / 'net.onnx'), tmp_path / 'net', family='semantic',
            options=ImportOptions(letterbox=fit), images=[Image.from_array(picture(50, 40))],
        )
        assert Bundle.load(bundle.path).manifest.input.letterbox == fit
        assert 'on 1 given image:' in bundle.card_path.read_text()


@pytest.mark.parametrize(('options', 'says'), [
    pytest.param({'classes': ('a', 'b')}, 'classes of the boxes: expected 3 class names',
                 id='too few box labels'),
    pytest.param({'heads': {'scene': HeadOptions('scene', ('a',))}},
                 "head 'scene': expected 5 class names", id='too few head labels'),
    pytest.param({'heads': {'scene': HeadOptions('secne')}},
                 "expected an output 'secne' (logits [B, C, h, w] of head 'scene'), got boxes",
                 id='head on an unknown output'),
    pytest.param({'heads': {'scene': HeadOptions('boxes')}},
                 "output 'boxes': expected logits", id='head on boxes'),
    pytest.param({'heads': {'Scene 1': HeadOptions('scene')}}, 'semantic.Scene 1', id='head name'),
    pytest.param({'heads': {'scene': HeadOptions('scene', stride=5)}},
                 'a stride that divides 32x16', id='stride'),
    pytest.param({'boxes_output': 'scores'}, "expected 'scores' [B, A, 4]",
                 id='boxes of three numbers'),
    pytest.param({'scores_output': 'nothing'}, "expected an output 'nothing'", id='no scores'),
    pytest.param({'input_size': (64, 64)}, 'input size is fixed to 32x16, got 64x64',
                 id='another size'),
    pytest.param({'name': 'a b'}, 'name: expected pattern', id='bundle name'),
    pytest.param({'score_threshold': 3.0}, 'score_threshold', id='threshold'),
])
def test_options_that_do_not_fit(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    path = foreign.two_heads(tmp_path / 'net.onnx')
    with pytest.raises(ImportModelError) as caught:
        import_model(
            path, tmp_path / 'out' / 'net', family='decoded', options=ImportOptions(**options))
    assert says in str(caught.value)
    assert not (tmp_path / 'out').exists(), 'nothing is written'


@pytest.mark.parametrize(('family', 'says'), [
    pytest.param('yolox', 'is this the right family?', id='yolox'),
    pytest.param('semantic', "output 'boxes': expected logits", id='semantic'),
    pytest.param('yolov99', "expected 'auto' or one of ['decoded', 'detr'",
                 id='unknown'),
])
def test_wrong_family(tmp_path: Path, family: str, says: str) -> None:
    path = foreign.two_heads(tmp_path / 'net.onnx')
    with pytest.raises(ImportModelError) as caught:
        import_model(path, tmp_path / 'net', family=family)
    assert says in str(caught.value)


class TestFiles:

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ImportModelError, match='expected a readable ONNX file'):
            import_model(tmp_path / 'none.onnx', tmp_path / 'net', family='decoded')

    @pytest.mark.parametrize('share', [0.0, 0.1, 0.5, 0.9, 0.99])
    def test_cut_off(self, tmp_path: Path, share: float) -> None:
        path = foreign.two_heads(tmp_path / 'net.onnx')
        payload = path.read_bytes()
        path.write_bytes(payload[: int(len(payload) * share)])
        with pytest.raises(ImportModelError, match='net.onnx: (expected an|not a complete) ONNX'):
            import_model(path, tmp_path / 'net', family='decoded')

    def test_not_onnx(self, tmp_path: Path) -> None:
        path = tmp_path / 'net.onnx'
        path.write_text('<html>404</html>')
        with pytest.raises(ImportModelError, match='expected an ONNX graph, got 16 bytes'):
            import_model(path, tmp_path / 'net', family='decoded')

    @pytest.mark.parametrize('path', ['/dev/zero', '.'])
    def test_no_file(self, tmp_path: Path, path: str) -> None:
        with pytest.raises(ImportModelError, match='expected an ONNX file, got something that is'):
            import_model(Path(path), tmp_path / 'net')

    def test_nobody_waits_for_a_proof_that_cannot_be_written(self, tmp_path: Path) -> None:
        path = foreign.segmenter(tmp_path / 'net.onnx')
        (tmp_path / 'file').touch()
        told: list[str] = []
        with pytest.raises(BundleError, match='expected to write a bundle there'):
            import_model(path, tmp_path / 'file' / 'net', announce=told.append)
        assert told == []

    def test_two_inputs(self, tmp_path: Path) -> None:
        path = foreign.two_heads(tmp_path / 'net.onnx')
        model = onnx.load(str(path))
        model.graph.input.append(helper.make_tensor_value_info('size', TensorProto.INT64, [2]))
        onnx.save(model, str(path))
        with pytest.raises(ImportModelError, match=r"expected one input.*\['images', 'size'\]"):
            import_model(path, tmp_path / 'net', family='decoded')

    def test_batch_of_four(self, tmp_path: Path) -> None:
        path = foreign.write(
            tmp_path / 'net.onnx',
            [helper.make_node('Conv', ['images', 'w'], ['y'], kernel_shape=[1, 1])],
            {'y': [4, 2, 16, 32]}, {'w': np.ones((2, 3, 1, 1), np.float32)}, batch=4,
        )
        with pytest.raises(ImportModelError, match='a batch of 1 or a dynamic one, got 4'):
            import_model(path, tmp_path / 'net', family='semantic')

    def test_grey_input(self, tmp_path: Path) -> None:
        model = onnx.load(str(foreign.segmenter(tmp_path / 'net.onnx')))
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
        onnx.save(model, str(tmp_path / 'net.onnx'))
        with pytest.raises(ImportModelError, match='expected the input to be float'):
            import_model(tmp_path / 'net.onnx', tmp_path / 'net', family='semantic')

    def test_target_is_taken(self, tmp_path: Path) -> None:
        path = foreign.segmenter(tmp_path / 'net.onnx')
        import_model(path, tmp_path / 'net', family='semantic')
        with pytest.raises(BundleError, match='a bundle is there already'):
            import_model(path, tmp_path / 'net', family='semantic')


def test_answers_that_depend_on_neighbours_are_refused(tmp_path: Path) -> None:
    """The proof must fail where a dynamic batch is asked for and cannot be had."""
    path = foreign.batch_mixer(tmp_path / 'net.onnx')
    reports: list[Proof] = []
    with pytest.raises(ImportModelError, match='does not answer as the original does.*batch 2'):
        import_model(path, tmp_path / 'net', family='semantic', report=reports.append,
                     options=ImportOptions(batch='dynamic'))
    assert [row.ok for row in reports[0].rows if row.batch == 1] == [True]
    assert not (tmp_path / 'net').exists()


def test_a_proof_of_nothing_says_so(tmp_path: Path) -> None:
    path = foreign.two_heads(tmp_path / 'net.onnx')
    model = onnx.load(str(path))
    (weights,) = [item for item in model.graph.initializer if item.name == 'w_score']
    bias = helper.make_tensor('bias', TensorProto.FLOAT, [weights.dims[0]],
                              [-50.0] * weights.dims[0])
    model.graph.initializer.append(bias)
    for node in model.graph.node:
        if 'w_score' in node.input:
            node.input.append('bias')
    onnx.save(model, str(path))
    told: list[str] = []
    bundle = import_model(path, tmp_path / 'net', family='decoded', announce=told.append)
    assert 'no box could be compared: give images' in told[-1]
    assert 'no box could be compared' in bundle.card_path.read_text()


def test_a_batch_that_fails_only_on_pictures_is_looped(tmp_path: Path) -> None:
    """Noise images all have the same mean; pictures have their own, and the first one's counts."""
    mean = helper.make_node('ReduceMean', ['images'], ['mean'], axes=[1, 2, 3], keepdims=1)
    nodes = [
        mean,
        helper.make_node('Slice', ['mean', 'zero', 'one', 'zero'], ['first']),
        helper.make_node('Conv', ['images', 'w'], ['maps'], kernel_shape=[1, 1]),
        helper.make_node('Sub', ['first', 'half'], ['shift']),
        helper.make_node('Mul', ['shift', 'gain'], ['shifts']),
        helper.make_node('Add', ['maps', 'shifts'], ['logits']),
    ]
    rng = np.random.default_rng(0)
    constants = {
        'w': rng.normal(0, 100, (3, 3, 1, 1)).astype(np.float32),
        'half': np.full(1, 0.5, np.float32),
        'gain': np.array([0, 9, -9], np.float32).reshape(1, 3, 1, 1),
        'zero': np.array([0], np.int64), 'one': np.array([1], np.int64),
    }
    path = foreign.write(tmp_path / 'net.onnx', nodes, {'logits': [1, 3, 16, 32]}, constants,
                         opset=13)
    shades = [np.full((16, 32, 3), shade, np.uint8) for shade in (10, 120, 250, 60, 200)]
    images = [Image.from_array(shade + picture(32, 16) // 20) for shade in shades]
    told: list[str] = []
    import_model(path, tmp_path / 'net', images=images, announce=told.append)
    assert 'several images at once get other answers than one' in told[-1]
