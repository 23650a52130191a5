"""Tests of perception_ros.calibration."""
