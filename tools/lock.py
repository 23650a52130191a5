#!/usr/bin/env python3
"""
Pins every requirement of every environment, with hashes, from the registry alone.

A lock is resolved for all Pythons and platforms at once (markers tell them apart) and names no
index: whoever installs brings the registry or a mirror of it, and the hashes say what may come
from there. Pins stay as they are unless a list asks for something else or --upgrade is given.
"""

import argparse
import os
from pathlib import Path
import re
import subprocess
import sys
import venv

ROOT = Path(__file__).resolve().parents[1]
UV = 'uv==0.13.9'

ABSENT = ('--override', 'requirements/absent.txt')

# Output, oldest Python, options, inputs.
LOCKS = (
    ('requirements/standalone.lock', '3.10', ABSENT, ('requirements/standalone.in',)),
    ('requirements/distribution.lock', '3.10', ABSENT, ('requirements/distribution.in',)),
    ('requirements/demo.lock', '3.10', ('--no-deps',), ('requirements/demo.in',)),
    ('training/requirements.lock', '3.11', (*ABSENT, '--override', 'training/absent.txt'), (
        'training/requirements.in', 'training/exporters.in', 'requirements/runtime.in',
        'requirements/bags.in', 'requirements/openvino.in', 'requirements/test.in')),
)


def resolver() -> Path:
    """Return uv, from an environment of its own: nothing else needs it."""
    folder = ROOT / '.cache' / 'lock'
    uv = folder / 'bin' / 'uv'
    marker = folder / UV
    if not marker.exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / 'bin' / 'python', '-m', 'pip', 'install', '--quiet', UV],
                       check=True)
        marker.touch()
    return uv


def main() -> None:
    """Make the locks whose inputs exist."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('locks', nargs='*', help='only these files (all)')
    parser.add_argument('--upgrade', action='store_true', help='take the newest versions')
    arguments = parser.parse_args()
    uv = resolver()
    # Sources that are configured for this machine alone must not get into a lock.
    environment = {name: value for name, value in os.environ.items()
                   if name not in ('UV_FIND_LINKS', 'UV_INDEX', 'UV_EXTRA_INDEX_URL')}
    for output, python, options, inputs in LOCKS:
        if arguments.locks and output not in arguments.locks:
            continue
        if not all((ROOT / name).exists() for name in inputs):
            continue
        print(output, flush=True)
        command = [uv, 'pip', 'compile', '--quiet', '--no-config', '--universal',
                   '--python-version', python, '--generate-hashes', '--no-header',
                   '--no-annotate', '--output-file', output, *options, *inputs]
        if arguments.upgrade:
            command.append('--upgrade')
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        local = re.findall(r'^\S+==\S+\+\S+', (ROOT / output).read_text(encoding='utf-8'), re.M)
        if local:
            sys.exit(f'{output} pins builds that only this machine has: {", ".join(local)}')


if __name__ == '__main__':
    main()
