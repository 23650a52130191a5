"""The pure core: no ROS message, no engine runtime, no torch."""
