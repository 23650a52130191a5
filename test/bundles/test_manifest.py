"""`bundle.yaml`: what is refused, and whether the error helps to mend it."""

from __future__ import annotations

from dataclasses import fields
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from perception_ros.bundles.labels import class_infos, COCO
from perception_ros.bundles.manifest import LetterboxInfo, Manifest
from perception_ros.bundles.schema import json_schema
from perception_ros.core.errors import BundleError, ImportModelError
from perception_ros.core.letterbox import LetterboxPolicy
from test.builders import manifest

SCHEMA = Path(__file__).resolve().parents[2] / 'docs' / 'bundle.schema.json'


def values() -> dict[str, Any]:
    return manifest().model_dump(mode='json')


def refused(changed: dict[str, Any]) -> str:
    with pytest.raises(BundleError) as caught:
        Manifest.from_yaml(yaml.safe_dump(changed), 'here/bundle.yaml')
    message = str(caught.value)
    assert message.startswith('here/bundle.yaml'), 'the file is named'
    return message


def test_survives_writing_and_reading() -> None:
    written = manifest(
        detection={'classes': [{'name': 'Auto: größer', 'color': [1, 2, 3]}], 'max_detections': 5,
                   'nms_iou': 0.6, 'masks': {'height': 28, 'width': 28}},
        provenance={'source': 'x', 'data': 'y', 'seed': 0, 'metrics': {'mIoU': 0.5, 'n': [1]}},
    )
    assert Manifest.from_yaml(written.to_yaml()) == written


def test_is_frozen() -> None:
    with pytest.raises(Exception, match='frozen'):
        manifest().name = 'other'  # type: ignore[misc]


@pytest.mark.parametrize(('path', 'value', 'says'), [
    pytest.param(('input', 'widht'), 5, "input: unknown key 'widht': did you mean 'width'?",
                 id='misspelt key'),
    pytest.param(('zzz',), 5, "unknown key 'zzz': expected some of ['schema_version', 'name'",
                 id='unknown key'),
    pytest.param(('detection', 'classes', 1, 'colour'), 5,
                 "detection.classes.1: unknown key 'colour': did you mean 'color'?",
                 id='unknown key deep inside'),
    pytest.param(('schema_version',), 2, 'schema_version: expected 1, got 2', id='newer schema'),
    pytest.param(('input', 'width'), 0, 'input.width: expected greater than or equal to 1, got 0',
                 id='empty input'),
    pytest.param(('input', 'width'), 'wide', 'input.width: expected a valid integer', id='a word'),
    pytest.param(('input', 'letterbox', 'anchor'), 'left',
                 "input.letterbox.anchor: expected 'center' or 'top_left', got 'left'",
                 id='unknown anchor'),
    pytest.param(('detection', 'classes', 0, 'color'), [0, 0, 256], 'detection.classes.0.color.2',
                 id='colour beyond a byte'),
    pytest.param(('detection', 'classes'), [], 'detection.classes', id='no classes'),
    pytest.param(('detection', 'classes', 1, 'name'), 'red', "got 'red' twice", id='equal names'),
    pytest.param(('detection', 'max_detections'), 4000, 'less than or equal to 3840',
                 id='more boxes than TensorRT sorts'),
    pytest.param(('detection', 'nms_iou'), 0, 'detection.nms_iou', id='NMS of nothing'),
    pytest.param(('semantic', 'ground', 'stride'), 7,
                 'semantic.ground.stride: expected a divisor of input.width 96, got 7',
                 id='stride that does not fit'),
    pytest.param(('semantic', 'Not A Topic'), {}, 'semantic.Not A Topic', id='head name'),
    pytest.param(('precision',), 'fp8', "precision: expected 'fp32', 'fp16' or 'int8', got 'fp8'",
                 id='precision'),
    pytest.param(('graph', 'sha256'), 'abc', 'graph.sha256', id='short checksum'),
    pytest.param(('graph', 'file'), '../model.onnx', 'graph.file', id='graph outside the folder'),
    pytest.param(('graph', 'file'), 'model.pkl', 'graph.file', id='a pickle'),
    pytest.param(('licence', 'weights'), None,
                 'licence.weights: expected a valid string, got None', id='no licence'),
])
def test_refuses(path: tuple[Any, ...], value: Any, says: str) -> None:
    changed = values()
    node = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    assert says in refused(changed)


@pytest.mark.parametrize('key', ['name', 'input', 'graph', 'provenance', 'licence'])
def test_says_what_is_missing(key: str) -> None:
    changed = values()
    del changed[key]
    assert f'{key}: expected this key, got none; add it' in refused(changed)


def test_needs_a_task() -> None:
    assert 'got neither' in refused(values() | {'detection': None, 'semantic': {}})


