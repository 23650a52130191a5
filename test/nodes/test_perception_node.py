"""The perception node over real DDS: what goes in as messages comes out as messages."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray, LabelInfo
import yaml

from perception_ros.bundles.manifest import MaskInfo
from perception_ros.ros import cameras
from perception_ros.ros.cameras import CameraSubscriptions
from perception_ros.ros.domain import private_environment
from perception_ros.ros.messages import to_header
from perception_ros.ros.qos import make_qos
from test.builders import COLOURS, manifest, picture, write_real_bundle
from test.nodes.bench import Bench, image, RED, wait_until

pytestmark = pytest.mark.dds


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_real_bundle(tmp_path_factory.mktemp('bundles') / 'means').path


@pytest.fixture
def bench(bundle: Path) -> Iterator[Bench]:
    made = Bench(bundle)
    yield made
    made.close()


def test_a_frame_goes_from_topic_to_topics(bench: Bench) -> None:
    """Raw image in; boxes, mask, label names and overlay out, under the image's own header."""
    bench.launch('front')
    bench.active()
    boxes = bench.listen(Detection2DArray, '/perception/front/detections')
    masks = bench.listen(Image, '/perception/front/semantic/ground')
    overlays = bench.listen(CompressedImage, '/perception/front/overlay/compressed')
    labels = bench.listen(
        LabelInfo, '/perception/front/semantic/ground/label_info', 'transient_local'
    )
    camera = bench.camera('front')
    wait_until(lambda: labels)
    sent = image(stamp_s=1234, frame_id='front_optical')
    camera.publish(sent)
    wait_until(lambda: boxes and masks and overlays)

    [detection] = boxes[0].detections
    assert boxes[0].header == masks[0].header == overlays[0].header == sent.header
    assert detection.results[0].hypothesis.class_id == 'red'
    centre, box = detection.bbox.center.position, detection.bbox
    found = (centre.x - box.size_x / 2, centre.y - box.size_y / 2)
    found += (centre.x + box.size_x / 2, centre.y + box.size_y / 2)
    np.testing.assert_allclose(found, RED, atol=1.6)

    mask = np.frombuffer(bytes(masks[0].data), np.uint8).reshape(96, 128)
    assert (masks[0].encoding, mask[50, 40], mask[5, 5]) == ('mono8', 0, 3)
    assert [c.class_name for c in labels[0].class_map] == ['red', 'green', 'blue', 'other']
    overlay = cv2.imdecode(np.frombuffer(bytes(overlays[0].data), np.uint8), cv2.IMREAD_COLOR)
    assert overlay.shape == (96, 128, 3)


def test_compressed_images_work_alike(bench: Bench) -> None:
    bench.launch('front', cameras__front__transport='compressed')
    bench.active()
    boxes = bench.listen(Detection2DArray, '/perception/front/detections')
    camera = bench.camera('front', CompressedImage)
    for n, extension in enumerate(['.jpg', '.png']):
        encoded = cv2.imencode(extension, picture(128, 96, blue=RED)[..., ::-1])[1]
        camera.publish(
            CompressedImage(
                header=to_header((n + 1) * 10**9, 'front'), format='x', data=encoded.tobytes()
            )
        )
        wait_until(lambda n=n: len(boxes) == n + 1)
        assert boxes[n].detections[0].results[0].hypothesis.class_id == 'blue'


def test_six_cameras_one_engine_call(bench: Bench) -> None:
    names = [f'cam{n}' for n in range(6)]
    bench.launch(*names, synchronizer__max_wait_ms=2000.0)
    bench.active()
    heard = {n: bench.listen(Detection2DArray, f'/perception/{n}/detections') for n in names}
    cameras = {name: bench.camera(name) for name in names}
    colours = list(COLOURS)
    for n, (name, camera) in enumerate(cameras.items()):
        camera.publish(image(frame_id=name, **{colours[n % 3]: RED}))
    wait_until(lambda: all(heard.values()))
    for n, name in enumerate(names):
        assert heard[name][0].header.frame_id == name
        seen = heard[name][0].detections[0].results[0].hypothesis.class_id
        assert seen == colours[n % 3], 'each camera gets its own answer'
    assert bench.node and bench.node._pipeline
    assert bench.node._pipeline.statistics.snapshot()['engine_calls'] == {'means': 1}


