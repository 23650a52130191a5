"""Why nothing comes from a topic, as far as it can be seen; DDS itself says nothing of it."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import QoSProfile

from perception_ros.ros.qos import explain_mismatch, incompatibilities


def why_silent(
    node: Node, topic: str, expected: str, remedy: str, requested: QoSProfile | None = None
) -> str:
    """Return what is wrong with who publishes a topic; '' if all looks well.

    :param expected: its type, such as 'sensor_msgs/msg/Image'.
    :param remedy: what to set where it carries another one.
    :param requested: the QoS that it is asked for with.
    """
    infos = node.get_publishers_info_by_topic(topic)
    if not infos:
        return f'nobody publishes {topic}'
    types = {info.topic_type for info in infos}
    if expected not in types:
        return f'{topic} carries {", ".join(sorted(types))}; expected {expected}. {remedy}'
    if requested is None:
        return ''
    offered = [(info.node_name, info.qos_profile) for info in infos]
    misfits = [(name, qos) for name, qos in offered if incompatibilities(requested, qos)]
    return explain_mismatch(topic, requested, misfits) if len(misfits) == len(offered) else ''
