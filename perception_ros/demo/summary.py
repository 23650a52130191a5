"""`summary.json`: what the player sent, what the node counted, and what came out, side by side."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
import os
import platform
from typing import Any

from perception_ros.core.machine import cpu_name
from perception_ros.demo.harvest import Harvest
from perception_ros.demo.references import DETECTOR

COMPARED_CLASS = 'car'
COMPARED_IOU = 0.5

_PACKAGES = ('perception_ros', 'numpy', 'onnxruntime', 'ros-rclpy')


def summarise(
    played: dict[str, Any], counted: dict[str, Any], harvest: Harvest, domain: int
) -> dict[str, Any]:
    """Return the summary.

    :param played: the player's report.
    :param counted: the perception node's counters (`summary_file`).
    """
    published = {name: camera['published'] for name, camera in played['cameras'].items()}
    received = {name: counted['frames_received'].get(name, 0) for name in published}
    by_model = counted['detections']
    models = counted['models']
    return {
        'input': played['input'],
        'input_problems': played['problems'],
        'rate_hz': played['rate_hz'],
        'cameras': list(published),
        'frames_published': sum(published.values()),
        'frames_received': sum(received.values()),
        'frames_published_by_camera': published,
        'frames_received_by_camera': received,
        'frame_sets': counted['frame_sets'],
        'frames_inferred': sum(counted['frames_inferred'].values()),
        'frames_inferred_by_model': counted['frames_inferred'],
        'engine_calls': counted['engine_calls'],
        'frames_dropped': counted['frames_dropped'],
        'detections': _add_up(by_model),
        'detections_by_model': by_model,
        'comparison': _compare(harvest, [model['name'] for model in models]),
        'latency_ms': counted['latency_ms'],
        'latency_ms_by_stage': counted['latency_ms_by_stage'],
        'models': models,
        'backend': _all_of(models, 'backend'),
        'device': _all_of(models, 'device'),
        'precision': _all_of(models, 'precision'),
        'results_heard': {
            'detections': {model: len(frames) for model, frames in harvest.boxes.items()},
            'masks': dict(harvest.masks),
            'annotated_frames': len(harvest.pictures),
        },
        'hardware': {'cpu': cpu_name(), 'cores': os.cpu_count(), 'machine': platform.machine()},
        'versions': _versions(),
        'ros_domain_id': domain,
    }


def faults(summary: dict[str, Any]) -> list[str]:
    """Return why the demonstration failed; empty: it did not."""
    found = []
    if summary['frames_received_by_camera'] != summary['frames_published_by_camera']:
        found.append(
            f'the node received {summary["frames_received_by_camera"]}, but the player published '
            f'{summary["frames_published_by_camera"]}: frames were lost on the way'
        )
    if not summary['frames_inferred']:
        found.append('no frame was inferred: see frames_dropped for the reasons')
    has_detector = bool(summary['results_heard']['detections'])
    if has_detector and not sum(summary['detections'].values()):
        found.append("nothing was detected: are there objects of the model's classes to see?")
    if not summary['results_heard']['annotated_frames']:
        found.append('no annotated frame came back')
    return found


def _compare(harvest: Harvest, models: list[str]) -> dict[str, Any] | None:
    """Return how many of the reference's cars our detector finds too; None without both."""
    own = next((name for name in models if name != DETECTOR and name in harvest.boxes), None)
    if own is None or DETECTOR not in harvest.boxes:
        return None
    agreement = harvest.agreement(DETECTOR, own, COMPARED_CLASS, COMPARED_IOU)
    share = agreement.share
    return {
        'reference': DETECTOR,
        'model': own,
        'class': COMPARED_CLASS,
        'iou': COMPARED_IOU,
        'frames': agreement.frames,
        'found_by_reference': agreement.boxes,
        'of_these_found_by_model': agreement.found,
        'share': None if share is None else round(share, 4),
    }


def _add_up(by_model: dict[str, dict[str, int]]) -> dict[str, int]:
    """Return the detections of the first model that has any, by class.

    Models are not added up: two that see the same car would make it two cars.
    """
    return next((dict(counts) for counts in by_model.values() if counts), {})


def _all_of(models: list[dict[str, Any]], key: str) -> str:
    return ', '.join(dict.fromkeys(str(model[key]) for model in models))


def _versions() -> dict[str, str]:
    import cv2

    found = {'python': platform.python_version(), 'opencv': cv2.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    found['rmw'] = os.environ.get('RMW_IMPLEMENTATION', 'default')
    found['ros_distro'] = os.environ.get('ROS_DISTRO', 'none')
    return found
