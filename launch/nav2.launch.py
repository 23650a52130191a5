"""Start the perception node and the fusion node for Nav2, whose costmaps mark what they see.

    ros2 launch perception_ros nav2.launch.py config:=my_cameras.yaml

Nav2 itself is started as ever, with the layer of config/nav2_perception.yaml in its parameters.
With `costmap:=true` a local costmap of nothing but that file is started here, to look at in RViz
before the layer goes into a robot.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory('perception_ros'))
COSTMAP = 'local_costmap'
"""Name and namespace of a costmap: those that Nav2's parameter files are written for."""


def include(name: str, config: LaunchConfiguration) -> IncludeLaunchDescription:
    """Return another launch file of ours with its parameter file."""
    source = PythonLaunchDescriptionSource(str(SHARE / 'launch' / name))
    return IncludeLaunchDescription(source, launch_arguments={'config': config}.items())


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the nodes; those of perception.launch.py apply too."""
    wanted = IfCondition(LaunchConfiguration('costmap'))
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
                'costmap', default_value='false', description='Start a costmap to look at'
            ),
            include('perception.launch.py', LaunchConfiguration('config')),
            include('fusion.launch.py', LaunchConfiguration('fusion_config')),
            Node(
                package='nav2_costmap_2d',
                executable='nav2_costmap_2d',
                name=COSTMAP,
                namespace=COSTMAP,
                parameters=[str(SHARE / 'config' / 'nav2_perception.yaml')],
                output='screen',
                condition=wanted,
            ),
            Node(
                package='nav2_lifecycle_manager',
                executable='lifecycle_manager',
                name='lifecycle_manager_perception',
                parameters=[{'autostart': True, 'node_names': [f'{COSTMAP}/{COSTMAP}']}],
                output='screen',
                condition=wanted,
            ),
        ]
    )
