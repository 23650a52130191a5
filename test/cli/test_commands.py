"""The commands as people call them: exit status, stdout, stderr and files."""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest

from perception_ros import __version__
from perception_ros.bundles import Bundle
from perception_ros.cli import run as run_module
from perception_ros.cli.main import COMMANDS, main
from perception_ros.core.errors import ConfigError
from test.builders import huge_bmp, picture, write_real_bundle
from test.bundles import foreign, zoo
from test.bundles.shared import shared, yolox
from test.bundles.test_yolox import cropped
from test.bundles.yolox_recipe import YoloxRecipe

CAPTURE = pytest.CaptureFixture[str]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_real_bundle(tmp_path / 'means')


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Three sizes, three formats."""
    paths = [tmp_path / name for name in ('red.png', 'green.jpg', 'blue.bmp')]
    for path, colour, size in zip(
        paths, ('red', 'green', 'blue'), ((96, 64), (200, 90), (141, 77)), strict=True
    ):
        rgb = picture(*size, **{colour: (0, 0, *size)})
        assert cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return paths


def call(*arguments: Any) -> int:
    """Run a command in this process and return its exit status."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


class TestMain:

    def test_help_lists_every_command_without_importing_any(self) -> None:
        """In a fresh interpreter: what takes long to import must not be imported for help."""
        code = (
            'import sys\n'
            'from perception_ros.cli.main import main\n'
            'try:\n'
            '    main(["--help"])\n'
            'except SystemExit as done:\n'
            '    assert not done.code\n'
            'for name in ("cv2", "onnx", "onnxruntime", "numpy", "pydantic", "rclpy"):\n'
            '    assert name not in sys.modules, name\n'
        )
        done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for name in COMMANDS:
            assert f' {name} ' in done.stdout

    @pytest.mark.parametrize('name', COMMANDS)
    def test_every_command_has_help(self, name: str, capsys: CAPTURE) -> None:
        assert call(name, '--help') == 0
        assert f'perception_ros {name}' in capsys.readouterr().out

    def test_version(self, capsys: CAPTURE) -> None:
        assert call('--version') == 0
        assert capsys.readouterr().out == f'{__version__}\n'

    def test_unknown_command(self, capsys: CAPTURE) -> None:
        assert call('runn') == 2
        assert 'runn' in capsys.readouterr().err


class TestInspect:

    def test_says_what_it_is(self, bundle: Bundle, capsys: CAPTURE) -> None:
        assert call('inspect', bundle.path) == 0
        out = capsys.readouterr().out
        for words in ('images: uint8 [B, 64, 96, 3]', 'boxes: float32 [B, 8, 4]',
                      'semantic:ground', 'Apache-2.0', 'green'):
            assert words in out

    def test_json(self, bundle: Bundle, capsys: CAPTURE) -> None:
        assert call('inspect', bundle.path, '--json') == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts['manifest'] == bundle.manifest.model_dump(mode='json')
        assert facts['tasks'] == ['detection', 'semantic:ground']
        assert facts['graph']['outputs']['labels'] == 'int32 [B, 8]'

    def test_damage_is_one_line_on_stderr(self, bundle: Bundle, capsys: CAPTURE) -> None:
        bundle.graph_path.write_bytes(bundle.graph_path.read_bytes() + b'x')
        assert call('inspect', bundle.path) == 1
        out, err = capsys.readouterr()
        assert out == ''
        assert err.startswith('error: ') and err.count('\n') == 1
        assert 'expected SHA-256' in err


