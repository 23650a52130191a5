"""Imports point one way: what must run without ROS does, and nothing but training knows torch."""

from __future__ import annotations

import ast
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'perception_ros'

BLOCK = """
import importlib, pkgutil, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        top = name.partition('.')[0]
        if top in ('rclpy', 'torch', 'cv_bridge', 'message_filters') or top.endswith('_msgs'):
            raise ImportError(f'{name} is blocked')

sys.meta_path.insert(0, Blocked())
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if error.name not in ('cuda', 'pycuda'):  # two ways to the same; either may be absent
            raise
    print(module.name)
"""


@pytest.mark.parametrize('package', [
    'core', 'bags', 'faults', 'bundles', 'backends', 'evaluation', 'recording', 'benchmarks',
    'labelling', 'replay', 'fusion', 'tracking', 'calibration',
])
def test_it_imports_without_ros_and_torch(package: str) -> None:
    """Replay, evaluation and training use these on machines that have never seen ROS."""
    done = subprocess.run(
        [sys.executable, '-c', BLOCK, f'perception_ros.{package}'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    files = {p.stem for p in (PACKAGE / package).glob('*.py')} - {'__init__'}
    assert {f'perception_ros.{package}.{name}' for name in files} <= imported


def test_the_block_blocks() -> None:
    """The test above would pass for anything if its finder did nothing."""
    done = subprocess.run(
        [sys.executable, '-c', BLOCK, 'perception_ros.ros'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert 'is blocked' in done.stderr


# Who may import whom, from the bottom up; a package may import itself and those before it.
LAYERS = {
    'core': {'core', 'backends.base', 'bundles.manifest'},
    'bags': {'core', 'ros.cdr', 'bags'},
    'faults': {'core', 'bags', 'ros.cdr', 'faults'},
    'bundles': {'core', 'bundles'},
    'backends': {'core', 'bundles', 'tracking.images', 'backends'},
    'fusion': {'core', 'fusion'},
    'tracking': {'core', 'fusion', 'tracking'},
    'evaluation': {
        'core', 'bags', 'bundles', 'backends.base', 'fusion', 'tracking', 'evaluation'
    },
    'calibration': {'core', 'bags', 'fusion', 'pages', 'ros.cdr', 'calibration'},
    'recording': {'core', 'bags', 'evaluation', 'fusion', 'recording'},
    'labelling': {'core', 'bags', 'bundles', 'backends', 'evaluation', 'replay.crew', 'labelling'},
    'benchmarks': {'core', 'bags', 'bundles', 'backends', 'evaluation', 'fusion', 'benchmarks'},
    'pages': {'pages'},
    'replay': {
        'core', 'bags', 'faults', 'bundles', 'backends', 'evaluation', 'benchmarks', 'ros.cdr',
        'pages', 'replay',
    },
    'quantization': {
        'core', 'bags', 'bundles', 'backends', 'evaluation', 'benchmarks', 'quantization'
    },
    'ros': {'core', 'bundles', 'backends', 'fusion', 'tracking', 'ros'},
    'nodes': {'core', 'bags', 'bundles', 'backends', 'fusion', 'tracking', 'ros', 'nodes'},
    'demo': {'core', 'bags', 'bundles', 'backends', 'ros', 'demo'},
    'realtime': {
        'core', 'bags', 'faults', 'bundles', 'replay', 'ros', 'demo', 'realtime',
    },
    'rig': {'core', 'bundles', 'fusion', 'backends', 'benchmarks', 'ros', 'demo', 'rig'},
    'cli': {
        'core', 'bags', 'fusion', 'calibration', 'tracking', 'faults', 'bundles', 'backends',
        'evaluation', 'recording', 'benchmarks', 'labelling', 'quantization', 'replay', 'ros',
        'demo', 'realtime', 'rig', 'cli',
    },
}


@pytest.mark.parametrize('package', sorted(LAYERS))
def test_imports_point_one_way(package: str) -> None:
    for path in sorted((PACKAGE / package).rglob('*.py')):
        for module in imports(path):
            assert 'torch' not in module.split('.'), f'{path.name} imports torch'
            if module.startswith('perception_ros.'):
                inner = module.removeprefix('perception_ros.')
                allowed = any(
                    inner == name or inner.startswith(f'{name}.') for name in LAYERS[package]
                )
                assert allowed, f'{package}/{path.name} imports {module}'


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_nothing_outside_training_imports_torch() -> None:
    for path in [*PACKAGE.rglob('*.py'), *(ROOT / 'launch').glob('*.py')]:
        tops = {module.partition('.')[0] for module in imports(path)}
        assert not tops & {'torch', 'torchvision'}, path


def test_the_pipeline_comes_without_onnx() -> None:
    """A node, and each tool around it, would wait for it at every start."""
    code = 'import sys, perception_ros.core.pipeline\nassert "onnx" not in sys.modules'
    subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True)
