"""The part of a Triton server that runs models: repository, batching, priorities, warm-up.

It does what Triton's documentation says of the fields that `perception_ros triton-repository`
writes, with ONNX Runtime; every other field is refused, so that none is written that nobody reads.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
import threading
import time

from google.protobuf import text_format
import grpc
import numpy as np
import onnxruntime as ort
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup
from tritonclient.utils import triton_to_np_dtype

KNOWN = {
    'name', 'backend', 'default_model_filename', 'max_batch_size', 'version_policy', 'input',
    'output', 'instance_group', 'dynamic_batching', 'model_warmup', 'parameters', 'optimization',
}


class RefusedError(Exception):
    """An error that the client is told, with its gRPC status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(order=True)
class Waiting:
    """A request in the queue: those of lower levels first, then the oldest."""

    level: int
    arrived: float
    images: np.ndarray = field(compare=False)
    answer: Future[dict[str, np.ndarray]] = field(compare=False, default_factory=Future)


class Model:
    """A model of the repository, loaded and warm, with a thread for each instance."""

    def __init__(self, folder: Path) -> None:
        text = (folder / 'config.pbtxt').read_text(encoding='utf-8')
        self.config = text_format.Parse(text, ModelConfig())
        unknown = {item.name for item, _ in self.config.ListFields()} - KNOWN
        assert not unknown, f'this server knows nothing of {unknown}'
        assert self.config.name == folder.name
        assert self.config.version_policy.latest.num_versions == 1
        versions = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
        self.version = str(max(versions))
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(
            str(folder / self.version / self.config.default_model_filename), options
        )
        self._check()
        for group in self.config.instance_group:
            group.kind = group.kind or ModelInstanceGroup.KIND_CPU  # Triton without a GPU
        self.batches: list[int] = []
        self._queue: list[Waiting] = []
        self._changed = threading.Condition()
        self._warm_up()
        for _ in range(sum(group.count for group in self.config.instance_group)):
            threading.Thread(target=self._serve, daemon=True).start()

    def submit(self, images: np.ndarray, priority: int) -> Future[dict[str, np.ndarray]]:
        """Put a request into the queue, once it has been found good."""
        expected = self.config.input[0]
        if len(images) > self.config.max_batch_size:
            raise RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f'inference request batch-size must be <= {self.config.max_batch_size} for '
                f"'{self.config.name}'",
            )
        if list(images.shape[1:]) != list(expected.dims):
            raise RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"unexpected shape for input '{expected.name}' for model '{self.config.name}'. "
                f'Expected {[-1, *expected.dims]}, got {list(images.shape)}',
            )
        batching = self.config.dynamic_batching
        level = priority if 0 < priority <= batching.priority_levels else 0
        request = Waiting(level or batching.default_priority_level, time.monotonic(), images)
        with self._changed:
            self._queue.append(request)
            self._queue.sort()
            self._changed.notify()
        return request.answer

    def _serve(self) -> None:
        while True:
            batch = self._next_batch()
            if not batch:
                continue
            try:
                outputs = self._run(np.concatenate([request.images for request in batch]))
            except Exception as error:
                for request in batch:
                    request.answer.set_exception(
                        RefusedError(grpc.StatusCode.INTERNAL, f'onnx runtime error: {error}')
                    )
                continue
            begin = 0
            for request in batch:
                end = begin + len(request.images)
                request.answer.set_result({n: array[begin:end] for n, array in outputs.items()})
                begin = end

    def _next_batch(self) -> list[Waiting]:
        """Take requests that share a batch: the greatest, or what waits when the delay is over."""
        batching = self.config.dynamic_batching
        wanted = max(batching.preferred_batch_size, default=self.config.max_batch_size)
        with self._changed:
            self._changed.wait_for(lambda: self._queue)
            until = self._queue[0].arrived + batching.max_queue_delay_microseconds / 1e6
            self._changed.wait_for(
                lambda: sum(len(request.images) for request in self._queue) >= wanted,
                max(0.0, until - time.monotonic()),
            )
            self._refuse_late()
            batch: list[Waiting] = []
            while self._queue and (
                sum(len(request.images) for request in [*batch, self._queue[0]])
                <= self.config.max_batch_size
            ):
                batch.append(self._queue.pop(0))
            return batch

    def _refuse_late(self) -> None:
        policy = self.config.dynamic_batching.default_queue_policy
        assert policy.timeout_action == policy.REJECT
        if not policy.default_timeout_microseconds:
            return
        earliest = time.monotonic() - policy.default_timeout_microseconds / 1e6
        for request in [item for item in self._queue if item.arrived < earliest]:
            self._queue.remove(request)
            request.answer.set_exception(
                RefusedError(grpc.StatusCode.UNAVAILABLE, 'Request timeout expired')
            )

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(len(images))
        names = [output.name for output in self.config.output]
        outputs = self._session.run(names, {self.config.input[0].name: images})
        return dict(zip(names, outputs, strict=True))

    def _warm_up(self) -> None:
        for sample in self.config.model_warmup:
            (name, item), = sample.inputs.items()
            assert name == self.config.input[0].name and item.zero_data
            dtype = triton_to_np_dtype(DataType.Name(item.data_type).removeprefix('TYPE_'))
            self._run(np.zeros((sample.batch_size, *item.dims), dtype))

    def _check(self) -> None:
        """Refuse what does not fit the graph, as Triton does when it loads a model."""
        types = {'uint8': 'UINT8', 'float': 'FP32', 'int32': 'INT32'}
        for said, found in (
            (self.config.input, self._session.get_inputs()),
            (self.config.output, self._session.get_outputs()),
        ):
            graph = {
                item.name: (types[item.type[len('tensor('):-1]], item.shape[1:]) for item in found
            }
            config = {
                item.name: (
                    DataType.Name(item.data_type).removeprefix('TYPE_'), list(item.dims)
                )
                for item in said
            }
            assert config == graph, f'config.pbtxt says {config}, the graph {graph}'
