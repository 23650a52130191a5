"""A connection to a Triton server, which may go away and come back.

Triton speaks KServe's inference protocol (version 2) over gRPC, with extensions of its own for
shared memory, priorities and model configurations; `tritonclient` brings the messages.
"""

from __future__ import annotations

import threading
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from perception_ros.core.errors import BackendError

_CHANNEL = {
    'grpc.max_send_message_length': -1,
    'grpc.max_receive_message_length': -1,
    # By default gRPC would look for a server that went away every two minutes only.
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1000,
    'grpc.min_reconnect_backoff_ms': 1000,
}


class Connection:
    """Calls to one server; from any thread.

    :param address: host and port of its gRPC endpoint.
    :param timeout_s: longest time that a call may take.
    """

    def __init__(self, address: str, timeout_s: float) -> None:
        self.address = address
        self.losses = 0
        """How often the connection was lost; another server may be there since."""
        self._timeout_s = timeout_s
        self._is_ready = False
        self._channel = grpc.insecure_channel(address, list(_CHANNEL.items()))
        before = set(threading.enumerate())
        self._channel.subscribe(self._on_change)
        self._watchers = set(threading.enumerate()) - before
        self.stub = GRPCInferenceServiceStub(self._channel)

    def alive(self) -> Any:
        """Return the metadata of the server.

        :raises BackendError: nothing answers there that speaks its protocol.
        """
        try:
            return self.stub.ServerMetadata(
                messages.ServerMetadataRequest(), timeout=self._timeout_s
            )
        except grpc.RpcError as error:
            raise BackendError(
                f'no Triton server answers at {self.address}: {error.details()}; start one, or '
                'name yours with the parameter server'
            ) from error

    def call(self, method: Any, request: Any, timeout_s: float | None = None) -> Any:
        """Return what a method of the stub answers.

        :param timeout_s: instead of the connection's own.
        :raises BackendError: it answers with an error, too late, or not at all.
        """
        timeout_s = timeout_s or self._timeout_s
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise BackendError(
                    f'Triton at {self.address} did not answer within {timeout_s * 1000:.0f} ms; '
                    'see what keeps it, or raise server_timeout_ms'
                ) from error
            raise BackendError(f'Triton at {self.address}: {error.details()}') from error

    def close(self) -> None:
        """End the connection."""
        # The thread that gRPC watches a channel with dies of an error where the channel is closed
        # under it; without subscribers it ends by itself, within a fifth of a second.
        self._channel.unsubscribe(self._on_change)
        for watcher in self._watchers:
            watcher.join(timeout=1.0)
        self._channel.close()

    def _on_change(self, state: grpc.ChannelConnectivity) -> None:
        is_ready = state is grpc.ChannelConnectivity.READY
        if self._is_ready and not is_ready:
            self.losses += 1
        self._is_ready = is_ready
