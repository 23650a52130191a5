"""NVRTC, CUDA's compiler as a library, through ctypes: both packages of the seam can use it."""

from __future__ import annotations

from collections.abc import Iterator
import ctypes
from functools import cache
from importlib.util import find_spec
import os
from pathlib import Path

from perception_ros.core.errors import BackendError

MAJORS = (13, 12)
"""Versions of CUDA whose NVRTC is looked for, the newest first."""

_INSTALL = 'pip install nvidia-cuda-nvrtc (nvidia-cuda-nvrtc-cu12 for a driver of CUDA 12)'


@cache
def compile_cubin(source: str, capability: tuple[int, int], cuda_major: int) -> bytes:
    """Compile CUDA C++ for one kind of GPU; needs neither a GPU nor a driver.

    :param capability: compute capability, (9, 0) for a Hopper.
    :param cuda_major: what the driver supports: nothing newer than that is used.
    :raises BackendError: there is no NVRTC, or it refuses the source or the capability.
    """
    nvrtc = load_nvrtc(cuda_major)
    program = ctypes.c_void_p()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b'kernel.cu', 0, None, None
    ))
    try:
        architecture = f'--gpu-architecture=sm_{capability[0]}{capability[1]}'.encode()
        options = (ctypes.c_char_p * 1)(architecture)
        if nvrtc.nvrtcCompileProgram(program, 1, options):
            log = _read(nvrtc, program, 'ProgramLog').rstrip(b'\0').decode(errors='replace')
            raise BackendError(
                f'NVRTC refuses the kernel for compute capability {capability[0]}.{capability[1]}:'
                f' {" ".join(log.split()) or "it gives no reason"}; install the NVRTC that fits '
                f'this GPU: {_INSTALL}'
            )
        return _read(nvrtc, program, 'CUBIN')
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _read(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f'nvrtcGet{what}Size')(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f'nvrtcGet{what}')(program, buffer))
    return buffer.raw


def _check(nvrtc: ctypes.CDLL, status: int) -> None:
    if status:
        raise BackendError(f'NVRTC failed: {nvrtc.nvrtcGetErrorString(status).decode()}')


@cache
def load_nvrtc(cuda_major: int) -> ctypes.CDLL:
    """Return the newest NVRTC here whose code a driver for this CUDA takes.

    :raises BackendError: there is none.
    """
    wanted = [major for major in MAJORS if major <= cuda_major]
    for path in _candidates(wanted):
        try:
            nvrtc = ctypes.CDLL(path)
        except OSError:
            continue
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        return nvrtc
    names = ' or '.join(f'libnvrtc.so.{major}' for major in wanted) or 'an NVRTC'
    raise BackendError(f'{names}, which compiles the letterbox kernel, is not here; {_INSTALL}')


def _candidates(majors: list[int]) -> Iterator[str]:
    """Give the places of wheels, of the linker's cache and of toolkits."""
    for major in majors:
        name = f'libnvrtc.so.{major}'
        for folder in _wheels():
            for inner in (f'cu{major}', 'cuda_nvrtc'):
                yield str(folder / inner / 'lib' / name)
        yield name
        yield str(Path(os.environ.get('CUDA_HOME', '/usr/local/cuda')) / 'lib64' / name)


def _wheels() -> list[Path]:
    spec = find_spec('nvidia')
    return [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
