"""The package as colcon and ros2 see it: what it declares and where its files go."""

import ast
from importlib.metadata import version
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

import perception_ros

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()

# Where an import and what brings it have different names.
BROUGHT_BY = {'cv2': 'python3-opencv', 'yaml': 'pyyaml'}
# Runtimes and formats that are looked for and done without.
OPTIONAL = {
    'apsw', 'autoware_perception_msgs', 'backports', 'compression', 'cuda', 'faster_coco_eval',
    'google', 'grpc', 'jinja2', 'lz4', 'markupsafe', 'matplotlib', 'openvino', 'pyarrow', 'pycuda',
    'ray', 'rosbags', 'scipy', 'supervision', 'tensorrt', 'tensorrt_rtx', 'tier4_perception_msgs',
    'trackeval', 'trackers', 'tritonclient', 'unique_identifier_msgs',
}


def test_versions_agree() -> None:
    assert {MANIFEST.findtext('version'), version('perception_ros')} == {
        perception_ros.__version__}


def imported() -> set[str]:
    """Collect the top-level names that the package imports anywhere."""
    names = set()
    for path in (ROOT / 'perception_ros').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split('.')[0])
    return names


def test_everything_imported_is_declared() -> None:
    lines = (ROOT / 'requirements' / 'runtime.in').read_text(encoding='utf-8').splitlines()
    declared = {re.split(r'[<>=;\s]', line)[0].lower().replace('-', '_')
                for line in lines if line and not line.startswith('#')}
    declared |= {str(node.text) for node in MANIFEST if node.tag in ('depend', 'exec_depend')}
    foreign = imported() - set(sys.stdlib_module_names) - OPTIONAL - {'perception_ros'}
    assert {name for name in foreign if BROUGHT_BY.get(name, name) not in declared} == set()


@pytest.fixture(scope='module')
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a copy of the tree the way colcon does; the prefix."""
    tree = tmp_path_factory.mktemp('tree')
    for name in ('config', 'engines', 'launch', 'perception_ros', 'requirements', 'resource'):
        if (ROOT / name).exists():
            shutil.copytree(
                ROOT / name, tree / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('LICENSE', 'MANIFEST.in', 'package.xml', 'setup.cfg', 'setup.py'):
        shutil.copy(ROOT / name, tree)
    prefix = tmp_path_factory.mktemp('prefix')
    subprocess.run(
        [sys.executable, '-W', 'ignore', 'setup.py', '-q', 'install', '--prefix', str(prefix),
         '--single-version-externally-managed', '--record', str(tree / 'record')],
        cwd=tree, check=True, capture_output=True, env={**os.environ, 'VIRTUAL_ENV': sys.prefix})
    return prefix


@pytest.mark.slow
def test_the_kernel_s_source_is_installed(installed: Path) -> None:
    assert len(list(installed.rglob('perception_ros/backends/cuda/letterbox.cu'))) == 1


@pytest.mark.slow
@pytest.mark.parametrize('name', ['perception_ros', 'perception_node', 'player_node'])
def test_executable_lies_where_ros2_run_looks(installed: Path, name: str) -> None:
    executable = installed / 'lib' / 'perception_ros' / name
    assert os.access(executable, os.X_OK)
    python = executable.read_text(encoding='utf-8').splitlines()[0].removeprefix('#!')
    assert Path(python).parent == Path(sys.prefix, 'bin'), 'not the active environment'


@pytest.mark.slow
def test_share_folder_holds_what_the_source_tree_holds(installed: Path) -> None:
    share = installed / 'share'
    index = share / 'ament_index' / 'resource_index' / 'packages'
    assert (index / 'perception_ros').is_file()
    assert (share / 'perception_ros' / 'package.xml').is_file()
    for top, pattern in (('config', '*'), ('engines', '*'), ('launch', '*.py')):
        source = {path.relative_to(ROOT) for path in (ROOT / top).rglob(pattern)
                  if path.is_file() and not path.name.startswith('.')
                  and '__pycache__' not in path.parts}
        target = {path.relative_to(share / 'perception_ros')
                  for path in (share / 'perception_ros' / top).rglob('*') if path.is_file()}
        assert target == source
