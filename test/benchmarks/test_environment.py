"""What is stated of the machine beside every figure."""

from __future__ import annotations

from pathlib import Path
import platform

import pytest

from perception_ros.benchmarks.environment import device_memory_bytes, Environment

# As nvidia-smi answers the two questions that it is asked.
NVIDIA_SMI = """#!/bin/sh
case "$1" in
  --query-gpu=*) echo 'NVIDIA Thor, 590.10, 122880' ;;
  --query-compute-apps=*) printf '41, 300\\n42, 512\\n42, 100\\n43, [N/A]\\n' ;;
esac
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let this folder be the only place where programs are looked for."""
    monkeypatch.setenv('PATH', f'{tmp_path}')
    return tmp_path


def add_tool(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def test_here_is_said_what_this_is() -> None:
    here = Environment.here()
    assert here.python.endswith(platform.python_version())
    assert here.packages['onnxruntime'] and here.packages['numpy']
    assert Environment.model_validate_json(here.model_dump_json()) == here


def test_a_machine_without_tools_still_has_an_environment(tools: Path) -> None:
    here = Environment.here()
    assert here.commit is None and here.gpus == ()
    assert device_memory_bytes(42) is None


def test_a_gpu_is_what_nvidia_smi_says(tools: Path) -> None:
    add_tool(tools, 'nvidia-smi', NVIDIA_SMI)
    assert Environment.here().gpus == ('NVIDIA Thor, driver 590.10, 122880 MiB',)
    assert device_memory_bytes(42) == 612 << 20, 'of all its contexts'
    assert device_memory_bytes(43) is None, 'a container hides it'
    assert device_memory_bytes(7) is None


def test_a_tool_that_fails_says_nothing(tools: Path) -> None:
    add_tool(tools, 'nvidia-smi', '#!/bin/sh\necho no driver\nexit 9\n')
    assert Environment.here().gpus == ()


@pytest.mark.parametrize(
    ('status', 'suffix'), [('', ''), (' M setup.py', '-dirty')], ids=['clean', 'changed']
)
def test_the_commit_says_if_something_was_changed(tools: Path, status: str, suffix: str) -> None:
    add_tool(tools, 'git', (
        f'#!/bin/sh\ncase "$3" in rev-parse) echo 0123abc ;; status) echo "{status}" ;; esac\n'
    ))
    assert Environment.here().commit == f'0123abc{suffix}'


@pytest.mark.parametrize(
    ('changes', 'warnings'),
    [
        pytest.param({'load_average': 0.1}, [], id='quiet'),
        pytest.param({'load_average': 1.5}, ['load average 1.5 on 4 cores'], id='busy'),
        pytest.param({'governor': 'powersave'}, ["governor is 'powersave'"], id='slow clock'),
        pytest.param({'governor': 'performance'}, [], id='steady clock'),
    ],
)
def test_what_makes_figures_doubtful(changes: dict[str, object], warnings: list[str]) -> None:
    quiet = {'load_average': 0.0, 'governor': None, 'cores': 4}
    found = Environment.here().model_copy(update=quiet | changes).warnings()
    assert len(found) == len(warnings)
    for text, words in zip(found, warnings, strict=True):
        assert words in text
