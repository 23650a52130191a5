"""Triton: a server runs the graph, on this machine or on another one.

`engine` is the backend, `server` talks to Triton and checks what it serves, `memory` is what a
server on the same machine reads and writes in place, `repository` writes what a server loads.
"""

from perception_ros.backends.triton.engine import open_bundle, probe

__all__ = ['open_bundle', 'probe']
