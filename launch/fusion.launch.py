"""Start the fusion node, beside a perception node that is already there or started with it.

    ros2 launch perception_ros fusion.launch.py config:=/path/to/my_fusion.yaml

`config` is a parameter file; config/fusion.yaml is the one to start from. The other arguments
override what it says. Include perception.launch.py first: the profile of Fast DDS that it sets is
this node's too.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode

SHARE = Path(get_package_share_directory('perception_ros'))

ARGUMENTS = {
    'config': (str(SHARE / 'config' / 'fusion.yaml'), 'Parameter file of the node'),
    'namespace': ('perception', 'Namespace of the node and of its topics'),
    'cameras': ('', 'Names of the cameras, with commas; empty: as in the config'),
    'lidar_topic': ('', "Topic of the LiDAR's PointCloud2; empty: as in the config"),
    'calibration_file': ('', 'Where sensors are, for what nobody publishes; empty: as in config'),
    'interfaces': ('', 'vision_msgs, autoware or both, with commas; empty: as in the config'),
    'autostart': ('true', 'Whether the node configures and activates itself'),
    'use_sim_time': ('false', 'Whether time comes from /clock, as when a bag is played'),
    'log_level': ('info', 'debug, info, warn or error'),
}


def start(context: LaunchContext) -> list[LifecycleNode]:
    """Return the node, once the arguments are known."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    overrides = {
        'autostart': given['autostart'].lower() == 'true',
        'use_sim_time': given['use_sim_time'].lower() == 'true',
    }
    if given['cameras']:
        overrides['camera_names'] = given['cameras'].split(',')
    if given['interfaces']:
        overrides['interfaces'] = given['interfaces'].split(',')
    if given['lidar_topic']:
        overrides['lidar.topic'] = given['lidar_topic']
    if given['calibration_file']:
        overrides['calibration_file'] = given['calibration_file']
    return [
        LifecycleNode(
            package='perception_ros',
            executable='fusion_node',
            name='fusion_node',
            namespace=given['namespace'],
            parameters=[given['config'], overrides],
            arguments=['--ros-args', '--log-level', given['log_level']],
            output='screen',
            emulate_tty=True,
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the node."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
