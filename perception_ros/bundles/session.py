"""ONNX Runtime on the CPU as an import needs it: one graph, run some images at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.errors import ImportModelError

Answer = dict[str, NDArray[Any]]
"""Outputs of a graph for one image, without the batch."""


class Session:
    """A graph in ONNX Runtime, with errors that say which graph failed."""

    def __init__(self, payload: bytes, what: str) -> None:
        """Open a serialised graph; `what` names it in errors.

        :raises ImportModelError: ONNX Runtime does not take it.
        """
        import onnxruntime as ort  # here: only an import needs it, not a bundle that is opened

        self._what = what
        options = ort.SessionOptions()
        options.log_severity_level = 4  # failures come as exceptions, and are reported once
        try:
            self._session = ort.InferenceSession(
                payload, options, providers=['CPUExecutionProvider']
            )
        except Exception as error:  # onnxruntime's exceptions have no common public base
            raise ImportModelError(f'ONNX Runtime cannot open {what}: {error}') from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Answer:
        """Run once and return all outputs as they are.

        :raises ImportModelError: it fails.
        """
        try:
            outputs = self._session.run(self._outputs, dict(feeds))
        except Exception as error:
            raise ImportModelError(
                f'{self._what} fails on {_listing(feeds)}: {error}; export the model again'
            ) from error
        return {key: np.asarray(value) for key, value in zip(self._outputs, outputs, strict=True)}

    def each(self, name: str, values: NDArray[Any], batch: int) -> list[Answer]:
        """Run all `values`, `batch` at a time, and return the outputs of each.

        :raises ImportModelError: it fails at this batch size, or answers for another.
        """
        answers: list[Answer] = []
        for start in range(0, len(values), batch):
            chunk = values[start : start + batch]
            try:
                outputs = self._session.run(self._outputs, {name: chunk})
            except Exception as error:
                raise ImportModelError(
                    f'{self._what} fails at batch {len(chunk)}: {error}; export the model with a '
                    'dynamic batch'
                ) from error
            for key, value in zip(self._outputs, outputs, strict=True):
                if len(value) != len(chunk):
                    raise ImportModelError(
                        f'{self._what}: output {key!r} holds {len(value)} answers for a batch of '
                        f'{len(chunk)}; export the model with a dynamic batch'
                    )
            answers += [
                {key: value[i] for key, value in zip(self._outputs, outputs, strict=True)}
                for i in range(len(chunk))
            ]
        return answers


def _listing(feeds: Mapping[str, NDArray[Any]]) -> str:
    return ', '.join(f'{name} {value.dtype} {list(value.shape)}' for name, value in feeds.items())
