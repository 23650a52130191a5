"""`perception_ros doctor`: what works on this machine, what does not, and what to do about it.

`examine` collects facts and changes nothing. What is not installed is only a problem where it is
needed. Packages are imported in processes of their own, which they may take down.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
import json
import os
import platform
import subprocess
import sys
from typing import Annotated, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
import typer

from perception_ros import __version__
from perception_ros.backends import BACKENDS, load_backend
from perception_ros.backends.cuda import open_gpu
from perception_ros.backends.cuda.nvrtc import load_nvrtc
from perception_ros.backends.store import EngineStore, VARIABLE
from perception_ros.bundles.find import engine_folders, list_bundles
from perception_ros.cli.bundles import describe
from perception_ros.cli.cache import describe as describe_engines
from perception_ros.cli.transport import transport, transport_problems
from perception_ros.core.errors import BackendError
from perception_ros.ros.transport import SHARED_MEMORY

OURS = ('numpy', 'cv2', 'onnx', 'onnxruntime', 'pydantic')
"""What this package imports."""

VENDORS = ('openvino', 'tensorrt', 'tensorrt_rtx', 'tritonclient', 'cuda.bindings',
           'pycuda.driver')
"""What a backend may want; `cuda.bindings` is cuda-python."""

_IMPORT_S = 60

_TRY = """
import importlib, sys
module = importlib.import_module(sys.argv[1])
sys.stdout.write(str(getattr(module, '__version__', '')))
"""
_TRY_ROS = """
import sys
import rclpy
from rclpy.utilities import get_rmw_implementation_identifier
sys.stdout.write(get_rmw_implementation_identifier())
"""


def doctor(
    as_json: Annotated[bool, typer.Option('--json', help='Print JSON, no table.')] = False,
) -> None:
    """Say what is installed, what works here and why the rest does not, and what to do about it.

    The exit status is 1 if no model can be run.
    """
    facts = examine()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        _show(facts)
    if not runs_models(facts):
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """Return all facts, ready for JSON; `problems` has each problem with its advice."""
    facts: dict[str, Any] = {
        'perception_ros': __version__,
        'python': platform.python_version(),
        'machine': f'{platform.system()} {platform.machine()}, {os.cpu_count()} cores',
        'ros': ros(),
        'packages': {name: imported(name) for name in (*OURS, *VENDORS)},
        'backends': {name: backend(name) for name in BACKENDS},
        'gpu': gpu(),
        'transport': transport(),
        'bundles': [describe(path) for path in list_bundles()],
        'store': stored(),
    }
    facts['problems'] = problems(facts)
    return facts


def runs_models(facts: Mapping[str, Any]) -> bool:
    """Say whether a backend that `auto` may take works."""
    return any(facts['backends'][name]['works'] for name in BACKENDS if BACKENDS[name].auto)


def ros(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return where ROS 2 comes from, its middleware, and why it does not work if it does not."""
    said = _in_a_process(_TRY_ROS)
    distribution = environment.get('ROS_DISTRO', '')
    try:
        wheels = version('ros-rclpy')
    except PackageNotFoundError:
        wheels = ''
    if distribution:
        source = f'distribution {distribution}'
    else:
        source = f'wheels, rclpy {wheels}' if wheels else 'none'
    return {
        'source': source,
        'works': said['works'],
        'rmw': said.get('said', ''),
        'reason': said.get('reason', ''),
    }


def imported(name: str) -> dict[str, Any]:
    """Return whether a module can be imported, its version, or why not."""
    try:
        spec = find_spec(name)
        installed = spec is not None and spec.origin is not None  # type stubs alone have none
    except ImportError:  # the package that it is in
        installed = False
    if not installed:
        return {'works': False, 'reason': 'not installed'}
    came = _in_a_process(_TRY, name)
    if came['works']:
        return {'works': True, 'version': came['said']}
    return came


def backend(name: str) -> dict[str, Any]:
    """Return what a backend says of itself, or why it does not work here."""
    try:
        return {'works': True, 'found': load_backend(name).probe()}
    except BackendError as error:
        return {'works': False, 'reason': str(error)}


def gpu() -> dict[str, Any]:
    """Return which GPU, driver and CUDA package are here, and why kernels cannot be compiled."""
    try:
        found = open_gpu()
    except BackendError as error:
        return {'works': False, 'reason': str(error)}
    state = {'works': True, 'found': str(found), 'compiler_problem': ''}
    try:
        load_nvrtc(found.cuda_version[0])
    except BackendError as error:
        state['compiler_problem'] = str(error)
    return state


