"""What was learnt while rounding is what the int8 bundle computes."""

import copy
from pathlib import Path

from builders import make_config, sources, STREETS
import cv2
import numpy as np
import onnx
import pytest
import torch

from perception_ros.bundles import Bundle
from perception_ros.core.errors import QuantizationError
from perception_training.compressing.commands import write_start
from perception_training.config import Config
from perception_training.delivering.bundle import make_draft
from perception_training.delivering.int8 import in_int8, learnt, require_close, Rounding
from perception_training.delivering.proof import compare
from perception_training.errors import TrainingError
from perception_training.fitting.loop import fit, restored
from perception_training.fitting.record import read_record, start_record
from perception_training.models import Network
from perception_training.models.form import Form
from perception_training.models.int8 import int8_layers, round_to_int8

pytestmark = pytest.mark.filterwarnings('default')
Made = tuple[Config, Network, Bundle, Rounding]


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Give a network that rounds, and the fp32 bundle of its weights."""
    config = make_config(tmp_path_factory.mktemp('run'), width=96, height=64, fit__steps=4)
    start_record(config, ['perception_train', 'fit'])
    fit(config, sources())
    network = restored(config).network
    bundle, _ = make_draft(config, network, read_record(config.run_dir), 'exact')
    rounding = Rounding(bundle, network)
    limits = rounding.by_layer(rounding.measured(
        [cv2.resize(s.image, (config.width, config.height)) for s in STREETS]))
    round_to_int8(network, rounding.inputs,
                  [max(limits[n] for n in names) for names in rounding.inputs])
    network.form = Form(int8=rounding.inputs)
    return config, network, bundle, rounding


def images() -> list[np.ndarray]:
    return [s.image for s in STREETS for _ in range(3)]


def test_every_convolution_finds_its_node_and_shares_its_input(made: Made) -> None:
    _, network, _, rounding = made
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(rounding.nodes) == len(convolutions) == len(list(int8_layers(network)))
    assert ('trunk.backbone.two.1.bypass.conv', 'trunk.backbone.two.1.main.conv') in (
        rounding.inputs)


def test_the_int8_bundle_answers_as_the_rounding_network(made: Made) -> None:
    config, network, bundle, rounding = made
    int8 = in_int8(bundle, rounding, rounding.by_tensor(learnt(network)), 'int8')
    assert int8.manifest.precision == 'int8' and int8.manifest.kept_fp32 == ()
    graph = onnx.load(int8.graph_path).graph
    assert sum(n.op_type == 'QuantizeLinear' for n in graph.node) == len(rounding.inputs)
    require_close(compare(network, config, int8, images()))


def test_the_comparison_sees_other_weights(made: Made) -> None:
    """A check that cannot fail proves nothing."""
    config, network, bundle, rounding = made
    int8 = in_int8(bundle, rounding, rounding.by_tensor(learnt(network)), 'int8')
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.heads['scene'].classes.bias[0] += 9
    with pytest.raises(TrainingError, match='does not answer as the rounding checkpoint'):
        require_close(compare(other, config, int8, images()))


def test_the_graph_has_the_ranges_that_were_learnt(made: Made) -> None:
    _, network, bundle, rounding = made
    limits = rounding.by_tensor(dict.fromkeys(learnt(network), 2.54))
    graph = onnx.load(in_int8(bundle, rounding, limits, 'other').graph_path).graph
    scales = {node.input[1] for node in graph.node if node.op_type == 'QuantizeLinear'}
    found = [float(onnx.numpy_helper.to_array(tensor)) for tensor in graph.initializer
             if tensor.name in scales]
    assert found == pytest.approx([0.02] * len(rounding.inputs))


def test_a_bundle_of_another_origin_is_refused(made: Made) -> None:
    _, _, bundle, _ = made
    with pytest.raises(QuantizationError, match='convolutions that can be put into int8, got no'):
        Rounding(bundle, torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1)))


def test_ranges_are_learnt_resumed_and_restored(made: Made, tmp_path: Path) -> None:
    """The checkpoint says which layers round, and what they share."""
    _, network, _, _ = made
    config = make_config(tmp_path, width=96, height=64, fit__steps=3, fit__save_every=2,
                         fit__start={'checkpoint': tmp_path / 'start.pt'})
    write_start(config, network)
    run = fit(config, sources())
    held = make_config(tmp_path / 'held', width=96, height=64, fit__steps=1, fit__start={
        'checkpoint': tmp_path / 'start.pt', 'freeze': ['*.log_limit']})
    fit(held, sources())
    assert learnt(restored(held).network) == learnt(network)
    before, after = learnt(network), learnt(restored(config).network)
    assert before.keys() == after.keys()
    assert sum(before[name] != after[name] for name in before) > 0.9 * len(before)
    assert learnt(run.average) == after
