"""Bundles on disk: finding, checking, writing."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path

import onnx
from onnx import TensorProto
import pytest

from perception_ros.bundles import Bundle, Manifest, write_bundle
from perception_ros.bundles.bundle import check_target
from perception_ros.bundles.contract import check_graph
from perception_ros.bundles.manifest import GraphInfo, MANIFEST_NAME
from perception_ros.core.errors import BundleError
from test.builders import write_real_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_real_bundle(tmp_path / 'engines' / 'means')


def rewrite(bundle: Bundle, payload: bytes) -> None:
    """Exchange the graph, and let the manifest agree: only the contract can object."""
    manifest = bundle.manifest.model_copy(update={'graph': GraphInfo.of(payload)})
    bundle.graph_path.write_bytes(payload)
    (bundle.path / 'bundle.yaml').write_text(manifest.to_yaml())


class TestLoad:

    def test_gives_back_what_was_written(self, bundle: Bundle) -> None:
        loaded = Bundle.load(bundle.path)
        assert loaded == bundle
        assert loaded.graph_path.is_file()
        assert loaded.card_path.read_text() == 'A graph for tests.'

    def test_takes_the_manifest_for_the_folder(self, bundle: Bundle) -> None:
        assert Bundle.load(bundle.path / 'bundle.yaml').path == bundle.path

    def test_relative_to_the_working_directory(
        self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(bundle.path.parent)
        assert Bundle.load('means').path == Path('means')

    def test_by_name_from_the_package_share(
        self, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        share = tmp_path / 'prefix' / 'share' / 'perception_ros'
        share.mkdir(parents=True)
        bundle.path.parent.rename(share / 'engines')
        prefixes = os.pathsep.join(['/nowhere', str(tmp_path / 'prefix')])
        monkeypatch.setenv('AMENT_PREFIX_PATH', prefixes)
        assert Bundle.load('means').path == share / 'engines' / 'means'

    def test_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv('AMENT_PREFIX_PATH', '/opt/somewhere')
        with pytest.raises(BundleError) as caught:
            Bundle.load('nobody')
        for place in ('nobody', '/opt/somewhere/share/perception_ros/engines/nobody'):
            assert place in str(caught.value), 'it says where it looked'

    def test_a_missing_path_is_not_looked_up_by_name(self) -> None:
        with pytest.raises(BundleError, match='searched some/where$'):
            Bundle.load('some/where')

    def test_folder_without_manifest(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match='expected bundle.yaml in it, got none'):
            Bundle.load(tmp_path)

    def test_graph_is_missing(self, bundle: Bundle) -> None:
        bundle.graph_path.unlink()
        with pytest.raises(BundleError, match='expected the graph that bundle.yaml names'):
            Bundle.load(bundle.path)

    def test_one_wrong_bit(self, bundle: Bundle) -> None:
        payload = bytearray(bundle.graph_path.read_bytes())
        payload[len(payload) // 2] ^= 1
        bundle.graph_path.write_bytes(payload)
        with pytest.raises(BundleError, match='expected SHA-256 [0-9a-f]{64} .* got [0-9a-f]{64}'):
            Bundle.load(bundle.path)

    def test_cut_off_graph_with_a_fitting_checksum(self, bundle: Bundle) -> None:
        payload = bundle.graph_path.read_bytes()
        rewrite(bundle, payload[: len(payload) // 2])
        with pytest.raises(BundleError, match='expected an ONNX graph|breaks the bundle contract'):
            Bundle.load(bundle.path)

    def test_no_graph_at_all(self, bundle: Bundle) -> None:
        rewrite(bundle, b'this is not protobuf')
        with pytest.raises(BundleError, match='expected an ONNX graph, got 20 bytes'):
            Bundle.load(bundle.path)


def _dim(output: int, axis: int, value: int) -> Callable[[onnx.GraphProto], None]:
    def change(graph: onnx.GraphProto) -> None:
        graph.output[output].type.tensor_type.shape.dim[axis].dim_value = value
    return change


def _open_dim(graph: onnx.GraphProto) -> None:
    graph.output[0].type.tensor_type.shape.dim[1].dim_param = 'N'


def _rename_input(graph: onnx.GraphProto) -> None:
    graph.input[0].name = 'pixels'


def _float_input(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def _static_input(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def _channels_first(graph: onnx.GraphProto) -> None:
    for dim, size in zip(graph.input[0].type.tensor_type.shape.dim[1:], (3, 64, 96), strict=True):
        dim.dim_value = size


def _wide_labels(graph: onnx.GraphProto) -> None:
    graph.output[2].type.tensor_type.elem_type = TensorProto.INT64


def _lower_rank(graph: onnx.GraphProto) -> None:
    del graph.output[0].type.tensor_type.shape.dim[2:]


def _drop_output(graph: onnx.GraphProto) -> None:
    del graph.output[1]


def _add_output(graph: onnx.GraphProto) -> None:
    graph.output.add().CopyFrom(graph.output[0])
    graph.output[-1].name = 'extra'


@pytest.mark.parametrize(('change', 'says'), [
    pytest.param(_rename_input, "input 'images': expected uint8 [B, 64, 96, 3], got none "
                 "(has ['pixels'])", id='input name'),
    pytest.param(_float_input, 'got float32 [B, 64, 96, 3]', id='input type'),
    pytest.param(_static_input, 'got uint8 [1, 64, 96, 3] (batch is static)', id='static batch'),
    pytest.param(_channels_first, 'got uint8 [B, 3, 64, 96]', id='channels first'),
    pytest.param(_dim(0, 0, 1), "output 'boxes': expected float32 [B, 8, 4], got float32 "
                 '[1, 8, 4] (batch is static)', id='static output batch'),
    pytest.param(_dim(0, 1, 9), "output 'boxes': expected float32 [B, 8, 4], got float32 "
                 '[B, 9, 4]', id='another N'),
    pytest.param(_open_dim, 'got float32 [B, ?, 4] (? = not fixed)', id='N not fixed'),
    pytest.param(_lower_rank, 'got float32 [B, 8]', id='rank'),
    pytest.param(_wide_labels, "output 'labels': expected int32 [B, 8], got int64 [B, 8]",
                 id='label type'),
    pytest.param(_drop_output, "output 'scores': expected float32 [B, 8], got none",
                 id='output missing'),
    pytest.param(_add_output, "output 'extra': not declared in bundle.yaml", id='output too many'),
    pytest.param(_dim(3, 1, 32), "output 'semantic_ground': expected uint8 [B, 64, 96], got uint8 "
                 '[B, 32, 96]', id='mask of another size'),
])
def test_graph_breaks_the_contract(
    bundle: Bundle, change: Callable[[onnx.GraphProto], None], says: str
) -> None:
    model = onnx.load(str(bundle.graph_path))
    change(model.graph)
    rewrite(bundle, model.SerializeToString())
    with pytest.raises(BundleError) as caught:
        Bundle.load(bundle.path)
    assert 'breaks the bundle contract' in str(caught.value)
    assert says in str(caught.value)


def test_weights_outside_the_file_are_refused(bundle: Bundle) -> None:
    """The checksum would not cover them."""
    model = onnx.load(str(bundle.graph_path))
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(BundleError, match='without external data'):
        check_graph(model.SerializeToString(), bundle.manifest, 'model.onnx')


class TestWrite:

    def parts(self, bundle: Bundle) -> tuple[Manifest, bytes]:
        return bundle.manifest, bundle.graph_path.read_bytes()

    def test_what_breaks_the_contract_leaves_nothing(self, bundle: Bundle, tmp_path: Path) -> None:
        manifest, payload = self.parts(bundle)
        other = manifest.model_copy(
            update={'input': manifest.input.model_copy(update={'width': 192})})
        with pytest.raises(BundleError, match='breaks the bundle contract'):
            write_bundle(tmp_path / 'out' / 'new', other, payload, '')
        assert list((tmp_path / 'out').iterdir()) == []

    def test_does_not_replace_unasked(self, bundle: Bundle) -> None:
        with pytest.raises(BundleError, match='a bundle is there already'):
            write_bundle(bundle.path, *self.parts(bundle), 'new card')
        assert bundle.card_path.read_text() == 'A graph for tests.'

    def test_replaces_when_asked(self, bundle: Bundle) -> None:
        write_bundle(bundle.path, *self.parts(bundle), 'new card', overwrite=True)
        assert bundle.card_path.read_text() == 'new card'
        assert [path.name for path in bundle.path.parent.iterdir()] == ['means'], 'no litter'

    def test_never_replaces_what_is_no_bundle(self, bundle: Bundle, tmp_path: Path) -> None:
        (tmp_path / 'thesis').mkdir()
        (tmp_path / 'thesis' / 'chapter1.tex').touch()
        with pytest.raises(BundleError, match='something that is no bundle'):
            write_bundle(tmp_path / 'thesis', *self.parts(bundle), '', overwrite=True)
        assert (tmp_path / 'thesis' / 'chapter1.tex').exists()

    def test_others_may_read_it(self, bundle: Bundle) -> None:
        assert bundle.path.stat().st_mode & 0o055 == 0o055

    def test_keeps_what_a_user_has_put_beside(self, bundle: Bundle) -> None:
        (bundle.path / 'notes').mkdir()
        (bundle.path / 'notes' / 'calibration.txt').write_text('mine')
        (bundle.path / 'README').write_text('mine too')
        write_bundle(bundle.path, *self.parts(bundle), 'new card', overwrite=True)
        assert (bundle.path / 'notes' / 'calibration.txt').read_text() == 'mine'
        assert (bundle.path / 'README').read_text() == 'mine too'
        assert bundle.card_path.read_text() == 'new card'

    def test_puts_the_old_one_back_if_the_new_one_cannot_take_its_place(
        self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parts, rename = self.parts(bundle), Path.rename

        def full(path: Path, target: Path) -> Path:
            if path.name == 'new':
                raise OSError(28, 'No space left on device')
            return rename(path, target)

        monkeypatch.setattr(Path, 'rename', full)
        with pytest.raises(BundleError, match='No space left on device; make room'):
            write_bundle(bundle.path, *parts, 'new card', overwrite=True)
        assert Bundle.load(bundle.path).card_path.read_text() == 'A graph for tests.'
        assert [path.name for path in bundle.path.parent.iterdir()] == ['means'], 'no litter'

    def test_says_at_once_where_nothing_can_be_written(self, tmp_path: Path) -> None:
        (tmp_path / 'file').touch()
        for place in (tmp_path / 'file' / 'new', Path('/proc/engines/new')):
            with pytest.raises(BundleError, match='expected to write a bundle there, got:'):
                check_target(place, overwrite=False)


@pytest.mark.parametrize('inside', ['Constant', 'subgraph', 'function'])
def test_weights_outside_the_file_are_found_anywhere(bundle: Bundle, inside: str) -> None:
    """The SHA-256 does not cover them, wherever an exporter has put them."""
    model = onnx.load(str(bundle.graph_path))
    tensor = onnx.TensorProto(name='far', data_type=onnx.TensorProto.FLOAT, dims=[1],
                              data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key='location', value='far.bin')
    constant = onnx.helper.make_node('Constant', [], ['far'], value=tensor)
    if inside == 'Constant':
        model.graph.node.append(constant)
    elif inside == 'subgraph':
        body = onnx.helper.make_graph([constant], 'body', [], [])
        model.graph.node.append(onnx.helper.make_node('If', ['c'], ['y'], then_branch=body,
                                                      else_branch=body))
    else:
        model.functions.append(onnx.helper.make_function(
            'own', 'F', [], ['far'], [constant], [onnx.helper.make_opsetid('', 17)]))
    payload = model.SerializeToString()
    with pytest.raises(BundleError, match="got 'far' outside of it"):
        check_graph(payload, bundle.manifest, 'net')


def test_pipes_and_devices_are_refused_not_read(bundle: Bundle) -> None:
    bundle.graph_path.unlink()
    os.mkfifo(bundle.graph_path)
    with pytest.raises(BundleError, match='it is no file'):
        Bundle.load(bundle.path)
    (bundle.path / MANIFEST_NAME).unlink()
    (bundle.path / MANIFEST_NAME).symlink_to('/dev/zero')
    with pytest.raises(BundleError, match='no bundle: expected bundle.yaml in it'):
        Bundle.load(bundle.path)


@pytest.mark.parametrize('name', ['~nobody-of-that-name', 'x' * 5000, 'a\0b'])
def test_names_that_no_file_can_have(name: str) -> None:
    with pytest.raises(BundleError, match='not found: expected a folder'):
        Bundle.load(name)
