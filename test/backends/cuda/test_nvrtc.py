"""The letterbox kernel through the real compiler, which needs no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from perception_ros.backends.cuda import nvrtc
from perception_ros.backends.cuda.letterbox import KERNEL, SOURCE
from perception_ros.core.errors import BackendError

NEWEST = nvrtc.MAJORS[0]


@pytest.mark.parametrize(
    'capability',
    [(7, 5), (8, 0), (8, 6), (8, 7), (8, 9), (9, 0), (10, 0), (11, 0), (12, 0)],
    ids=['Turing', 'A100', 'Ampere', 'Orin', 'Ada', 'Hopper', 'B200', 'Thor', 'RTX 50'],
)
def test_the_kernel_compiles_for_every_gpu_that_is_served(capability: tuple[int, int]) -> None:
    cubin = nvrtc.compile_cubin(SOURCE.read_text('utf-8'), capability, NEWEST)
    assert cubin.startswith(b'\x7fELF')
    assert f'.text.{KERNEL}\0'.encode() in cubin, 'the name that it is loaded by'


def test_a_gpu_that_the_compiler_does_not_know_is_refused_with_what_to_install() -> None:
    with pytest.raises(BackendError, match=r'compute capability 3\.0: .*pip install nvidia-cuda'):
        nvrtc.compile_cubin('', (3, 0), NEWEST)


def test_a_mistake_in_the_source_is_shown() -> None:
    with pytest.raises(BackendError, match='nonsense'):
        nvrtc.compile_cubin('nonsense', (8, 6), NEWEST)


def test_nothing_newer_than_the_driver_is_used() -> None:
    """Its machine code would be refused."""
    with pytest.raises(BackendError, match='an NVRTC, which compiles .* is not here; pip install'):
        nvrtc.load_nvrtc(11)


def test_without_a_compiler_its_absence_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(nvrtc, '_candidates', lambda majors: [str(tmp_path / 'libnvrtc.so')])
    nvrtc.load_nvrtc.cache_clear()
    with pytest.raises(BackendError, match=r'libnvrtc\.so\.13 or libnvrtc\.so\.12, .*pip install'):
        nvrtc.load_nvrtc(13)
    nvrtc.load_nvrtc.cache_clear()
