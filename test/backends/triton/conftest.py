"""A bundle, and servers that serve it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perception_ros.backends.triton.repository import write_repository
from perception_ros.bundles.bundle import Bundle
from test.backends.triton.helpers import SERVING
from test.backends.triton.process import ServerProcess
from test.builders import write_real_bundle


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_real_bundle(tmp_path_factory.mktemp('bundles') / 'means')


@pytest.fixture(scope='module')
def repository(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Path:
    path = tmp_path_factory.mktemp('served') / 'models'
    write_repository(path, [bundle], SERVING)
    return path


@pytest.fixture(scope='module')
def server(repository: Path) -> Iterator[ServerProcess]:
    """A server that lets clients use shared memory, and is only asked."""
    with ServerProcess(repository) as process:
        yield process


@pytest.fixture(params=['shared memory', 'messages'])
def fragile(
    request: pytest.FixtureRequest, tmp_path: Path, bundle: Bundle
) -> Iterator[ServerProcess]:
    """A server for one test, which may do to it, and to what it serves, whatever it likes."""
    write_repository(tmp_path / 'models', [bundle], SERVING)
    with ServerProcess(tmp_path / 'models', shared=request.param == 'shared memory') as process:
        yield process
