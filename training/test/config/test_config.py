"""A mistyped setting stops the run instead of being ignored."""

from pathlib import Path

import pytest
import yaml

from perception_ros.core.errors import ConfigError
from perception_training.config import Config, load, printed

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
