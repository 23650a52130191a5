"""A mistyped setting stops the run instead of being ignored."""

from pathlib import Path

import pytest
import yaml

from perception_ros.core.errors import ConfigError
from perception_training.config import Config, load, printed
from perception_training.config.compose import composed

CONFIGS = sorted((Path(__file__).resolve().parents[2] / 'configs').glob('*.yaml'))
ROADSCENE = next(path for path in CONFIGS if path.stem == 'roadscene')


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_example_is_valid_and_comes_back_from_its_print(path: Path) -> None:
    """What is printed at the start must be the run, to the last default."""
    config = load(path)
    assert Config.model_validate(yaml.safe_load(printed(config))) == config


def test_overrides_reach_nested_keys_and_entries_of_lists() -> None:
    config = load(ROADSCENE, ['fit.steps=12', 'model.start=null', 'data.train.1.share=9',
                              'fit.start.freeze=[trunk.*]'])
    assert config.fit.steps == 12
    assert config.model.start is None
    assert config.data.train[1].share == 9
    assert config.fit.start.freeze == ('trunk.*',)


@pytest.mark.parametrize(('override', 'said'), [
    pytest.param('fit.step=12', "unknown key 'step': did you mean 'steps'", id='mistyped'),
    pytest.param('learning_rate=1', "unknown key 'learning_rate'", id='unknown'),
    pytest.param('fit.steps=many', "fit.steps: .* got 'many'", id='no-number'),
    pytest.param('fit.steps', 'key=value', id='no-value'),
    pytest.param('data.train.7.share=1', 'number of an entry', id='no-such-entry'),
    pytest.param('width.x=1', 'name of a setting', id='a-number-has-no-parts'),
    pytest.param('model.name=yolov99', "expected.*got|Input tag 'yolov99'", id='no-such-model'),
    pytest.param('loss.heads={szene: 1}', r"expected some of.*'scene'.*got \['szene'\]",
                 id='no-such-head'),
    pytest.param('fit.start.thaw=5', 'start.freeze', id='thaws-nothing'),
    pytest.param('loss.semantic.scene={cross_entropy: 0}', 'expected a weight above 0',
                 id='costs-nothing'),
    pytest.param('loss.semantic.scene={cross_entropy: 0, dice: 1, none_of: [road]}',
                 'none_of: expected cross_entropy', id='part-of-nothing'),
])
def test_what_cannot_be_meant_is_refused(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(ROADSCENE, [override])


@pytest.mark.parametrize('text', ['[1, 2]', 'a: [', ''])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / 'bad.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match='bad.yaml'):
        load(path)


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write files and give the first one."""
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder / next(iter(files))


def test_a_file_stands_on_those_that_it_extends(tmp_path: Path) -> None:
    """Later files win over earlier ones, the file over all; a list is never half of two."""
    path = write(tmp_path, {
        'run.yaml': 'extends: [data/set.yaml, net.yaml]\nfit: {steps: 3}\n',
        'data/set.yaml': 'extends: common.yaml\nval: [c]\nfit: {batch: 1}\n',
        'data/common.yaml': 'width: 64\nval: [a, b]\nfit: {batch: 9, ema: 0.5}\n',
        'net.yaml': 'width: 96\nfit: {batch: 2, steps: 1}\n'})
    assert composed(path) == {
        'width': 96, 'val': ['c'], 'fit': {'batch': 2, 'ema': 0.5, 'steps': 3}}


def test_two_files_may_extend_the_same_one(tmp_path: Path) -> None:
    path = write(tmp_path, {'a.yaml': 'extends: [b.yaml, c.yaml]', 'b.yaml': 'extends: d.yaml',
                            'c.yaml': 'extends: d.yaml', 'd.yaml': 'seed: 4'})
    assert composed(path) == {'seed': 4}


@pytest.mark.parametrize(('files', 'said'), [
    pytest.param({'a.yaml': 'extends: b.yaml', 'b.yaml': 'extends: ../{folder}/a.yaml'},
                 r'do not extend themselves, got .*a.yaml -> .*b.yaml -> .*a.yaml', id='cycle'),
    pytest.param({'a.yaml': 'extends: b.yaml'}, r'b.yaml \(extended by .*a.yaml\): .*readable',
                 id='missing'),
    pytest.param({'a.yaml': 'extends: b.yaml', 'b.yaml': '[1'},
                 r'b.yaml \(extended by .*a.yaml\) is not valid YAML', id='no-yaml'),
    pytest.param({'a.yaml': 'extends: {b: 1}'}, r'a.yaml: extends: expected a file name',
                 id='no-name'),
])
def test_a_file_that_cannot_be_extended_is_named(
    tmp_path: Path, files: dict[str, str], said: str
) -> None:
    path = write(tmp_path, {n: t.replace('{folder}', tmp_path.name) for n, t in files.items()})
    with pytest.raises(ConfigError, match=said):
        composed(path)
