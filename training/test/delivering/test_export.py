"""ONNX says what torch says."""

from pathlib import Path

from builders import CLASSES, SCENE
import onnx
import pytest
import torch

from perception_training.config.labels import LabelsConfig
from perception_training.config.model import RoadSceneConfig
from perception_training.delivering.export import check_dimensions, compare, Deployed, export_onnx
from perception_training.errors import TrainingError
from perception_training.models import build

pytestmark = pytest.mark.filterwarnings('default')
Exported = tuple[Path, Deployed, tuple[str, ...]]


@pytest.fixture(scope='module')
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Give the export of a network with random weights and statistics that are not the default."""
    labels = LabelsConfig(boxes=CLASSES, semantic={'scene': SCENE})
    network = build(RoadSceneConfig(name='roadscene'), labels).train()
    with torch.no_grad():
        network(torch.rand(2, 3, 64, 96))
    path = tmp_path_factory.mktemp('export') / 'raw.onnx'
    names = export_onnx(network.eval(), path, 96, 64)
    return path, Deployed(network).eval(), names


def test_export_agrees_with_torch_at_any_batch(exported: Exported) -> None:
    """A batch that came out static, or an operator that means something else, shows here."""
    path, deployed, names = exported
    assert names == ('boxes', 'scores', 'scene')
    assert max(compare(path, deployed, names, 96, 64, [1, 3, 5]).values()) < 1e-4


def test_a_static_batch_is_refused(exported: Exported, tmp_path: Path) -> None:
    path, deployed, names = exported
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / 'static.onnx')
    with pytest.raises(TrainingError, match='boxes: expected'):
        check_dimensions(tmp_path / 'static.onnx', deployed, names, 96, 64)


def test_the_comparison_sees_a_changed_weight(exported: Exported, tmp_path: Path) -> None:
    """A check that cannot fail proves nothing."""
    path, deployed, names = exported
    model = onnx.load(path)
    bias = next(i for i in model.graph.initializer if i.name.endswith('scene.classes.bias'))
    changed = onnx.numpy_helper.to_array(bias) + 0.5
    bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
    onnx.save(model, tmp_path / 'changed.onnx')
    assert compare(tmp_path / 'changed.onnx', deployed, names, 96, 64, [1])['scene'] > 1e-3