class TestRun:

    def test_json_is_what_is_promised(
        self, bundle: Bundle, images: list[Path], tmp_path: Path
    ) -> None:
        out = tmp_path / 'new folder' / 'answers.json'
        assert call('run', bundle.path, *images, '--json', out) == 0
        answers = json.loads(out.read_text())
        assert list(answers) == ['images']
        for path, size, entry in zip(
            images, ((96, 64), (200, 90), (141, 77)), answers['images'], strict=True
        ):
            assert (entry['image'], entry['width'], entry['height']) == (str(path), *size)
            assert set(entry) == {'image', 'width', 'height', 'detections', 'semantic'}
            best = entry['detections'][0]
            assert set(best) == {'class_id', 'score', 'box'}
            assert best['class_id'] == path.stem
            x1, y1, x2, y2 = best['box']
            assert 0 <= x1 < x2 <= size[0] and 0 <= y1 < y2 <= size[1]
            # A picture that the letterbox pads is grey there; all of its own is of its colour.
            assert entry['semantic']['ground'][path.stem] > 0.95

    def test_without_semantic_heads_there_is_no_such_key(self, tmp_path: Path) -> None:
        net = foreign.two_heads(tmp_path / 'net.onnx')
        model = tmp_path / 'net'
        assert call('import', net, '--family', 'decoded', '--output', model,
                    '--head', 'scene=scene') == 0
        cv2.imwrite(str(tmp_path / 'a.png'), picture())
        assert call('run', model, tmp_path / 'a.png', '--json', tmp_path / 'a.json') == 0
        entry = json.loads((tmp_path / 'a.json').read_text())['images'][0]
        assert set(entry['semantic']) == {'scene'}

    def test_json_to_stdout(self, bundle: Bundle, images: list[Path], capsys: CAPTURE) -> None:
        assert call('run', bundle.path, images[0], '--json', '-') == 0
        assert len(json.loads(capsys.readouterr().out)['images']) == 1

    def test_threshold(self, bundle: Bundle, images: list[Path], capsys: CAPTURE) -> None:
        counts = []
        for threshold in (0, 0.5, 1):
            call('run', bundle.path, images[0], '--json', '-', '--score-threshold', threshold)
            counts.append(len(json.loads(capsys.readouterr().out)['images'][0]['detections']))
        assert counts == [1, 1, 1]
        assert call('run', bundle.path, images[0], '--score-threshold', 2) == 2

    def test_overlay(self, bundle: Bundle, images: list[Path], tmp_path: Path) -> None:
        other = tmp_path / 'other'
        other.mkdir()
        (other / 'red.png').write_bytes(images[0].read_bytes())
        folder = tmp_path / 'drawn'
        assert call('run', bundle.path, *images, other / 'red.png', '--overlay', folder) == 0
        names = {path.name for path in folder.iterdir()}
        assert names == {'red.jpg', 'green.jpg', 'blue.jpg', 'red_2.jpg'}
        assert cv2.imread(str(folder / 'green.jpg')).shape == (90, 200, 3)

    def test_one_bad_image_among_many(
        self, bundle: Bundle, images: list[Path], tmp_path: Path, capsys: CAPTURE
    ) -> None:
        cut, empty, text = tmp_path / 'cut.jpg', tmp_path / 'empty.png', tmp_path / 'text.jpg'
        cut.write_bytes(images[1].read_bytes()[:-200])
        empty.touch()
        text.write_text('no picture')
        bad = [cut, empty, text, tmp_path / 'gone.jpg', tmp_path, huge_bmp(tmp_path)]
        assert call('run', bundle.path, images[0], *bad, images[1], '--json', tmp_path / 'j') == 1
        err = capsys.readouterr().err
        for path in bad:
            assert f'error: {path}: ' in err
        assert '6 of 8 images could not be read' in err
        assert 'Traceback' not in err
        done = json.loads((tmp_path / 'j').read_text())['images']
        assert [entry['image'] for entry in done] == [str(images[0]), str(images[1])]

    def test_a_picture_too_wide_for_jpeg_costs_the_others_nothing(
        self, bundle: Bundle, images: list[Path], tmp_path: Path, capsys: CAPTURE
    ) -> None:
        wide, folder = tmp_path / 'wide.png', tmp_path / 'drawn'
        assert cv2.imwrite(str(wide), np.zeros((4, 65_501, 3), np.uint8))
        arguments = [wide, images[0], '--overlay', folder, '--json', tmp_path / 'j']
        assert call('run', bundle.path, *arguments) == 1
        assert 'a JPEG has sides of at most 65500 px' in ' '.join(capsys.readouterr().err.split())
        assert [path.name for path in folder.iterdir()] == ['red.jpg']
        done = json.loads((tmp_path / 'j').read_text())['images']
        assert [entry['width'] for entry in done] == [65_501, 96], 'its answers are good'

    def test_bad_images_do_not_shift_the_names_of_overlays(
        self, bundle: Bundle, images: list[Path], tmp_path: Path
    ) -> None:
        folder = tmp_path / 'drawn'
        assert call('run', bundle.path, tmp_path / 'gone.jpg', images[0], '--overlay', folder) == 1
        assert [path.name for path in folder.iterdir()] == ['red.jpg']

    @pytest.mark.parametrize('arguments', [
        pytest.param(['nobody', 'x.png'], id='no such bundle'),
        pytest.param(['{bundle}', '{image}', '--backend', 'abacus'], id='no such backend'),
        pytest.param(['{bundle}', '{image}', '--json', '{image}/a.json'], id='file as folder'),
        pytest.param(['{bundle}', '{image}', '--overlay', '{image}'], id='overlay into a file'),
        pytest.param(['{bundle}', '{image}', '--json', '{bundle}'], id='JSON into a folder'),
    ])
    def test_refuses(
        self, arguments: list[str], bundle: Bundle, images: list[Path], capsys: CAPTURE
    ) -> None:
        given = [item.format(bundle=bundle.path, image=images[0]) for item in arguments]
        assert call('run', *given) == 1
        err = capsys.readouterr().err
        assert err.startswith('error: ') and err.count('\n') == 1

    @pytest.mark.slow
    def test_real_pictures_through_the_command(self, tmp_path: Path) -> None:
        """The whole way, file to file: boxes in the image's own pixels at another shape."""
        source = sorted(shared('idd', 'images').glob('*.jpg'))[100]
        bgr = cropped(cv2.imread(str(source)), 4 / 3)
        cv2.imwrite(str(tmp_path / 'crop.png'), bgr)
        arguments = [tmp_path / 'crop.png', '--json', tmp_path / 'j', '--score-threshold', 0.3]
        assert call('run', yolox().path, *arguments) == 0
        (entry,) = json.loads((tmp_path / 'j').read_text())['images']
        expected = YoloxRecipe(shared('models', 'yolox_nano.onnx'))(bgr, 0.3)
        assert [entry['width'], entry['height']] == [bgr.shape[1], bgr.shape[0]]
        assert len(entry['detections']) == len(expected.scores) > 0
        got = np.array([found['box'] for found in entry['detections']])
        np.testing.assert_allclose(got, expected.boxes, atol=0.5)


