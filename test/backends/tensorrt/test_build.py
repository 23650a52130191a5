"""Plans from the real builder: what it is asked for, what it refuses, how it tells of both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import sys
import threading
from types import ModuleType

from onnx import helper
import pytest

from perception_ros.backends import EngineOptions
from perception_ros.backends.tensorrt.build import build_plan, make_static, parse
from perception_ros.backends.tensorrt.library import Library, load_library
from perception_ros.bundles import Bundle
from perception_ros.core.errors import BackendError
from test.backends.tensorrt.networks import HEIGHT, WIDTH, write_network


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_network(tmp_path / 'network', 'fp32')


def quiet(phase: str, done: float) -> None:
    """Take a build's progress for granted."""


def test_progress_grows_from_start_to_end(bundle: Bundle, library: Library) -> None:
    told: list[tuple[str, float]] = []
    build_plan(bundle, EngineOptions(), library, lambda *now: told.append(now))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[0] == 0.0 and 0.8 <= shares[-1] <= 1.0
    assert len({phase for phase, _ in told}) > 3


def test_what_is_raised_while_it_builds_cancels_the_build(
    bundle: Bundle, library: Library
) -> None:
    def interrupt(phase: str, done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_plan(bundle, EngineOptions(), library, interrupt)


def test_a_build_that_nobody_waits_for_any_more_is_given_up(
    bundle: Bundle, library: Library
) -> None:
    """A process that ended within the builder would crash."""
    options, shares = EngineOptions(cancel=threading.Event()), []

    def cancel(phase: str, done: float) -> None:
        shares.append(done)
        options.cancel.set()  # type: ignore[union-attr]

    with pytest.raises(BackendError, match='the build was cancelled'):
        build_plan(bundle, options, library, cancel)
    assert len(shares) == 1


@pytest.mark.parametrize(
    ('operator', 'domain', 'says'),
    [
        ('Mystery', 'custom', r"node 'my_node' \(Mystery\): invalid node: .*Plugin not found"),
        ('Det', '', r"node 'my_node' \(Det\): unsupported node"),
    ],
    ids=['unknown', 'unsupported'],
)
def test_nodes_that_it_refuses_are_named(
    tmp_path: Path, library: Library, operator: str, domain: str, says: str
) -> None:
    strange = helper.make_node(operator, ['features'], ['strange'], 'my_node', domain=domain)
    product = helper.make_node('Mul', ['features', 'strange'], ['logits'], 'product')
    bundle = write_network(tmp_path / 'network', 'fp32', extra=[strange, product])
    with pytest.raises(BackendError, match=rf'tensorrt_rtx .* refuses .*{says}'):
        build_plan(bundle, EngineOptions(), library, quiet)


def test_the_optimum_lies_within_the_profile(bundle: Bundle, library: Library) -> None:
    with pytest.raises(BackendError, match='optimal_batch 4: expected at most max_batch 2'):
        build_plan(bundle, EngineOptions(max_batch=2, optimal_batch=4), library, quiet)


def test_a_dla_that_is_not_there_is_refused(bundle: Bundle, library: Library) -> None:
    with pytest.raises(BackendError, match='dla_core 0: .* finds 0 DLA cores'):
        build_plan(bundle, EngineOptions(dla_core=0), library, quiet)


def test_rtx_needs_no_hardware_compatibility(bundle: Bundle, library: Library) -> None:
    with pytest.raises(BackendError, match="'ampere_plus': expected none with tensorrt_rtx"):
        build_plan(bundle, EngineOptions(hardware_compatibility='ampere_plus'), library, quiet)


def test_a_static_network_has_no_dynamic_dimension(bundle: Bundle, library: Library) -> None:
    """What a DLA demands; the network that is parsed is that of every other plan."""
    builder = library.module.Builder(library.logger)
    network, _parser = parse(bundle, builder, library)
    assert network.get_input(0).shape[:] == (-1, HEIGHT, WIDTH, 3)
    make_static(network, 4, library)
    tensors = [network.get_input(0), network.get_output(0)]
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        tensors += [layer.get_output(n) for n in range(layer.num_outputs)]
    assert all(n >= 0 for tensor in tensors for n in tensor.shape[:])
    assert network.get_output(0).shape[0] == 4


@pytest.mark.filterwarnings('ignore:.*Timing cache:DeprecationWarning')
def test_the_whole_library_keeps_its_timings_and_takes_compatibility(
    bundle: Bundle, library: Library
) -> None:
    """What TensorRT alone is asked for, asked of the sibling's builder, which has the calls."""
    whole = replace(library, name='tensorrt')
    options = EngineOptions(max_batch=2, hardware_compatibility='ampere_plus')
    first = build_plan(bundle, options, whole, quiet)
    assert first.timing_cache
    for cache in (first.timing_cache, b'not a cache'):
        assert build_plan(bundle, options, whole, quiet, cache).payload


@pytest.mark.parametrize('name', ['tensorrt', 'tensorrt_rtx'])
def test_a_library_that_is_not_here_is_told_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendError, match=f'{name} cannot be imported: .*pip install'):
        load_library.__wrapped__(name)


@pytest.mark.parametrize(
    ('version', 'said'),
    [(None, 'is not installed, its type stubs alone are'), ('8.5.3', 'expected 10 or newer')],
    ids=['stubs', 'too old'],
)
def test_a_library_that_cannot_do_is_told(
    monkeypatch: pytest.MonkeyPatch, version: str | None, said: str
) -> None:
    module = ModuleType('tensorrt')
    if version:
        module.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, 'tensorrt', module)
    with pytest.raises(BackendError, match=said):
        load_library.__wrapped__('tensorrt')
