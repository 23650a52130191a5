"""Measurements that state on what they were made, side by side in one run."""
