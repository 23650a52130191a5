"""A bag through DDS, at the pace of the vehicle, against the running node.

`run.play_realtime` is the whole of it. `node` starts the node or finds it, `player` publishes the
bag to it, and `listener` takes what comes of it. `account` enters the words of all three into
`ledger`, which knows no ROS: each frame that was published is inferred, or dropped for a reason.
`recorder` writes tables and results, and `figures` and `usage` say what it comes to.
"""
