"""Start the perception node.

    ros2 launch perception_ros perception.launch.py config:=/path/to/my_cameras.yaml

`config` is a parameter file; config/perception.yaml is the one to start from. The other arguments
override what it says. With autostart the node configures and activates itself; without it wait for
somebody else to do so: ros2 lifecycle set /perception/perception_node configure.

With build_only it builds the engines that the config names, stores them, and ends: its exit status
is 0 if each could be built and opened on this machine.
"""

from pathlib import Path
import shutil
from xml.etree import ElementTree

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    LogInfo,
    OpaqueFunction,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode

SHARE = Path(get_package_share_directory('perception_ros'))

ARGUMENTS = {
    'config': (str(SHARE / 'config' / 'perception.yaml'), 'Parameter file of the node'),
    'namespace': ('perception', 'Namespace of the node and of its topics'),
    'cameras': ('', 'Names of the cameras, with commas; empty: as in the config'),
    'backend': (
        '',
        'auto, tensorrt, tensorrt_rtx, onnxruntime, openvino, triton or fake; empty: as in the '
        'config',
    ),
    'interfaces': (
        '',
        'For whom results are published, with commas: vision_msgs, autoware; empty: as in the '
        'config',
    ),
    'autostart': ('true', 'Whether the node configures and activates itself'),
    'build_only': ('false', 'Build the engines that the config names, and end with a status'),
    'use_sim_time': ('false', 'Whether time comes from /clock, as when a bag is played'),
    'transport_profile': (
        str(SHARE / 'config' / 'fastdds.xml'),
        'Profile of Fast DDS for all that is started from here on, unless the environment names '
        'one; none: as the environment has it',
    ),
    'log_level': ('info', 'debug, info, warn or error'),
}


PROFILE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')


def set_transport(context: LaunchContext) -> list[SetEnvironmentVariable | LogInfo]:
    """Give images room in shared memory, where Fast DDS is used and the user has not decided."""
    profile = LaunchConfiguration('transport_profile').perform(context)
    environment = context.environment
    middleware = environment.get('RMW_IMPLEMENTATION') or 'rmw_fastrtps_cpp'
    decided = any(environment.get(name) for name in PROFILE_VARIABLES)
    if decided or profile == 'none' or 'fastrtps' not in middleware:
        return []
    if problem := no_room(profile):
        return [LogInfo(msg=f'large images will travel slowly: {problem}')]
    variable = PROFILE_VARIABLES[environment.get('ROS_DISTRO') == 'humble']
    return [SetEnvironmentVariable(variable, profile)]


def no_room(profile: str) -> str:
    """Say why the node and one process more cannot have the shared memory that is promised."""
    try:
        elements = ElementTree.parse(profile).iter()
        sizes = [int(e.text) for e in elements if e.tag.endswith('}segment_size')]
        free = shutil.disk_usage('/dev/shm').free
    except (OSError, ValueError, ElementTree.ParseError) as error:
        return f'{profile}: {error}'
    needed = 2 * max(sizes, default=0)
    if free >= needed:
        return ''
    return f'/dev/shm has {free >> 20} MiB free, and {needed >> 20} are needed'


def start(context: LaunchContext) -> list[LifecycleNode]:
    """Return the node, once the arguments are known."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    overrides = {
        'autostart': given['autostart'].lower() == 'true',
        'build_only': given['build_only'].lower() == 'true',
        'use_sim_time': given['use_sim_time'].lower() == 'true',
    }
    if given['cameras']:
        overrides['camera_names'] = given['cameras'].split(',')
    if given['interfaces']:
        overrides['interfaces'] = given['interfaces'].split(',')
    if given['backend']:
        overrides['backend'] = given['backend']
    return [
        LifecycleNode(
            package='perception_ros',
            executable='perception_node',
            name='perception_node',
            namespace=given['namespace'],
            parameters=[given['config'], overrides],
            arguments=['--ros-args', '--log-level', given['log_level']],
            output='screen',
            emulate_tty=True,
            on_exit=end if overrides['build_only'] else None,
        )
    ]


def end(event: ProcessExited, context: LaunchContext) -> list[Shutdown]:
    """End as the node did: nothing but an exception gives `ros2 launch` an exit status."""
    if event.returncode:
        raise RuntimeError('not all engines could be built: see what the node says above')
    return [Shutdown()]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the node."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    steps = [OpaqueFunction(function=step) for step in (set_transport, start)]
    return LaunchDescription([*arguments, *steps])