class TestImport:

    def test_prints_its_proof(self, tmp_path: Path, capsys: CAPTURE) -> None:
        net = foreign.two_heads(tmp_path / 'net.onnx')
        labels = tmp_path / 'names.txt'
        labels.write_text('car\nperson\n\nbus\n')
        cv2.imwrite(str(tmp_path / 'a.png'), picture())
        status = call(
            'import', net, '--family', 'decoded', '--output', tmp_path / 'engines' / 'net',
            '--labels', labels, '--head', 'ground=scene@2', '--labels', 'ground=a,b,c,d,e',
            '--anchor', 'top_left', '--pad', 0, '--mean', '0.1,0.2,0.3', '--nms-iou', 0,
            '--licence', 'MIT', '--verify', tmp_path / 'a.png',
        )
        assert status == 0
        out = capsys.readouterr().out
        assert 'on 1 given image' in out and 'same' in out and 'differs' not in out
        manifest = Bundle.load(tmp_path / 'engines' / 'net').manifest
        assert manifest.detection and manifest.detection.nms_iou is None
        assert [item.name for item in manifest.detection.classes] == ['car', 'person', 'bus']
        assert manifest.semantic['ground'].stride == 2
        assert manifest.input.letterbox.anchor == 'top_left'
        assert manifest.licence.weights == 'MIT'

    def test_says_what_it_recognised(self, tmp_path: Path, capsys: CAPTURE) -> None:
        net = zoo.yolov8(tmp_path / 'net.onnx', masks=True)
        assert call('import', net, '--output', tmp_path / 'out', '--max-detections', 20,
                    '--mask-cells', 16, '--pad', 0) == 0
        said = ' '.join(capsys.readouterr().out.split())
        assert 'recognised as yolov8:' in said and 'prototypes for masks' in said
        manifest = Bundle.load(tmp_path / 'out').manifest
        assert manifest.detection and manifest.detection.masks
        assert manifest.detection.masks.height == 16 and manifest.detection.nms_iou == 0.45
        assert manifest.detection.max_detections == 20
        assert manifest.input.letterbox.pad_value == 0

    @pytest.mark.parametrize(('flags', 'says'), [
        pytest.param(['--family', 'yolo'], "expected 'auto' or one of ['decoded'", id='family'),
        pytest.param(['--head', 'scene'], '--head: expected HEAD=OUTPUT', id='head'),
        pytest.param(['--labels', 'lane=a,b'], "names heads ['lane'] that no --head names",
                     id='labels of no head'),
        pytest.param(['--labels', 'a,b'], 'expected 3 class names', id='too few labels'),
        pytest.param(['--labels', 'gone.txt'], '--labels: expected a text file', id='label file'),
        pytest.param(['--batch', '4'], "--batch: expected 'auto', 'dynamic' or", id='batch'),
        pytest.param(['--strides', '0,8'], '--strides: expected whole numbers', id='strides'),
        pytest.param(['--strides', '8.9'], "such as 8,16,32, got '8.9'", id='strides of a part'),
        pytest.param(['--strides', 'nan'], '--strides: expected whole numbers', id='no strides'),
        pytest.param(['--labels', 'x' * 5000], 'expected 3 class names', id='a very long label'),
        pytest.param(['--labels', '~nobody/x'], 'expected 3 class names', id='nobody at home'),
        pytest.param(['--mean', '1,2'], '--mean: expected three numbers', id='mean'),
        pytest.param(['--std', 'a,b,c'], '--std: expected numbers', id='std'),
        pytest.param(['--order', 'grb'], "expected 'rgb' or 'bgr'", id='order'),
        pytest.param(['--anchor', 'left'], "expected 'center' or 'top_left'", id='anchor'),
        pytest.param(['--input-size', '5'], '--input-size: expected WIDTHxHEIGHT', id='size'),
        pytest.param(['--candidates', '9999'], 'expected 1 to 3840', id='candidates'),
        pytest.param(['--verify', 'gone.png'], '--verify: cannot read gone.png', id='verify'),
        pytest.param(['--licence', ''], 'weights:', id='licence'),
    ])
    def test_refuses(
        self, flags: list[str], says: str, tmp_path: Path, capsys: CAPTURE
    ) -> None:
        net = foreign.two_heads(tmp_path / 'net.onnx')
        family = [] if '--family' in flags else ['--family', 'decoded']
        assert call('import', net, *family, '--output', tmp_path / 'out', *flags) == 1
        err = capsys.readouterr().err
        assert says in err and err.count('\n') == 1
        assert not (tmp_path / 'out').exists()


