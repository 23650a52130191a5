"""A DDS domain of one's own, so that two runs on one machine do not hear each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import os
import random
import socket

from perception_ros.core.errors import ConfigError
from perception_ros.ros.transport import profile_environment

# DDSI-RTPS 2.3 section 9.6.1: where the first participant of a domain listens for others.
_PORT_BASE = 7400
_PORTS_A_DOMAIN = 250
_FIRST_UNICAST = 10
_DOMAINS = range(1, 102)
"""Higher domains have ports that Linux hands out to anybody."""
_LAST_DOMAIN = 232
"""Beyond it there are no ports left."""


def chosen_domain(environment: Mapping[str, str] = os.environ) -> int | None:
    """Return the domain that ROS_DOMAIN_ID names; None where it is not set.

    :raises ConfigError: it names none.
    """
    text = environment.get('ROS_DOMAIN_ID', '')
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) <= _LAST_DOMAIN):
        raise ConfigError(
            f'ROS_DOMAIN_ID: expected a number from 0 to {_LAST_DOMAIN}, got {text!r}; correct or '
            'unset it'
        )
    return int(text)


def free_domain() -> int:
    """Return a domain in which nobody on this machine takes part, in random order of search.

    Somebody else may take it a moment later; if all seem taken, it is any of them.
    """
    domains = random.sample(_DOMAINS, len(_DOMAINS))
    return next((domain for domain in domains if _is_free(domain)), domains[0])


def private_environment(domain: int, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return environment variables for processes that hear only this machine in this domain.

    Where there is room for it they exchange images in shared memory, unless `base` has a Fast DDS
    profile of its own.
    """
    environment = {**profile_environment(base), **base, 'ROS_DOMAIN_ID': str(domain)}
    if base.get('ROS_DISTRO') == 'humble':  # it knows nothing newer
        environment['ROS_LOCALHOST_ONLY'] = '1'
    else:
        environment.pop('ROS_LOCALHOST_ONLY', None)
        environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    return environment


@contextmanager
def environment_of(values: Mapping[str, str]) -> Iterator[None]:
    """Set the environment for a while: contexts read it as they are made."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _is_free(domain: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', _PORT_BASE + _PORTS_A_DOMAIN * domain + _FIRST_UNICAST))
        except OSError:
            return False
    return True
