"""Build description: one source for colcon in a ROS 2 workspace and for pip without ROS."""

from glob import glob
import os
from pathlib import Path

from setuptools import find_packages, setup

# colcon --symlink-install runs a link to this file, in a folder that lacks most of the others.
HERE = Path(__file__).resolve().parent
PACKAGE = 'perception_ros'
SHARE = f'share/{PACKAGE}'


def requirements(name):
    """Read one list of requirements; comments and blank lines do not count."""
    lines = (HERE / 'requirements' / name).read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith(('#', '-'))]


def data_files():
    """List what goes to the share folder; a folder that is empty or missing adds nothing."""
    files = [
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (SHARE, ['package.xml']),
        (f'{SHARE}/launch', sorted(glob('launch/*.py'))),
    ]
    for top in ('config', 'engines'):
        for folder, _, names in sorted(os.walk(top)):
            # Sidecars of an editor or of an import are no part of the package.
            kept = sorted(name for name in names if not name.startswith('.'))
            files.append((f'{SHARE}/{folder}', [os.path.join(folder, name) for name in kept]))
    return [(target, sources) for target, sources in files if sources]


def options():
    """
    Let the executables find the packages of the virtual environment that is active.

    Where colcon itself belongs to the system, it runs this file with the system's Python, and the
    executables would name that one, which cannot see what the environment holds.
    """
    python = os.path.join(os.environ.get('VIRTUAL_ENV', ''), 'bin', 'python3')
    if os.path.isabs(python) and os.access(python, os.X_OK):
        return {'build_scripts': {'executable': python}}
    return {}


setup(
    name=PACKAGE,
    version='0.1.0',
    description='Camera perception for ROS 2: many cameras, one engine call, answers in pixels.',
    author='perception_ros maintainers',
    author_email='maintainers@perception-ros.invalid',
    maintainer='perception_ros maintainers',
    maintainer_email='maintainers@perception-ros.invalid',
    license='Apache-2.0',
    keywords=['ROS'],
    python_requires='>=3.10',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={
        PACKAGE: ['py.typed', 'backends/cuda/*.cu', *(
            f'{folder}/*.{suffix}' for folder in ('pages', 'replay/report', 'calibration')
            for suffix in ('css', 'j2')
        )],
    },
    data_files=data_files(),
    zip_safe=False,
    # cv2 has several names on the registry and comes with a ROS 2 distribution: hence an extra.
    install_requires=requirements('runtime.in'),
    extras_require={
        'bags': requirements('bags.in'),
        'cuda': requirements('cuda.in'),
        'evaluation': requirements('evaluation.in'),
        'nvml': requirements('nvml.in'),
        'openvino': requirements('openvino.in'),
        'ray': requirements('bags.in') + requirements('evaluation.in') + requirements('ray.in')
        + requirements('replay.in'),
        'replay': requirements('bags.in') + requirements('evaluation.in')
        + requirements('replay.in'),
        'tensorrt_rtx': requirements('tensorrt_rtx.in'),
        'tracking': requirements('tracking.in'),
        'triton': requirements('triton.in'),
        'opencv': ['opencv-python-headless>=4.5'],
        'test': requirements('test.in'),
    },
    entry_points={
        'console_scripts': [
            'perception_ros = perception_ros.cli.main:main',
            'perception_node = perception_ros.nodes.perception_node:main',
            'fusion_node = perception_ros.nodes.fusion_node:main',
            'player_node = perception_ros.nodes.player_node:main',
        ],
    },
    options=options(),
)
