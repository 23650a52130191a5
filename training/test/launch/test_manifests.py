"""Launchers agree with themselves; a cluster would tell only after hours in its queue."""

from pathlib import Path
import re
from typing import Any

import yaml

LAUNCH = Path(__file__).resolve().parents[2] / 'launch'


def documents() -> dict[str, Any]:
    text = (LAUNCH / 'kubernetes.yaml').read_text()
    return {f'{d["kind"]} {d["metadata"]["name"]}': d for d in yaml.safe_load_all(text)}


def test_pods_find_each_other_and_what_they_need() -> None:
    found = documents()
    job, service = found['Job train']['spec'], found['Service train']['spec']
    pod = job['template']['spec']
    container, = pod['containers']
    words = ' '.join(container['command'] + container['args'])
    assert f'--nnodes={job["completions"]} ' in words
    assert job['completions'] == job['parallelism']
    gpus = container['resources']['limits']['nvidia.com/gpu']
    assert f'--nproc-per-node={gpus} ' in words
    assert f'--rdzv-endpoint=train-0.{pod["subdomain"]}:{service["ports"][0]["port"]} ' in words
    assert service['selector'] == {'batch.kubernetes.io/job-name': 'train'}
    volumes = {v['name']: v for v in pod['volumes']}
    assert {m['name'] for m in container['volumeMounts']} == set(volumes)
    for name, volume in volumes.items():
        if 'persistentVolumeClaim' in volume:
            claim = volume['persistentVolumeClaim']['claimName']
            assert f'PersistentVolumeClaim {claim}' in found, name
    patience = int(re.search(r'--shutdown-timeout=(\d+)', words)[1])
    assert pod['terminationGracePeriodSeconds'] > patience


def test_nobody_is_root_and_no_image_host_is_named() -> None:
    pod = documents()['Job train']['spec']['template']['spec']
    assert pod['securityContext']['runAsNonRoot']
    container, = pod['containers']
    assert '/' not in container['image']
    lines = (LAUNCH / 'Containerfile').read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith('USER')]
    assert users == [str(pod['securityContext']['runAsUser'])]
    # What comes after the last USER is done by that user.
    assert lines.index('USER 1000') < next(
        i for i, line in enumerate(lines) if 'make train-setup' in line and line.startswith('RUN'))


def test_every_launcher_gives_each_attempt_a_store_of_its_own() -> None:
    for name in ('slurm.sh', 'kubernetes.yaml'):
        assert 'TORCH_DISABLE_SHARE_RDZV_TCP_STORE' in (LAUNCH / name).read_text(), name
