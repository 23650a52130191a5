"""A bag through DDS, at the pace of the vehicle, against the running node.

`run.play_realtime` is the whole of it. `player` publishes the bag, `listener` takes what comes of
it, and `ledger`, which knows no ROS, holds both and the node's log against each other: each frame
that was published is inferred, or dropped for a reason.
"""
