"""The running node and the replay of a bag: the same messages in, the same answers out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')

from vision_msgs.msg import Detection2DArray

from perception_ros.bags.bag import open_bag
from perception_ros.bags.messages import boxes_of
from perception_ros.replay.options import ReplayOptions
from perception_ros.replay.results import RESULTS
from perception_ros.replay.run import play
from test.builders import MS
from test.nodes.bench import Bench, wait_until
from test.replay.drawn import config, drawn_bag

pytestmark = pytest.mark.dds

CAMERAS = ('front', 'rear')

Answers = dict[tuple[str, int], tuple[Any, list[str | None], list[float]]]
"""Camera and stamp -> boxes, names and scores."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    drawn_bag(tmp_path / 'drawn.mcap', frames=4)
    config(tmp_path)
    return tmp_path


@pytest.fixture
def bench(folder: Path) -> Iterator[Bench]:
    made = Bench(folder / 'means')
    yield made
    made.close()


@pytest.mark.parametrize('backend', ['fake', 'onnxruntime'])
def test_node_and_replay_say_the_same(folder: Path, bench: Bench, backend: str) -> None:
    bench.launch(*CAMERAS, models__means__backend=backend, synchronizer__max_wait_ms=2000.0)
    bench.active()
    heard = {
        name: bench.listen(Detection2DArray, f'/perception/{name}/detections') for name in CAMERAS
    }
    publishers = {f'/{name}/image_raw': bench.camera(name) for name in CAMERAS}
    with open_bag(folder / 'drawn.mcap') as bag:
        for count, message in enumerate(bag.messages([*publishers]), 1):
            publishers[message.topic].publish(bytes(message.data))
            # one set at a time: the node drops what it is too slow for
            wait_until(lambda n=count // 2: all(len(found) >= n for found in heard.values()))
    live = {
        (name, message.header.stamp.sec * 1000 * MS + message.header.stamp.nanosec): said(message)
        for name, messages in heard.items() for message in messages
    }
    play(ReplayOptions(folder / 'drawn.mcap', folder / 'out', config(folder, backend)))
    replayed = results(folder / 'out' / RESULTS)
    assert live.keys() == replayed.keys() and len(live) == 8
    for key, (boxes, names, scores) in live.items():
        assert names == replayed[key][1] and names
        np.testing.assert_allclose(boxes, replayed[key][0], atol=0.01)
        np.testing.assert_allclose(scores, replayed[key][2], atol=1e-4)


def said(message: Any) -> tuple[Any, list[str | None], list[float]]:
    scores = [item.results[0].hypothesis.score for item in message.detections]
    return (*boxes_of(message), scores)


def results(path: Path) -> Answers:
    found = {}
    with open_bag(path) as bag:
        for name in CAMERAS:
            for message in bag.messages([f'/perception/{name}/detections']):
                decoded = bag.decode(message)
                stamp = decoded.header.stamp
                found[name, stamp.sec * 1000 * MS + stamp.nanosec] = said(decoded)
    return found
