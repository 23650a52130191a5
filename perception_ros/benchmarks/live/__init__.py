"""What is measured of running nodes, and how it is told: settings, figures, tables, pictures.

No ROS in here: `perception_ros.rig` has the processes.
"""
