"""ROS messages to core types and back; the only package beside `nodes` that imports ROS."""