def test_nobody_listens_nothing_is_inferred(bench: Bench) -> None:
    bench.launch('front')
    bench.active()
    camera = bench.camera('front')
    camera.publish(image(1))
    assert bench.node and bench.node._pipeline
    counters = bench.node._pipeline.statistics.snapshot
    wait_until(lambda: counters()['frames_received'].get('front'))
    time.sleep(0.2)
    assert counters()['engine_calls'] == {}


def test_bad_messages_cost_only_themselves(bench: Bench) -> None:
    """Each kind is counted, the node stays active, and the good frame after it comes through."""
    bench.launch('front', cameras__front__queue_depth=10)
    bench.active()
    boxes = bench.listen(Detection2DArray, '/perception/front/detections')
    camera = bench.camera('front')
    bad = [image(stamp) for stamp in range(1, 6)]
    bad[0].width = bad[0].height = 0
    bad[1].step = 7
    bad[2].encoding = 'no_such_encoding'
    bad[3].header = to_header(0, 'front')
    bad[4].data = bytes(10)
    for message in bad:
        camera.publish(message)
    camera.publish(image(99))
    wait_until(lambda: boxes)
    assert boxes[0].header.stamp.sec == 99
    assert bench.node and bench.node._pipeline
    assert bench.node._pipeline.statistics.snapshot()['frames_dropped'] == {'invalid': 5}
    assert bench.state() == 'active'


def test_thresholds_and_overlay_change_while_it_runs(bench: Bench) -> None:
    bench.launch('front')
    bench.active()
    boxes = bench.listen(Detection2DArray, '/perception/front/detections')
    camera = bench.camera('front')
    for n, (threshold, expected) in enumerate([(0.5, 1), (0.95, 0), (0.1, 1)]):
        assert bench.set('cameras.front.score_threshold', threshold).successful
        camera.publish(image(n + 1))
        wait_until(lambda n=n: len(boxes) == n + 1)
        assert len(boxes[n].detections) == expected


def test_overlay_and_laziness_change_while_it_runs(bench: Bench) -> None:
    bench.launch('front')
    bench.active()
    boxes = bench.listen(Detection2DArray, '/perception/front/detections')
    overlays = bench.listen(CompressedImage, '/perception/front/overlay/compressed')
    camera = bench.camera('front')
    for stamp, (width, enabled) in enumerate([(128, True), (64, True), (64, False)], start=1):
        assert bench.set('overlay.max_width_px', width).successful
        assert bench.set('overlay.enabled', enabled).successful
        camera.publish(image(stamp))
        wait_until(lambda stamp=stamp: len(boxes) == stamp)
        if enabled:
            wait_until(lambda stamp=stamp: len(overlays) == stamp)
            jpeg = np.frombuffer(bytes(overlays[-1].data), np.uint8)
            assert cv2.imdecode(jpeg, cv2.IMREAD_COLOR).shape[1] == width
    time.sleep(0.2)
    assert len(overlays) == 2, 'none is drawn once they are off'


@pytest.mark.parametrize(
    ('name', 'value', 'says'),
    [
        ('cameras.front.topic', '/other', 'clean it up'),
        ('models.means.max_batch', 4, 'clean it up'),
        ('cameras.front.score_threshold', 1.5, 'range'),
    ],
    ids=['topic', 'batch', 'out of range'],
)
def test_what_cannot_change_says_so(bench: Bench, name: str, value: Any, says: str) -> None:
    bench.launch('front')
    bench.active()
    result = bench.set(name, value)
    assert not result.successful
    assert says in result.reason


