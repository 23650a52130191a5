"""What `perception_ros doctor` says of how images travel between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
import os
from pathlib import Path
from typing import Any

from perception_ros.ros.transport import (
    abandoned_bytes,
    profile_defect,
    profile_variable,
    running_nodes,
    SHARED_MEMORY,
    shared_memory,
    SHARED_MEMORY_BYTES,
    shipped_profile,
)


def transport(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return which profile Fast DDS reads here and in nodes that run, and what room there is."""
    variable = profile_variable(environment)
    named = environment.get(variable, '')
    shipped = shipped_profile()
    total, free = shared_memory()
    return {
        'profile_variable': variable,
        'profile': named or None,
        'profile_defect': profile_defect(Path(named)) if named else '',
        'shipped_profile': str(shipped) if shipped else None,
        'shared_memory_bytes': total,
        'shared_memory_free_bytes': free,
        'shared_memory_abandoned_bytes': abandoned_bytes(),
        'nodes': [
            {**asdict(node), 'profile_defect': profile_defect(Path(node.profile or ''))}
            for node in running_nodes()
        ],
    }


def transport_problems(state: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what is wrong with the facts of `transport` where Fast DDS is used, with advice."""
    found: list[dict[str, str]] = []

    def add(problem: str, advice: str) -> None:
        found.append({'problem': problem, 'advice': advice})

    variable, profile = state['profile_variable'], state['profile']
    shipped = state['shipped_profile'] or '<config/fastdds.xml>'
    if profile and state['profile_defect']:
        add(
            f'{variable} names {profile}, which {state["profile_defect"]}',
            f'correct or unset it; {shipped} is an example',
        )
    elif not profile:
        add(
            f'{variable} is not set: images of more than half a megabyte travel slowly. '
            'perception.launch.py sets it for the node, not for camera drivers',
            f'export {variable}={shipped}',
        )
    for node in state['nodes']:
        if node['rmw'] and 'fastrtps' not in node['rmw']:
            continue
        if node['profile'] is None:
            problem = f'runs without {variable}: its images travel slowly'
        elif node['profile_defect']:
            problem = f'was given {node["profile"]}, which {node["profile_defect"]}'
        else:
            continue
        add(
            f'the perception node that runs as process {node["pid"]} {problem}',
            'start it with perception.launch.py, or with the variable set to '
            f'{shipped}',
        )
    if state['shared_memory_free_bytes'] < SHARED_MEMORY_BYTES:
        add(
            f'{SHARED_MEMORY} has {state["shared_memory_free_bytes"] >> 20} MiB free: too little '
            'for three processes that exchange images',
            f'make it {SHARED_MEMORY_BYTES >> 20} MiB or more; a container takes --shm-size=1g',
        )
    if state['shared_memory_abandoned_bytes'] > SHARED_MEMORY_BYTES:
        add(
            f'processes that were killed have left {state["shared_memory_abandoned_bytes"] >> 20} '
            f'MiB in {SHARED_MEMORY}, which is memory that nobody has',
            'fastdds shm clean',
        )
    return found
