"""The set-up: stamps come last, and whatever stops it is said in plain words."""

from pathlib import Path
import re

import pytest
import setup_env

INTERFACES = Path(setup_env.INTERFACES)


@pytest.fixture
def environment(tmp_path: Path) -> setup_env.Environment:
    return setup_env.Environment(str(tmp_path), 'set-up')


def test_step_is_done_once_it_is_through(environment: setup_env.Environment) -> None:
    with environment.step('packages', 'abc', 'packages'):
        assert not environment.done('packages', 'abc')
    assert environment.done('packages', 'abc')
    assert not environment.done('packages', 'made from something else')


def test_interrupted_step_is_not_done(environment: setup_env.Environment) -> None:
    with environment.step('packages', 'abc', 'packages'):
        pass
    with pytest.raises(KeyboardInterrupt), environment.step('packages', 'abc', 'packages'):
        raise KeyboardInterrupt
    assert not environment.done('packages', 'abc')


def test_stamp_follows_content(tmp_path: Path) -> None:
    lock = tmp_path / 'a.lock'
    lock.write_text('numpy==1')
    first = setup_env.digest(str(lock), 'x')
    lock.write_text('numpy==2')
    assert len({first, setup_env.digest(str(lock), 'x'), setup_env.digest(str(lock), 'y')}) == 3


def test_failed_command_shows_its_error_and_the_log(environment: setup_env.Environment) -> None:
    with pytest.raises(setup_env.SetupError) as failure:
        environment.run('sh', '-c', 'echo chatter; echo "ERROR: no such package"; exit 3')
    text = str(failure.value)
    assert 'exit 3' in text and 'ERROR: no such package' in text and 'setup.log' in text
    assert 'chatter' not in text
    assert 'chatter' in Path(environment.log).read_text()


def test_missing_network_is_named(environment: setup_env.Environment) -> None:
    with pytest.raises(setup_env.SetupError, match='registry was not reached'):
        environment.run('sh', '-c', 'echo "broken by NewConnectionError(...)"; exit 1')


def test_python_of_another_version_is_named() -> None:
    with pytest.raises(setup_env.SetupError) as failure:
        setup_env.interpreter_between((3, 97), (3, 99), 'python3')
    assert 'needs Python 3.97 to 3.99; found Python 3.' in str(failure.value)


def test_distribution_without_rclpy_is_named() -> None:
    with pytest.raises(setup_env.SetupError, match='sudo apt install ros-humble-rclpy'):
        setup_env.interpreter_on('humble', 'no-such-python')


def test_every_missing_prerequisite_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = setup_env.Interpreter(
        '/usr/bin/python3', {'version': (3, 12, 1), 'include': '/nowhere', 'venv': False})
    monkeypatch.delenv('CXX', raising=False)
    monkeypatch.setenv('PATH', '/nowhere')
    with pytest.raises(setup_env.SetupError) as failure:
        setup_env.check_prerequisites(bare, compiles=True)
    text = str(failure.value)
    assert all(part in text for part in ('venv module', 'headers', 'g++', 'sudo apt install'))


@pytest.mark.parametrize('package', [
    str(path.parent.relative_to(INTERFACES)) for path in INTERFACES.rglob('CMakeLists.txt')])
def test_every_message_is_built(package: str) -> None:
    listed = re.findall(r'msg/\w+\.msg', (INTERFACES / package / 'CMakeLists.txt').read_text())
    assert listed == sorted(f'msg/{path.name}' for path in INTERFACES.glob(f'{package}/msg/*'))


def test_no_workspace_builds_our_copy_of_a_foreign_interface() -> None:
    assert (INTERFACES / 'COLCON_IGNORE').exists()
