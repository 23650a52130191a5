"""Start the perception node with a player that stands in for the cameras.

    ros2 launch perception_ros demo.launch.py input:=/path/to/video_or_bag_or_folder

Look at the result, for the camera `front`:

    ros2 run rqt_image_view rqt_image_view /perception/front/overlay/compressed
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = Path(get_package_share_directory('perception_ros'))


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start both nodes; those of perception.launch.py apply too.

    That one comes first: the profile of Fast DDS that it sets is the player's too.
    """
    return LaunchDescription(
        [
            DeclareLaunchArgument('input', description='Folder, video, bag or picture to play'),
            DeclareLaunchArgument('rate', default_value='2.0', description='Frame sets a second'),
            DeclareLaunchArgument('loop', default_value='true', description='Play it for ever'),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'perception.launch.py'))
            ),
            Node(
                package='perception_ros',
                executable='player_node',
                name='player',
                parameters=[
                    {
                        # a file named 1 is a name, and no number
                        'input': ParameterValue(LaunchConfiguration('input'), value_type=str),
                        'rate_hz': ParameterValue(LaunchConfiguration('rate'), value_type=float),
                        'loop': ParameterValue(LaunchConfiguration('loop'), value_type=bool),
                    }
                ],
                output='screen',
                emulate_tty=True,
            ),
        ]
    )
