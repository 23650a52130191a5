"""The ROS 2 nodes: each converts, calls the core, and publishes."""