@pytest.mark.parametrize(
    ('parameters', 'says'),
    [
        ({'models.means.bundle': '/no/such/bundle'}, '/no/such/bundle'),
        ({'cameras.front.topik': '/x'}, "did you mean 'cameras.front.topic'"),
        ({'cameras.front.score_threshold': 7.0}, 'out of range'),
        ({'synchronizer.policy': 'magic'}, 'deadline'),
        ({'max_age_ms': 'long'}, 'expected float'),
        ({'camera_names': ['']}, 'camera_names'),
        ({'camera_names': ['a', 'b'], 'cameras.a.topic': '/t', 'cameras.b.topic': '/t'}, '/t'),
        ({'camera_names': ['9lives']}, '9lives'),
        ({'camera_names': ['a', 'b', 'a']}, 'each name once'),
        ({'models.means.backend': 'abacus'}, 'abacus'),
        ({'models.means.cameras': ['rear']}, 'rear'),
        ({'cameras.front.ignore_mask': '/no/mask.png'}, '/no/mask.png'),
    ],
    ids=lambda value: '' if isinstance(value, dict) else value,
)
def test_a_wrong_configuration_is_told_and_the_node_lives(
    bench: Bench, parameters: dict[str, Any], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Configuring fails with the reason; the node stays there to be set right."""
    bench.launch(**{name.replace('.', '__'): value for name, value in parameters.items()})
    assert not bench.transition(Transition.TRANSITION_CONFIGURE)
    assert bench.state() == 'unconfigured'
    assert says in capfd.readouterr().err


def test_a_wrong_parameter_can_be_set_right(bench: Bench) -> None:
    bench.launch('front', cameras__front__score_threshold=7.0)
    assert not bench.transition(Transition.TRANSITION_CONFIGURE)
    assert bench.set('cameras.front.score_threshold', 0.7).successful
    assert bench.transition(Transition.TRANSITION_CONFIGURE)


def test_cameras_that_are_not_in_use_may_stay_in_the_file(bench: Bench) -> None:
    """`cameras:=front` over the shipped file must not fail for what the file says of others."""
    bench.launch('front', cameras__rear__topic='/rear', models__spare__max_batch=2)
    assert bench.transition(Transition.TRANSITION_CONFIGURE)


def test_a_misspelt_camera_is_a_warning_and_another_one_is_not(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    others = {f'cameras__{name}__topic': f'/{name}' for name in ('frnt', 'rear', 'cam2')}
    bench.launch('front', 'cam1', **others)
    assert bench.transition(Transition.TRANSITION_CONFIGURE)
    lines = capfd.readouterr().err.splitlines()
    told = {line.split('cameras.')[1].split('.')[0]: line for line in lines if 'effect' in line}
    assert "did you mean 'front'?" in told['frnt'] and '[WARN]' in told['frnt']
    assert '[INFO]' in told['rear'] and '[INFO]' in told['cam2']


def test_a_failing_activate_leaves_nothing_behind(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bench.launch('front', 'left')
    original, calls = CameraSubscriptions._subscribe, []

    def fail_once(self: Any, name: str, camera: Any, receive: Any) -> Any:
        calls.append(name)
        if calls == ['front', 'left']:
            raise RuntimeError('no more sockets')
        return original(self, name, camera, receive)

    monkeypatch.setattr(CameraSubscriptions, '_subscribe', fail_once)
    assert bench.transition(Transition.TRANSITION_CONFIGURE)
    assert not bench.transition(Transition.TRANSITION_ACTIVATE)
    assert bench.state() == 'inactive'
    assert 'no more sockets' in capfd.readouterr().err
    assert bench.node and bench.node._pipeline
    assert not bench.node._pipeline.is_running
    assert bench.node.count_subscribers('/front/image_raw') == 0
    assert bench.transition(Transition.TRANSITION_ACTIVATE)


def test_an_exception_in_a_subscriber_costs_one_frame(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever it is: an executor that it reached would end with it."""
    original, errors = cameras.read_image, [KeyError('a defect')]

    def fail_once(serialised: bytes) -> Any:
        if errors:
            raise errors.pop()
        return original(serialised)

    monkeypatch.setattr(cameras, 'read_image', fail_once)
    bench.launch('front')
    bench.active()
    boxes = bench.listen(Detection2DArray, '/perception/front/detections')
    camera = bench.camera('front')
    for stamp in (1, 2):
        camera.publish(image(stamp))
    wait_until(lambda: boxes)
    assert boxes[0].header.stamp.sec == 2
    assert bench.node and bench.node._pipeline
    assert bench.node._pipeline.statistics.snapshot()['frames_dropped'] == {'failed': 1}
    assert 'a defect' in capfd.readouterr().err


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_ends_it_cleanly(bench: Bench, tmp_path: Path, number: signal.Signals) -> None:
    """What was counted is written, the exit status is 0, and nobody sees a traceback."""
    values = {
        'camera_names': ['front'],
        'model_names': ['means'],
        'models': {'means': {'bundle': str(bench.bundle), 'backend': 'fake'}},
        'cameras': {'front': {'reliability': 'reliable'}},
        'autostart': True,
        'summary_file': str(tmp_path / 'summary.json'),
    }
    file = tmp_path / 'parameters.yaml'
    file.write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
    node = [sys.executable, '-m', 'perception_ros.nodes.perception_node']
    process = subprocess.Popen(
        [*node, '--ros-args', '--params-file', str(file)],
        env=private_environment(bench.domain),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        boxes = bench.listen(Detection2DArray, '/perception/front/detections')
        overlays = bench.listen(CompressedImage, '/perception/front/overlay/compressed')
        publisher = bench.me.create_publisher(Image, '/front/image_raw', make_qos('reliable', 10))
        wait_until(lambda: publisher.get_subscription_count() > 0)
        time.sleep(0.5)
        publisher.publish(image(1))
        wait_until(lambda: boxes and overlays)
        process.send_signal(number)
        said, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, said
    assert 'Traceback' not in said
    told = json.loads((tmp_path / 'summary.json').read_text())
    assert told['frames_inferred'] == {'means': 1}


@pytest.mark.parametrize(
    ('backend', 'status', 'says'),
    [('onnxruntime', 0, 'model means: bundle means'), ('missing', 1, "backend 'missing'")],
    ids=['what can be opened', 'what cannot'],
)
def test_build_only_opens_the_engines_and_ends_with_a_status(
    bench: Bench, tmp_path: Path, backend: str, status: int, says: str
) -> None:
    """A fallback would hide that the engine is not there, and must not count."""
    model = {'bundle': str(bench.bundle), 'backend': backend, 'fallback': 'fake'}
    values = {'model_names': ['means'], 'models': {'means': model}, 'build_only': True}
    file = tmp_path / 'parameters.yaml'
    file.write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
    node = [sys.executable, '-m', 'perception_ros.nodes.perception_node']
    done = subprocess.run(
        [*node, '--ros-args', '--params-file', str(file)],
        env=private_environment(bench.domain),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stdout
    assert says in done.stdout and 'Traceback' not in done.stdout


@pytest.mark.parametrize('node', ['perception_node', 'fusion_node'])
def test_a_file_of_parameters_that_is_not_there_is_one_line(node: str) -> None:
    """The first thing that is mistyped; rcl's own line comes before it."""
    arguments = ['--ros-args', '--params-file', 'no']
    done = subprocess.run(
        [sys.executable, '-m', f'perception_ros.nodes.{node}', *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1].startswith('error: ')
    assert 'perception_ros parameters' in done.stdout and 'Traceback' not in done.stdout


def test_instances_come_out_beside_the_boxes(bench: Bench, tmp_path: Path) -> None:
    detection = manifest().detection
    assert detection is not None
    masked = detection.model_copy(update={'masks': MaskInfo(height=28, width=28)})
    bench.bundle = write_real_bundle(tmp_path / 'masked', detection=masked.model_dump()).path
    bench.launch('front')
    bench.active()
    boxes = bench.listen(Detection2DArray, '/perception/front/detections')
    instances = bench.listen(Image, '/perception/front/instances')
    bench.camera('front').publish(image(1, red=(20, 30, 60, 70), blue=(80, 10, 120, 40)))
    wait_until(lambda: boxes and instances)
    indices = np.frombuffer(bytes(instances[0].data), np.uint16).reshape(96, 128)
    assert instances[0].encoding == 'mono16'
    names = [d.results[0].hypothesis.class_id for d in boxes[0].detections]
    assert names[indices[50, 40] - 1] == 'red'
    assert names[indices[25, 100] - 1] == 'blue'
    assert indices[90, 5] == 0


def test_a_damaged_bundle_is_refused(
    bench: Bench, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    damaged = write_real_bundle(tmp_path / 'damaged')
    damaged.graph_path.write_bytes(damaged.graph_path.read_bytes() + b'x')
    bench.launch('front', models__means__bundle=str(damaged.path))
    assert not bench.transition(Transition.TRANSITION_CONFIGURE)
    assert bench.state() == 'unconfigured'
    assert 'expected SHA-256' in capfd.readouterr().err


def test_the_whole_life_twice(bench: Bench, tmp_path: Path) -> None:
    """Configure to cleanup and again: nothing is left over, the summary tells what happened."""
    summary = tmp_path / 'deep' / 'summary.json'
    bench.launch('front', summary_file=str(summary))
    boxes: list[Any] = []
    bench.me.create_subscription(
        Detection2DArray, '/perception/front/detections', boxes.append, make_qos('reliable', 100)
    )
    for round_ in (1, 2):
        bench.active()
        camera = bench.camera('front')
        wait_until(lambda: bench.me.count_publishers('/perception/front/detections') == 1)
        time.sleep(0.2)  # the new publisher has yet to discover the old subscription
        camera.publish(image(round_))
        wait_until(lambda round_=round_: len(boxes) == round_)
        assert bench.transition(Transition.TRANSITION_DEACTIVATE)
        told = json.loads(summary.read_text())
        assert told['frames_received'] == {'front': 1}
        assert told['frames_inferred'] == {'means': 1}
        assert told['models'][0]['backend'] == 'fake'
        assert told['latency_ms']['max'] > 0
        assert told['latency_ms_by_model']['means'] == told['latency_ms']
        assert told['resources']['process']['cpu_cores'] > 0
        assert bench.transition(Transition.TRANSITION_CLEANUP)
        bench.me.destroy_publisher(camera)
    assert bench.state() == 'unconfigured'


def test_latency_and_diagnostics_are_published(bench: Bench) -> None:
    bench.launch('front', 'left')
    bench.active()
    bench.listen(Detection2DArray, '/perception/front/detections')
    latency = bench.listen(DiagnosticArray, '/perception/latency')
    diagnostics = bench.listen(DiagnosticArray, '/diagnostics')
    camera = bench.camera('front')
    for n in range(30):
        camera.publish(image(n + 1))
        time.sleep(0.05)
    names = {status.name for message in latency for status in message.status}
    assert {'front/synchronize', 'front/infer', 'front/total'} <= names
    values = {
        kv.key: kv.value
        for message in latency
        for status in message.status
        if status.name == 'front/total'
        for kv in status.values
    }
    assert set(values) == {'p50_ms', 'p95_ms', 'p99_ms', 'max_ms', 'count'}
    silent = [
        status
        for message in diagnostics
        for status in message.status
        if status.name.endswith('camera left') and status.level == b'\x02'
    ]
    assert silent, 'a silent camera is an error that a planner can see'
    assert 'no frames: nobody publishes /left/image_raw' in silent[0].message
    told = {
        status.name.removeprefix('perception/perception_node: '):
        {kv.key: kv.value for kv in status.values}
        for message in diagnostics
        for status in message.status
        if status.values
    }
    assert float(told['camera front']['infer_p99_ms']) > 0, 'by stage, beside what was dropped'
    assert float(told['process']['memory_mb']) > 10
    assert 'cpu_cores_by_thread/health' in told['process']
    assert float(told['machine']['memory_mb']) > float(told['process']['memory_mb'])


def test_frames_that_are_late_are_a_warning(bench: Bench) -> None:
    """A camera most of whose frames make no deadline is not in order."""
    bench.launch('front', models__means__fake_duration_ms=50.0, models__means__deadline_ms=20.0)
    bench.active()
    bench.listen(Detection2DArray, '/perception/front/detections')
    diagnostics = bench.listen(DiagnosticArray, '/diagnostics')
    camera = bench.camera('front')
    for n in range(30):
        camera.publish(image(n + 1))
        time.sleep(0.05)
    told = {
        status.message: status.level
        for message in diagnostics
        for status in message.status
        if status.name.endswith('camera front')
    }
    assert any('are late' in text and level == b'\x01' for text, level in told.items())


def test_several_models_have_a_latency_each(bench: Bench) -> None:
    """A slow one beside a fast one would be lost in the camera's."""
    bench.launch(
        'front', model_names=['means', 'other'], models__other__backend='fake',
        models__other__bundle=str(bench.bundle),
    )
    bench.active()
    for model in ('means', 'other'):
        bench.listen(Detection2DArray, f'/perception/front/{model}/detections')
    latency = bench.listen(DiagnosticArray, '/perception/latency')
    camera = bench.camera('front')
    for n in range(25):
        camera.publish(image(n + 1))
        time.sleep(0.05)
    names = {status.name for message in latency for status in message.status}
    assert {'front/total', 'model means/total', 'model other/total'} <= names


def test_a_trace_has_what_the_node_did(bench: Bench, tmp_path: Path) -> None:
    """From the thread that takes messages to the one that publishes; whole once it is closed."""
    path = tmp_path / 'trace.json'
    bench.launch('front', trace_file=str(path))
    bench.active()
    boxes = bench.listen(Detection2DArray, '/perception/front/detections')
    camera = bench.camera('front')
    time.sleep(0.2)  # the publisher has yet to discover the subscription
    camera.publish(image(1))
    wait_until(lambda: boxes)
    assert bench.transition(Transition.TRANSITION_DEACTIVATE)
    assert bench.transition(Transition.TRANSITION_CLEANUP)
    told = json.loads(path.read_text())
    names = {event['name'] for event in told['traceEvents']}
    assert {'receive', 'match', 'prepare', 'restore', 'publish', 'front means'} <= names
    assert told['otherData']['gil_wait_ms']['max'] >= 0
    assert told['otherData']['events_left_out'] == 0


def test_a_topic_of_another_type_is_told_not_silent(bench: Bench) -> None:
    """A driver of compressed images on the topic of raw ones: DDS says nothing of it."""
    bench.launch('front')
    bench.active()
    diagnostics = bench.listen(DiagnosticArray, '/diagnostics')
    bench.me.create_publisher(CompressedImage, '/front/image_raw', make_qos('reliable', 10))
    expected = (
        'no frames: /front/image_raw carries sensor_msgs/msg/CompressedImage; expected '
        'sensor_msgs/msg/Image. Set cameras.front.transport'
    )
    wait_until(
        lambda: any(
            status.message.startswith(expected)
            for message in diagnostics
            for status in message.status
        )
    )


def test_a_qos_mismatch_is_told_not_silent(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    bench.launch('front', cameras__front__reliability='reliable')
    bench.active()
    bench.camera('front', reliability='best_effort')
    told = ''
    deadline = time.monotonic() + 10
    while 'QoS mismatch' not in told and time.monotonic() < deadline:
        time.sleep(0.1)
        told += capfd.readouterr().err
    assert 'Set cameras.front.reliability to best_effort' in told
