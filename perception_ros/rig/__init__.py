"""Running nodes, measured: senders, what they send to, and a listener, each a process of its own.

`trial.py` is one turn from start to end. The process that measures is in no DDS domain itself:
only `sender`, `receiver` and `plain_node`, which it starts, need rclpy.
"""