@pytest.mark.parametrize(('text', 'says'), [
    pytest.param('name: [', 'not valid YAML', id='broken YAML'),
    pytest.param('', 'the document', id='empty file'),
    pytest.param('- a', 'the document', id='a list'),
    pytest.param('name: a\nname: b', "key 'name' comes twice", id='a key twice'),
    pytest.param('!!python/object/apply:os.getcwd []', 'not valid YAML', id='a pickle in YAML'),
])
def test_refuses_text(text: str, says: str) -> None:
    with pytest.raises(BundleError, match=says):
        Manifest.from_yaml(text)


def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / 'bundle.yaml'
    path.write_bytes(b'\xff\xfe\x00')
    with pytest.raises(BundleError, match='UTF-8'):
        Manifest.read(path)


def test_letterbox_is_the_core_s() -> None:
    """Two declarations of one thing, because core knows no pydantic: they must not part."""
    assert set(LetterboxInfo.model_fields) == {field.name for field in fields(LetterboxPolicy)}
    assert LetterboxInfo().policy == LetterboxPolicy()
    info = LetterboxInfo(anchor='top_left', pad_value=3, upscale=False, rounding='down')
    assert info.policy == LetterboxPolicy('top_left', 3, False, 'down')


def test_published_schema_is_in_step() -> None:
    published = json.loads(SCHEMA.read_text(encoding='utf-8'))
    assert published == json_schema(), (
        'docs/bundle.schema.json is out of date: '
        'python -m perception_ros.bundles.schema > docs/bundle.schema.json'
    )


def test_the_documented_example_is_valid() -> None:
    text = SCHEMA.with_name('bundles.md').read_text(encoding='utf-8')
    example = text.partition('```yaml\n')[2].partition('```')[0]
    values = yaml.safe_load(example)
    assert set(values) == set(Manifest.model_fields), 'every key is shown'
    values['graph']['sha256'] = '0' * 64
    Manifest.model_validate(values)


def test_tasks_are_named() -> None:
    assert manifest().tasks == ('detection', 'semantic:ground')


class TestClassInfos:

    def test_coco_has_eighty_names(self) -> None:
        assert len(set(COCO)) == 80
        assert (COCO[0], COCO[2], COCO[79]) == ('person', 'car', 'toothbrush')

    def test_eighty_unnamed_classes_are_coco(self) -> None:
        assert [item.name for item in class_infos(None, 80, 'boxes')] == list(COCO)

    def test_other_counts_are_numbered(self) -> None:
        assert [item.name for item in class_infos(None, 2, 'boxes')] == ['class_0', 'class_1']

    def test_wrong_length(self) -> None:
        with pytest.raises(ImportModelError, match='head .lane.: expected 2 class names.*got 3'):
            class_infos(('a', 'b', 'c'), 2, "head 'lane'")

    def test_colours_differ(self) -> None:
        colors = [item.color for item in class_infos(None, 80, 'boxes')]
        assert len(set(colors)) >= 75


@pytest.mark.parametrize(('text', 'says'), [
    pytest.param('a: &x [1]\nb: *x\n', r'alias \*x: expected the value itself', id='alias'),
    pytest.param('a: &a [l]\nb: &b [*a,*a,*a]\nc: [*b,*b,*b]\n', 'alias', id='alias bomb'),
    pytest.param('!!map foo', 'is not valid YAML', id='a map that is a word'),
    pytest.param('x: !!timestamp foo', 'is not valid YAML', id='a date that is a word'),
    pytest.param('x: !!int foo', 'is not valid YAML', id='a number that is a word'),
    pytest.param('x: !!python/object:os.system {}', 'is not valid YAML', id='code'),
    pytest.param('? [a, b]\n: c', 'is not valid YAML', id='a list for a key'),
    pytest.param('[' * 50000, 'nested too deeply', id='deep'),
    pytest.param('a: ' + '[' * 3000 + ']' * 3000, 'nested too deeply', id='deep and whole'),
    pytest.param('name: ' + 'x y' * 1000, r'\.\.\.', id='a long value is not repeated'),
    pytest.param('2026-11-22: x', "unknown key '2026-11-22'", id='a date for a key'),
])
def test_hostile_yaml_is_refused_in_one_sentence(text: str, says: str) -> None:
    with pytest.raises(BundleError, match=says) as caught:
        Manifest.from_yaml(text, 'here/bundle.yaml')
    assert len(str(caught.value)) < 2000


def test_dates_are_text() -> None:
    text = manifest().to_yaml().replace('metrics: {}', 'metrics: {trained: 2026-11-22}')
    assert Manifest.from_yaml(text).provenance.metrics == {'trained': '2026-11-22'}


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / 'bundle.yaml'
    path.write_text('#' * (2**20 + 1))
    with pytest.raises(BundleError, match='it holds 1048577 bytes, and 1048576 are the most'):
        Manifest.read(path)
