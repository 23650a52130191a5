"""Files of faults: the example that ships, and everything that can be wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from perception_ros.core.errors import ConfigError
from perception_ros.faults.plan import FaultPlan, KINDS, read_faults

EXAMPLE = Path(__file__).parents[2] / 'config' / 'faults.yaml'


def test_the_example_has_all_kinds() -> None:
    plan = read_faults(EXAMPLE)
    assert {fault.kind for fault in plan.faults} == set(KINDS)
    assert FaultPlan.model_validate(plan.model_dump(mode='json')) == plan, 'as a run keeps it'


def test_faults_without_names_are_told_apart() -> None:
    kinds = [{'kind': 'drop'}, {'kind': 'darken', 'name': 'drop_2'}, {'kind': 'drop'}]
    plan = FaultPlan.model_validate({'faults': kinds})
    assert [fault.name for fault in plan.faults] == ['drop', 'drop_2', 'drop_3']


@pytest.mark.parametrize(('text', 'says'), [
    ('', 'expected faults below faults:'),
    ('[1, 2]', 'expected faults below faults:'),
    ('faults: []', 'line 1: faults: expected at least one fault, got none'),
    ('faults: drop', "line 1: faults: .*got 'drop'"),
    ('faults:\n- drop', "line 2: faults.0: .*got 'drop'"),
    ('faults:\n- cameras: [front]', 'line 2: faults.0.kind: expected this key, got none; add it'),
    ('faults:\n- kind: drop\n- kind: dorp',
     "line 3: faults.1.kind: expected one of 'drop', .*'lose_lidar', got 'dorp'"),
    ('faults:\n- kind: drop\n  cameras: [front]\n  camera: x',
     "line 4: faults.0.drop: unknown key 'camera': did you mean 'cameras'"),
    ('faults:\n- kind: drop\nfault: 1', "line 3: unknown key 'fault': did you mean 'faults'"),
    ('faults:\n- kind: drop\n  probability: 1.5',
     'line 3: faults.0.drop.probability: .*less than or equal to 1, got 1.5'),
    ('faults:\n- kind: drop\n  probability: yes', 'line 3: .*valid number, got True'),
    ("faults:\n- kind: drop\n  seed: '1'", "line 3: .*valid integer, got '1'"),
    ('faults:\n- kind: drop\n  from_s: .nan', 'line 3: .*from_s'),
    ('faults:\n- kind: drop\n  from_s: -1', 'line 3: .*greater than or equal to 0, got -1'),
    ('faults:\n- kind: drop\n  from_s: 5\n  to_s: 4', 'line 2: .*to_s: expected more than from'),
    ('faults:\n- kind: drop\n  every_s: 4', 'every_s: expected for_s with it'),
    ('faults:\n- kind: drop\n  every_s: 4\n  for_s: 5', 'for_s: expected at most every_s 4'),
    ('faults:\n- kind: drop\n  for_s: 5', 'for_s: expected every_s or a probability below 1'),
    ('faults:\n- kind: drop\n  cameras: front', "cameras: .*got 'front'"),
    ('faults:\n- kind: drop\n  name: a.b', "name: .*got 'a.b'"),
    ('faults:\n- {kind: drop, name: a}\n- {kind: delay, by_ms: 1, name: a}',
     "line 1: faults: expected names that differ, got 'a' twice"),
    ('faults:\n- kind: delay', 'line 2: faults.0.delay.by_ms: expected this key, got none'),
    ('faults:\n- kind: delay\n  by_ms: 9000', 'less than or equal to 5000, got 9000$'),
    ('faults:\n- kind: reorder\n  by_ms: 100', 'nothing overtakes if all are late'),
    ('faults:\n- kind: freeze\n  probability: 0.5', 'expected for_s with it, which says how long'),
    ('faults:\n- kind: skew', 'expected offset_ms or drift_ppm, got neither'),
    ('faults:\n- kind: jump\n  by_s: 0', 'by_s: expected more or less than 0'),
    ('faults:\n- kind: corrupt\n  how: badly', "how: .*'bytes' or 'size', got 'badly'"),
    ('faults:\n- kind: drop\n  seed: 1\n  seed: 2', "key 'seed' comes twice"),
    ('a: &a [1]\nfaults: *a', 'alias .a: expected the value itself'),
    ('faults: [', 'expected faults in YAML'),
    ('faults:\n- kind: drop\n  from_s: 2020-13-45', "line 3: .*got '2020-13-45'"),
    ('[' * 3000, 'nested too deeply'),
    ('faults:\n- !!python/object:os.system {}', 'expected faults in YAML'),
    ('faults:\n- ? [kind]\n  : drop', 'faults in YAML|unknown key'),
], ids=lambda value: value[-30:].replace('\n', ' ') if value else 'empty')
def test_a_wrong_file_is_refused_with_line_and_key(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / 'faults.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=says) as error:
        read_faults(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(('content', 'says'), [
    (None, 'No such file'),
    (b'\xff\xfe\x00', 'expected a file of faults; .utf-8'),
    (bytes(2**21), 'holds 2097152 bytes, and 1048576 are the most'),
    (b'faults:\n- kind: drop\0', 'expected faults in YAML'),
], ids=['missing', 'no text', 'huge', 'NUL'])
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / 'faults.yaml'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        read_faults(path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='it is no file'):
        read_faults(tmp_path)
