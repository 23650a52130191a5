"""Teachers say what they see, in the classes that the student shares with them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from builders import ALONE, batch_of, CLASSES, make_config, SCENE, sources, STREETS
import numpy as np
import pytest
import torch

from perception_ros.bundles import Bundle
from perception_training.config import Config
from perception_training.errors import TrainingError
from perception_training.fitting.log import read_numbers
from perception_training.fitting.loop import fit
from perception_training.fitting.run import Run
from perception_training.fitting.teacher import BundleTeacher, opened, Teacher
from perception_training.losses.distil import anchors, distil_losses, label_maps, soft_one_hot
from perception_training.measuring.predict import Prediction
from perception_training.models import build


@pytest.fixture(scope='module')
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a checkpoint that knows two streets a little."""
    config = make_config(tmp_path_factory.mktemp('large'), fit__steps=8)
    fit(config, sources())
    return config.run_dir / 'last.pt'


def taught_by(path: Path, student: Config) -> tuple[Run, Any]:
    run = Run(student, ALONE)
    with opened(student, run.network, ALONE.device) as teacher:
        assert teacher is not None
        return run, teacher(batch_of().images)


def test_whoever_answers_as_the_teacher_pays_nothing(large: Path, tmp_path: Path) -> None:
    """Any other order of classes, anchors or views would cost something."""
    config = make_config(tmp_path, distil={'teacher': large}, fit__start={'checkpoint': large})
    run, taught = taught_by(large, config)
    network, batch = run.network.eval(), batch_of()
    with torch.no_grad():
        raw = network(batch.images.permute(0, 3, 1, 2).float() / 255)
        assert config.distil is not None
        same = distil_losses(network, raw, batch, taught, config.distil, config.loss)
        network.heads['scene'].classes.bias[2] += 3
        network.heads['boxes'].levels[0].classes.bias[1] += 3
        raw = network(batch.images.permute(0, 3, 1, 2).float() / 255)
        other = distil_losses(network, raw, batch, taught, config.distil, config.loss)
    assert {head: float(cost) for head, cost in same.items()} == pytest.approx(
        {'boxes': 0, 'scene': 0}, abs=1e-4)
    assert min(other.values()) > 0.01


def test_other_lists_of_classes_meet_by_name(large: Path, tmp_path: Path) -> None:
    """A student of more classes, in another order, must not learn cars as people."""
    labels = {'boxes': ('van', 'person', 'car'), 'semantic': {'scene': ('kerb', *SCENE[::-1])}}
    same = make_config(tmp_path, distil={'teacher': large})
    other = make_config(tmp_path, labels=labels, distil={'teacher': large})
    (_, known), (_, taught) = taught_by(large, same), taught_by(large, other)
    assert taught.places['boxes'].tolist() == [2, 1]
    assert taught.places['scene'].tolist() == list(range(11, 0, -1))
    assert torch.equal(taught.anchors[1], known.anchors[1][..., [
        CLASSES.index('car'), CLASSES.index('person')]])


@pytest.mark.parametrize(('labels', 'said'), [
    pytest.param({'boxes': (), 'semantic': {'scene': SCENE[:5]}},
                 r"head 'scene': expected a teacher of some of .*'pavement'\], got one that also "
                 r"knows \['car', 'cyclist'", id='label-map'),
    pytest.param({'boxes': ('cat', 'dog'), 'semantic': {}},
                 r"with some head and classes of \{'boxes': \['cat', 'dog'\]\}", id='boxes')])
def test_a_teacher_of_other_classes_is_refused(
    large: Path, tmp_path: Path, labels: dict[str, Any], said: str
) -> None:
    config = make_config(tmp_path, labels=labels, distil={'teacher': large}, loss={})
    with pytest.raises(TrainingError, match=said):
        taught_by(large, config)


def test_a_start_that_nothing_was_learnt_in_teaches_nothing(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match='set fit.start.checkpoint'):
        fit(make_config(tmp_path, distil={'teacher': 'start'}), sources())


def test_learning_goes_on_without_forgetting(large: Path, tmp_path: Path) -> None:
    """Told that all is building, a network with itself as a teacher stays nearer to itself."""
    told = [replace(s, semantic={'scene': np.full_like(s.semantic['scene'], 1)}) for s in STREETS]

    def moved(weight: float) -> float:
        config = make_config(
            tmp_path / str(weight), fit__steps=6, fit__start={'checkpoint': large},
            fit__schedule={'warmup': 0}, fit__optimiser={'lr': 3e-3},
            distil={'teacher': 'start', 'semantic': weight})
        fit(config, sources(told))
        last = read_numbers(config.run_dir)[-1]
        assert 'boxes/teacher' in last
        return last['scene/teacher'] / weight

    assert moved(100.0) < 0.6 * moved(1e-6)


