"""What TensorRT made of a network: its engine inspector's report, in one form for all versions."""

from __future__ import annotations

import json
from typing import Any, TYPE_CHECKING

from perception_ros.backends.tensorrt.library import Library
from perception_ros.core.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt

_TENSORS = ('I/O Tensors', 'Bindings')
"""How newer and older versions call the inputs and outputs."""


def layers_of(engine: trt.ICudaEngine, library: Library) -> dict[str, Any]:
    """Return the inspector's report: 'layers' (names or objects) and 'tensors' (names).

    :raises BackendError: it is not what an inspector says.
    """
    form = library.module.LayerInformationFormat.JSON
    inspector = engine.create_engine_inspector()
    return parse(inspector.get_engine_information(form), str(library))


def parse(text: str, library: str) -> dict[str, Any]:
    """Return an inspector's JSON as `layers_of` does."""
    try:
        said = json.loads(text)
        tensors = next(said[key] for key in _TENSORS if key in said)
        return {'layers': said['Layers'], 'tensors': tensors}
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise BackendError(
            f'the engine inspector of {library} says {text[:200]!r}; expected JSON with Layers '
            f'and {" or ".join(_TENSORS)}'
        ) from error
