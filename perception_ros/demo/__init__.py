"""The demonstration: player and perception node as processes of their own, over real DDS.

`run.py` is the whole of it on one screen; the other modules are its parts. Only `listener` and
`station` need rclpy.
"""
