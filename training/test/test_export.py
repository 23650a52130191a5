"""ONNX says what torch says."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from perception_training.export import check_dimensions, compare, Deployed, export_onnx
from perception_training.model import RoadScene


@pytest.fixture(scope='module')
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Deployed]:
    """Give the export of a network with random weights and statistics that are not the default."""
    torch.manual_seed(0)
    model = RoadScene()
    model.train()
    with torch.no_grad():
        model(torch.rand(2, 3, 64, 96))
    path = tmp_path_factory.mktemp('export') / 'raw.onnx'
    export_onnx(model.eval(), path, 96, 64)
    return path, Deployed(model).eval()


@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize('batch', [1, 2, 5])
def test_export_agrees_with_torch(exported: tuple[Path, Deployed], batch: int) -> None:
    """A batch that came out static, or an operator that means something else, shows here."""
    path, deployed = exported
    assert max(compare(path, deployed, 96, 64, [batch]).values()) < 1e-4


@pytest.mark.filterwarnings('default')
def test_a_static_batch_is_refused(exported: tuple[Path, Deployed], tmp_path: Path) -> None:
    path, deployed = exported
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / 'static.onnx')
    with pytest.raises(ValueError, match='boxes: expected'):
        check_dimensions(tmp_path / 'static.onnx', deployed, 96, 64)


@pytest.mark.filterwarnings('default')
def test_the_comparison_sees_a_changed_weight(exported: tuple[Path, Deployed],
                                              tmp_path: Path) -> None:
    """A check that cannot fail proves nothing."""
    path, deployed = exported
    model = onnx.load(path)
    bias = next(i for i in model.graph.initializer if i.name.endswith('scene.classes.bias'))
    changed = onnx.numpy_helper.to_array(bias) + np.float32(0.5)
    bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
    onnx.save(model, tmp_path / 'changed.onnx')
    assert compare(tmp_path / 'changed.onnx', deployed, 96, 64, [1])['scene'] > 1e-3
