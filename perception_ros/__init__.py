"""Camera perception for ROS 2: N cameras in, detections and masks out, in the cameras' pixels."""

__version__ = '0.1.0'