def stored() -> dict[str, Any]:
    """Return the folder of the engine store and the engines in it; or why there is none."""
    try:
        store = EngineStore()
    except BackendError as error:
        return {'folder': None, 'engines': [], 'problem': str(error)}
    problem = None
    existing = next(path for path in (store.folder, *store.folder.parents) if path.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        problem = f'engines cannot be stored in {store.folder}: {existing} cannot be written to'
    return {
        'folder': str(store.folder),
        'engines': describe_engines(store.entries()),
        'problem': problem,
    }


def problems(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what is wrong, each with advice, the worst first."""
    found: list[dict[str, str]] = []

    def add(problem: str, advice: str) -> None:
        found.append({'problem': problem, 'advice': advice})

    if not runs_models(facts):
        add('no backend works, so no model can be run', 'pip install onnxruntime')
    for name in OURS:
        if not facts['packages'][name]['works']:
            reason = facts['packages'][name]['reason']
            add(f'{name} cannot be imported: {reason}', 'make setup, in the source tree')
    for name, state in facts['packages'].items():
        if name in VENDORS and not state['works'] and state['reason'] != 'not installed':
            add(
                f'{name} is installed but cannot be imported: {state["reason"]}',
                'install its driver or the version that fits it, or uninstall it',
            )
    if not facts['ros']['works']:
        add(
            f'ROS 2 does not work: {facts["ros"]["reason"]}',
            'source a distribution, or use the .venv that `make setup` makes; files are processed '
            'without it (perception_ros run)',
        )
    if facts['gpu']['works'] and facts['gpu']['compiler_problem']:
        add(
            'images are letterboxed on the CPU, not on the GPU',
            facts['gpu']['compiler_problem'],
        )
    if facts['ros']['works'] and 'fastrtps' in facts['ros']['rmw']:
        found += transport_problems(facts['transport'])
    if not facts['bundles']:
        add(
            'no bundles are installed',
            'name a folder wherever a bundle is asked for; `perception_ros import` makes one',
        )
    for item in facts['bundles']:
        if item['problem']:
            add(item['problem'], 'copy the bundle again, or import it anew')
    if facts['store']['problem']:
        add(facts['store']['problem'], f'name a folder of yours in {VARIABLE}')
    return found


def _in_a_process(code: str, *arguments: str) -> dict[str, Any]:
    """Run code in a process of its own: what it said, or the last line of why it failed."""
    try:
        done = subprocess.run(
            [sys.executable, '-c', code, *arguments],
            capture_output=True,
            text=True,
            errors='replace',
            timeout=_IMPORT_S,
        )
    except subprocess.TimeoutExpired:
        return {'works': False, 'reason': f'did not come back within {_IMPORT_S} s'}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        reason = lines[-1] if lines else f'the process ended with status {done.returncode}'
        return {'works': False, 'reason': reason}
    return {'works': True, 'said': done.stdout.strip()}


def _show(facts: Mapping[str, Any]) -> None:
    console = Console()
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style='bold', no_wrap=True)
    table.add_column(overflow='fold')
    table.add_row('perception_ros', f'{facts["perception_ros"]}, Python {facts["python"]}')
    table.add_row('machine', facts['machine'])
    state = facts['ros']
    table.add_row('ROS 2', _verdict(state['works'], f'{state["source"]}, {state["rmw"]}', state))
    for name, state in facts['packages'].items():
        table.add_row(name, _verdict(state['works'], state.get('version', ''), state))
    for name, state in facts['backends'].items():
        table.add_row(f'backend {name}', _verdict(state['works'], state.get('found', ''), state))
    state = facts['gpu']
    table.add_row('GPU', _verdict(state['works'], state.get('found', ''), state))
    state = facts['transport']
    table.add_row('Fast DDS profile', Text(state['profile'] or 'none'))
    free, total = (state[f'shared_memory_{key}'] >> 20 for key in ('free_bytes', 'bytes'))
    table.add_row(str(SHARED_MEMORY), f'{free} of {total} MiB free')
    names = ', '.join(item['name'] for item in facts['bundles'])
    places = ', '.join(str(folder) for folder in engine_folders())
    table.add_row('bundles', Text(names or f'none in {places}'))
    table.add_row('stored engines', Text(_engines(facts['store'])))
    console.print(table)
    for item in facts['problems']:
        # Not wrapped: what is advised can be copied into a shell.
        problem = Text.assemble('\n', ('problem: ', 'yellow'), item['problem'])
        console.print(problem, soft_wrap=True)
        console.print(Text(f'    {item["advice"]}'), soft_wrap=True)
    if not facts['problems']:
        console.print('\nno problems found')


def _engines(store: Mapping[str, Any]) -> str:
    lines = [
        f'{engine["name"]} {engine["precision"]}, {engine["library"]}, GPU: {engine["gpu"]}, '
        f'{engine["bytes"] / 1e6:.1f} MB, unused for {engine["unused_days"]:.1f} days'
        for engine in store['engines']
    ]
    return '\n'.join(lines) or f'none in {store["folder"]}'


def _verdict(works: bool, text: str, state: Mapping[str, Any]) -> Text:
    return Text(text or 'works') if works else Text(f'no: {state["reason"]}', 'dim')