def test_a_label_map_is_compared_in_the_shared_classes_alone() -> None:
    teacher = torch.randn(2, 3, 4, 6)
    student = torch.cat((torch.randn(2, 1, 4, 6) * 9, teacher), 1)
    places = torch.tensor([1, 2, 3])
    assert float(label_maps(student, teacher, places, 2.0)) == pytest.approx(0, abs=1e-6)
    assert float(label_maps(student, teacher.flip(1), places, 2.0)) > 0.1
    assert label_maps(student, teacher[..., ::2, ::2], places, 2.0).isfinite()


def test_ids_become_classes_that_a_teacher_is_nearly_sure_of() -> None:
    shares = soft_one_hot(torch.tensor([[[0, 2], [3, 1]]]), 3).softmax(1)
    assert shares[0, 0, 0, 0] == pytest.approx(0.9)
    assert shares[0, 2, 0, 1] == pytest.approx(0.9)
    assert shares[0, :, 1, 0].tolist() == pytest.approx([1 / 3] * 3)  # none of the shared ones


def test_scores_pull_towards_the_teachers() -> None:
    boxes = torch.tensor([[[0.0, 0, 9, 9], [5, 5, 20, 20]]])
    truth, places = torch.tensor([[[0.8], [0.1]]]), torch.tensor([0])
    scores = torch.tensor([[[0.5], [0.5]]], requires_grad=True)
    anchors(boxes, scores, (boxes, truth), places).backward()
    assert scores.grad[0, 0, 0] < 0 < scores.grad[0, 1, 0]


class Said:
    """A bundle's manifest with these classes, for tests without an engine."""

    def __init__(self, boxes: tuple[str, ...], scene: tuple[str, ...]) -> None:
        def named(names: tuple[str, ...]) -> Any:
            return type('Info', (), {'classes': [type('C', (), {'name': n}) for n in names]})
        self.manifest = type('Manifest', (), {
            'detection': named(boxes), 'semantic': {'scene': named(scene)}})


@pytest.fixture
def street_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Teacher]:
    """Give a bundle that sees a car that it is sure of, a person that it is not, and a kite."""
    found = Prediction(
        np.array([[8, 8, 40, 40], [50, 8, 60, 40], [0, 0, 9, 9]], np.float32),
        np.array([1, 0, 2], np.int32), np.array([0.9, 0.2, 0.8], np.float32),
        {'scene': np.eye(96, 128, dtype=np.uint8)})
    monkeypatch.setattr(Bundle, 'load', lambda path: Said(('person', 'car', 'kite'),
                                                          ('road', 'sky')))
    config = make_config(tmp_path, distil={'teacher': tmp_path})
    assert config.distil is not None
    student = build(config.model, config.labels)
    yield BundleTeacher(tmp_path, lambda image: found, student, config.distil)


def test_a_bundles_boxes_stand_for_true_ones_where_it_is_sure(street_teacher: Teacher) -> None:
    taught = street_teacher(batch_of().images)
    assert taught.boxes is not None
    boxes, labels = taught.boxes
    assert labels.tolist() == [[0, -1, -2]] * 2  # car; may be something; a class of no interest
    assert boxes[0, 0].tolist() == [8, 8, 40, 40]
    assert taught.places['scene'].tolist() == [SCENE.index('road'), SCENE.index('sky')]
    assert taught.semantic['scene'][0, :, 0, 0].argmax() == 1  # its id 1 is the sky


def test_a_bundles_boxes_cost_what_true_ones_cost(
    street_teacher: Teacher, tmp_path: Path
) -> None:
    """The terms are those of labels, also in a batch that has none."""
    config = make_config(tmp_path, distil={'teacher': tmp_path})
    network = build(config.model, config.labels)
    batch = batch_of()
    raw = network(batch.images.permute(0, 3, 1, 2).float() / 255)
    taught = street_teacher(batch.images)
    assert config.distil is not None and taught.boxes is not None
    cost = distil_losses(network, raw, batch, taught, config.distil, config.loss)['boxes']
    labelled = torch.zeros_like(batch.labelled)
    labelled[:, :2] = True  # car and person; of the others the teacher says nothing
    same = replace(batch, boxes=taught.boxes[0], labels=taught.boxes[1], labelled=labelled)
    terms = network.heads['boxes'].losses(raw['boxes'], same, config.loss)
    wanted = sum(getattr(config.loss.detection, name) * float(v.detach())
                 for name, v in terms.items())
    assert float(cost.detach()) == pytest.approx(wanted)