def test_markup_in_names_is_printed_as_it_is(tmp_path: Path, capsys: CAPTURE) -> None:
    """Rich would take [bold] for an order, and fail on [/bold] that ends nothing."""
    net = foreign.two_heads(tmp_path / 'net.onnx')
    folder = tmp_path / '[bold]'
    assert call('import', net, '--family', 'decoded', '--output', folder / 'net',
                '--labels', '[red]a,[/b],c', '--name', 'plain') == 0
    assert '[bold]/net: detection' in capsys.readouterr().out
    assert call('inspect', folder / 'net') == 0
    assert '[/b]' in capsys.readouterr().out
    (folder / '[red]').mkdir()
    (folder / '[red]' / 'bundle.yaml').write_text('!!map foo')
    assert call('bundles', folder) == 1
    out = capsys.readouterr().out
    assert '[red]' in out and 'net' in out, 'one that is damaged hides no other'


def test_an_interrupted_command_leaves_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: CAPTURE
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr('perception_ros.cli.import_model.import_model', interrupted)
    assert call('import', tmp_path / 'net.onnx', '--output', tmp_path / 'out') == 130
    assert capsys.readouterr().err.count('\n') <= 2


def test_run_never_writes_over_what_it_reads(tmp_path: Path) -> None:
    """An annotated picture in place of the original cannot be taken back."""
    picture_path = tmp_path / 'x.jpg'
    picture_path.write_bytes(b'an image')
    for options in (['--overlay', str(tmp_path)], ['--json', str(picture_path)]):
        with pytest.raises(ConfigError, match='is one of the images'):
            run_module._spare_inputs(
                [picture_path],
                [tmp_path / 'x.jpg' if options[0] == '--overlay' else Path(options[1])],
            )
    assert picture_path.read_bytes() == b'an image'


def test_overlay_names_never_meet() -> None:
    paths = [Path(path) for path in ('a/x.jpg', 'b/x.jpg', 'x_2.jpg', 'x.png')]
    assert len(set(run_module._overlay_names(paths))) == 4
