"""Start the perception node, and the fusion node, as a part of Autoware's perception.

    ros2 launch perception_ros autoware.launch.py config:=my_cameras.yaml replaces:=detection

Autoware's workspace must be sourced: its message packages are needed. `replaces` says which part
of Autoware's perception is done here, so that nothing is published twice:

rois       the 2D detectors: boxes of each camera; Autoware fuses and tracks
detection  detection with its fusion: objects in metres; Autoware tracks and predicts
tracking   tracking too: objects with ids and velocities; Autoware predicts

docs/interfaces.md says what to leave out of Autoware's own launch for each.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import SetRemap

SHARE = Path(get_package_share_directory('perception_ros'))
PARTS = ('rois', 'detection', 'tracking')
OBJECTS = {
    'detection': 'object_recognition/detection/objects',
    'tracking': 'object_recognition/tracking/objects',
}
"""Topics on which only one may publish; they belong to Autoware unless that part is replaced."""


def include(name: str, **arguments: LaunchConfiguration | str) -> IncludeLaunchDescription:
    """Return another launch file of ours with these arguments."""
    source = PythonLaunchDescriptionSource(str(SHARE / 'launch' / name))
    return IncludeLaunchDescription(source, launch_arguments=arguments.items())


def start(context: LaunchContext) -> list[IncludeLaunchDescription | SetRemap]:
    """Return the nodes that the part needs, with the topics of other parts out of the way."""
    part = LaunchConfiguration('replaces').perform(context)
    if part not in PARTS:
        raise RuntimeError(f'replaces is {part!r}: expected one of {", ".join(PARTS)}')
    config, fusion_config = (
        LaunchConfiguration(name).perform(context) for name in ('config', 'fusion_config')
    )
    remaps = [
        SetRemap(topic, f'{topic}/perception_ros') for name, topic in OBJECTS.items()
        if name != part
    ]
    perception = include('perception.launch.py', config=config, interfaces='vision_msgs,autoware')
    if part == 'rois':
        return [*remaps, perception]
    fusion = include('fusion.launch.py', config=fusion_config, interfaces='vision_msgs,autoware')
    return [*remaps, perception, fusion]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the nodes; those of perception.launch.py apply too."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'config',
                default_value=str(SHARE / 'config' / 'perception.yaml'),
                description='Parameter file of the perception node',
            ),
            DeclareLaunchArgument(
                'fusion_config',
                default_value=str(SHARE / 'config' / 'fusion.yaml'),
                description='Parameter file of the fusion node',
            ),
            DeclareLaunchArgument(
                'replaces',
                default_value='detection',
                description='What of Autoware is done here: rois, detection or tracking',
            ),
            OpaqueFunction(function=start),
        ]
    )
