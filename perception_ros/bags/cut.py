"""A part of a bag as a bag of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

from perception_ros.bags.bag import Bag, Message
from perception_ros.bags.writer import BagWriter
from perception_ros.core.errors import BagError

Read = Callable[[Collection[str], int | None, int | None], Iterator[Message]]
"""Yields messages as `Bag.messages` does, perhaps others."""


def cut(
    bag: Bag,
    target: Path,
    *,
    topics: Collection[str] | None = None,
    start_ns: int | None = None,
    end_ns: int | None = None,
    overwrite: bool = False,
    read: Read | None = None,
    track: Callable[[Iterable[Message]], Iterable[Message]] = iter,
) -> Mapping[str, int]:
    """Write the messages of some topics and of a span of time, and return how many of each topic.

    Bytes of messages stay as they are; those of ROS 1 come out as ROS 2's. What was latched before
    the start, such as `/tf_static`, is put at the start, as a late subscriber would get it.

    :param topics: None: all.
    :param start_ns: from this time of recording on,
    :param end_ns: and before this one.
    :param read: gives the messages instead of the bag, for all but what is put at the start.
    :raises BagError: the target cannot be written, or nothing is left.
    """
    wanted = set(bag.topics if topics is None else topics)
    latched = {
        name for name, topic in bag.topics.items() if topic.is_latched and name in wanted
    }
    counts: Counter[str] = Counter()
    with BagWriter(target, overwrite=overwrite) as writer:
        for name in sorted(wanted & set(bag.topics)):
            topic = bag.topics[name]
            for kind, definition in topic.definitions.items():
                writer.add_topic(
                    name, kind, is_latched=topic.is_latched, types=bag.types, definition=definition
                )

        def write(message: Message, time_ns: int) -> None:
            writer.write_cdr(message.topic, message.type, time_ns, message.data)
            counts[message.topic] += 1

        if start_ns is not None and start_ns > bag.start_ns and latched:
            for message in bag.messages(latched, None, start_ns):
                write(message, start_ns)
        before = counts.total()
        for message in track((read or bag.messages)(wanted, start_ns, end_ns)):
            write(message, message.time_ns)
        # a map without a drive is no part of one, unless it is what was asked for
        if counts.total() == before and not (before and wanted <= latched):
            raise BagError(
                f'{bag.path}: no message on these topics in this span'
                f'{" is left" if read else ""}; the bag lasts '
                f'{(bag.end_ns - bag.start_ns) / 1e9:.3f} s'
            )
    return counts
