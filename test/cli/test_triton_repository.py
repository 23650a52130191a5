"""`perception_ros triton-repository`: from the shell to a server that serves what it wrote."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from perception_ros.backends import EngineOptions, open_engine
from test.backends.triton.process import ServerProcess
from test.builders import write_real_bundle
from test.cli.test_commands import call, CAPTURE


def test_a_server_serves_what_it_wrote(tmp_path: Path, capsys: CAPTURE) -> None:
    bundles = [write_real_bundle(tmp_path / name, name=name) for name in ('one', 'two')]
    output = tmp_path / 'models'
    arguments = ['--output', output, '--max-batch', 3, '--device', 'cpu', '--instances', 2]
    assert call('triton-repository', *[bundle.path for bundle in bundles], *arguments) == 0
    assert capsys.readouterr().out == (
        f'wrote {output}: one, two; {output / "README.md"} says how to start the server\n'
    )
    with ServerProcess(output) as server:
        for bundle in bundles:
            options = EngineOptions(max_batch=3, device='cpu', server=server.address)
            with open_engine(bundle, 'triton', options) as engine:
                engine.warm_up()


def test_options_become_fields(tmp_path: Path) -> None:
    write_real_bundle(tmp_path / 'means')
    assert call(
        'triton-repository', tmp_path / 'means', '--output', tmp_path / 'models',
        '--preferred-batch', 2, '--preferred-batch', 4, '--queue-delay-us', 100,
        '--queue-timeout-ms', 50, '--priority-levels', 4, '--instances', 3,
    ) == 0
    text = (tmp_path / 'models' / 'means' / 'config.pbtxt').read_text(encoding='utf-8')
    config = text_format.Parse(text, ModelConfig())
    batching = config.dynamic_batching
    assert list(batching.preferred_batch_size) == [2, 4]
    assert batching.max_queue_delay_microseconds == 100
    assert batching.default_queue_policy.default_timeout_microseconds == 50_000
    assert batching.priority_levels == 4
    assert config.instance_group[0].count == 3


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--platform', 'tpu'], "error: platform 'tpu': expected one of onnxruntime"),
        (['--preferred-batch', '9'], 'error: preferred batch 9: expected 1..8'),
        (['--output', '/proc/models'], 'error: /proc/models: cannot be written; '),
    ],
    ids=['platform', 'preferred batch', 'folder that cannot be written'],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, capsys: CAPTURE, arguments: list[str], says: str
) -> None:
    bundle = write_real_bundle(tmp_path / 'means')
    output = ['--output', tmp_path / 'models']
    assert call('triton-repository', bundle.path, *output, *arguments) == 1
    told = capsys.readouterr().err
    assert told.startswith(says) and told.count('\n') == 1
