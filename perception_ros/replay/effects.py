"""What each fault on purpose must cause, and whether it has, in a run that is finished."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from perception_ros.bags.bag import END_OF_TIME_NS
from perception_ros.core.config import load_config, PerceptionConfig
from perception_ros.core.synchronizer import JUMP_RUN
from perception_ros.faults.inject import Span
from perception_ros.faults.kinds import (
    AnyFault,
    Blind,
    Corrupt,
    Darken,
    Delay,
    Drop,
    Duplicate,
    Fault,
    Freeze,
    Jitter,
    Jump,
    LoseCamera,
    LoseLidar,
    Reorder,
    Skew,
)
from perception_ros.faults.plan import FaultPlan
from perception_ros.faults.when import When
from perception_ros.replay.aftermath import Aftermath, Figures
from perception_ros.replay.parts import RunFolder

STEP_LOSS = JUMP_RUN + 2
"""Most frames of a camera that a clock costs which steps back: those in a row that make the
synchroniser believe it, and those that have the very stamps of the last ones, which may still wait
for their set."""


def measure(folder: Path) -> list[dict[str, Any]]:
    """Return each fault of a finished run: what it must cause and has caused, ready for JSON.

    :raises ReplayError: it is no run.
    """
    about = RunFolder(folder).read_about()
    if not about.get('faults'):
        return []
    plan = FaultPlan.model_validate({'faults': about['faults']})
    config = load_config(about['config'])
    bag, end_s = about['bag'], about['end_s']
    end_ns = END_OF_TIME_NS if end_s is None else bag['start_ns'] + round(end_s * 1e9)
    aftermath = Aftermath(
        folder, plan, config, Span(bag['start_ns'], bag['end_ns']), end_ns,
        is_realtime=bool(about.get('realtime')),
    )
    return [_effect(fault, config, aftermath) for fault in plan.faults]


def _effect(fault: AnyFault, config: PerceptionConfig, aftermath: Aftermath) -> dict[str, Any]:
    touches, figures = aftermath.touches(fault), aftermath.figures(fault)
    if isinstance(fault, Freeze):
        figures.differ = aftermath.differing(fault)
    is_measured = figures.removed + figures.changed + figures.added > 0
    return {
        'name': fault.name,
        'kind': fault.kind,
        'cameras': sorted({touch.camera for touch in touches} - {''}),
        'topics': sorted({touch.topic for touch in touches}),
        'window': {key: getattr(fault, key) for key in When.model_fields if key != 'name'},
        'settings': {
            key: getattr(fault, key) for key in type(fault).model_fields
            if key not in Fault.model_fields and key != 'kind'
        },
        'messages': len(touches),
        'expected': _expected(fault, config),
        'measured': asdict(figures),
        'is_met': _is_met(fault, figures, aftermath.times(fault)) if is_measured else None,
    }


def _expected(fault: AnyFault, config: PerceptionConfig) -> str:
    """Say what a fault must cause. `_is_met` is the same in figures."""
    settings = config.synchronizer
    match fault:
        case LoseLidar():
            return 'the cameras do not notice: no frame is lost'
        case Drop() | LoseCamera() if settings.policy != 'deadline':
            return (
                'none of these frames comes, and those of the others at their time are unmatched: '
                f'the policy {settings.policy} demands complete sets'
            )
        case Drop() | LoseCamera():
            return (
                'none of these frames comes; sets of their time say that the camera is missing, '
                'and no frame of the others is lost'
            )
        case Delay() | Jitter():
            return (
                'each frame is looked at: in its set where that still waits for it '
                f'({settings.max_wait_ms:g} ms), else in one of its own'
            )
        case Duplicate():
            return (
                'each picture is looked at once: the second is dropped as duplicate, or as '
                'out_of_order where a newer one has left'
            )
        case Reorder():
            return (
                'each frame is looked at, or dropped as out_of_order where one that overtook it '
                'has left; no other is lost'
            )
        case Freeze():
            return 'each frame is looked at, and what is found is that of the picture that stays'
        case Corrupt(how='bytes'):
            return (
                'each frame is refused as invalid or undecodable, or looked at where the damage '
                'does not show; no other is lost'
            )
        case Corrupt():
            return 'each frame is refused as invalid or undecodable; no other is lost'
        case Darken() | Blind():
            return 'each frame is looked at, whatever is found in it; none is lost'
        case Skew():
            return (
                'each frame is looked at, in a set of its own where its stamp is more than '
                f'{settings.tolerance_ms:g} ms from the others; at most {STEP_LOSS} are lost each '
                'time that the clock steps back'
            )
        case Jump():
            return (
                f'each frame is looked at; of each camera at most {STEP_LOSS} are lost each time '
                'that the time jumps back'
            )


def _is_met(fault: AnyFault, found: Figures, times: int) -> bool:
    """Say whether a fault has caused what it must and nothing else.

    :param times: how often it has struck, summed over cameras.
    """
    dropped = found.refused + found.out_of_order + found.duplicate
    harm = found.lost + found.vanished + found.others_lost
    match fault:
        case Drop() | LoseCamera() | LoseLidar():
            is_noticed = found.noticed > 0 or not found.noticeable
            return is_noticed and found.inferred + dropped + harm == 0
        case Duplicate():
            return found.refused + harm == 0 and dropped >= found.added
        case Reorder():
            return found.refused + found.duplicate + harm == 0
        case Freeze():
            return dropped + harm + found.differ == 0
        case Corrupt(how='bytes'):
            return found.out_of_order + found.duplicate + harm == 0
        case Corrupt():
            return found.inferred + harm == 0 and dropped == found.refused >= found.changed
        case Skew() | Jump():
            return found.refused + found.lost + found.vanished == 0 and (
                found.out_of_order + found.duplicate + found.others_lost <= STEP_LOSS * times
            )
        case Delay() | Jitter() | Darken() | Blind():
            return dropped + harm == 0
