"""Which backend is taken, and what is said about the others."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from perception_ros.backends import Backend, BACKENDS, EngineOptions, open_engine
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.config import ModelConfig, PerceptionConfig
from perception_ros.core.errors import BackendError
from test.builders import write_real_bundle

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_real_bundle(tmp_path_factory.mktemp('bundles') / 'means')


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, 'perception_ros')
    return caplog


def backend_of(bundle: Bundle) -> str:
    with open_engine(bundle) as engine:
        return engine.info.backend.split()[0]


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the runtimes of some backends not be installed."""
    for name in names:
        absent = Backend(f'no_such_runtime_{name}', f'pip install {name}')
        monkeypatch.setitem(BACKENDS, name, absent)


def test_auto_takes_the_first(bundle: Bundle, log: pytest.LogCaptureFixture) -> None:
    assert backend_of(bundle) == 'onnxruntime'
    assert 'backend auto: onnxruntime; not tried: openvino' in log.messages


def test_auto_says_why_the_better_ones_do_not_work(
    bundle: Bundle, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, 'onnxruntime')
    assert backend_of(bundle) == 'openvino'
    [why] = [record for record in log.records if 'not onnxruntime' in record.getMessage()]
    assert 'pip install onnxruntime' in why.getMessage()
    assert why.levelno == logging.INFO, 'what nobody has installed is as intended'
    assert 'backend auto: openvino' in log.messages


def test_auto_warns_of_what_is_there_and_does_not_work(
    bundle: Bundle,
    log: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / 'broken_runtime.py').write_text("raise ImportError('libnothing.so.10: no file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(BACKENDS, 'onnxruntime', Backend('broken_runtime', 'install it anew'))
    assert backend_of(bundle) == 'openvino'
    [why] = [record for record in log.records if record.levelno >= logging.WARNING]
    assert 'not onnxruntime' in why.getMessage() and 'libnothing' in why.getMessage()


def test_auto_takes_who_has_the_device(bundle: Bundle) -> None:
    with pytest.raises(BackendError, match=r'none works here.*onnxruntime: .*openvino: .*tpu'):
        open_engine(bundle, options=EngineOptions(device='tpu'))


def test_auto_never_pretends(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake engine sees nothing that is there: no engine at all is the better answer."""
    without(monkeypatch, *(name for name, backend in BACKENDS.items() if backend.auto))
    with pytest.raises(BackendError, match='backend auto: none works here'):
        open_engine(bundle)


def test_a_runtime_that_is_not_installed_is_named_with_the_command_that_mends_it(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, 'openvino')
    with pytest.raises(BackendError, match='openvino does not work here: .*; pip install openvi'):
        open_engine(bundle, 'openvino')


def test_a_backend_that_does_not_exist_is_refused_with_the_choices(bundle: Bundle) -> None:
    with pytest.raises(BackendError, match='expected auto, tensorrt, .*, .* or fake'):
        open_engine(bundle, 'tensorflow')


@pytest.mark.parametrize('name', ['auto', *BACKENDS])
def test_every_backend_is_named_where_people_choose(name: str) -> None:
    said = PerceptionConfig.model_fields['backend'].description
    assert said is not None and name in said
    launch = (ROOT / 'launch' / 'perception.launch.py').read_text(encoding='utf-8')
    assert name in launch
    for command in ('run', 'demo'):
        assert name in (ROOT / 'perception_ros' / 'cli' / f'{command}.py').read_text()


def test_the_engine_s_options_are_parameters_with_the_same_choices() -> None:
    for name, choices in (
        ('performance_hint', ('latency', 'throughput')),
        ('graph_optimization', ('disabled', 'basic', 'extended', 'all')),
    ):
        assert ModelConfig.model_fields[name].annotation.__args__ == choices  # type: ignore
