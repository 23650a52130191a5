"""Start the perception node.

    ros2 launch perception_ros perception.launch.py config:=/path/to/my_cameras.yaml

`config` is a parameter file; config/perception.yaml is the one to start from. The other arguments
override what it says. With autostart the node configures and activates itself; without it wait for
somebody else to do so: ros2 lifecycle set /perception/perception_node configure.

With build_only it builds the engines that the config names, stores them, and ends: its exit status
is 0 if each could be built and opened on this machine.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
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
    'autostart': ('true', 'Whether the node configures and activates itself'),
    'build_only': ('false', 'Build the engines that the config names, and end with a status'),
    'use_sim_time': ('false', 'Whether time comes from /clock, as when a bag is played'),
    'log_level': ('info', 'debug, info, warn or error'),
}


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
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
