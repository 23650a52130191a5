"""The builder's progress monitor, over `Phases`."""

from __future__ import annotations

from collections.abc import Callable
import threading
from typing import cast, TYPE_CHECKING

from perception_ros.backends.tensorrt.library import Library
from perception_ros.backends.tensorrt.progress import Phases, Progress

if TYPE_CHECKING:
    import tensorrt as trt


def progress_monitor(
    progress: Progress, library: Library
) -> tuple[trt.IProgressMonitor, list[BaseException]]:
    """Return a monitor for the builder, and the list that gets what was raised within it.

    Nothing may be raised through the builder, Ctrl-C least of all: the build is cancelled, and
    whoever started it raises what the list has.
    """
    phases = Phases()
    lock = threading.Lock()
    raised: list[BaseException] = []

    def tell(change: Callable[[], None]) -> bool:
        """Take a change over and pass it on; return whether the build may go on."""
        try:
            with lock:
                change()
                phase, share = phases.now, phases.share
            progress(phase, share)
        except BaseException as error:
            raised.append(error)
        return not raised

    class Monitor(library.module.IProgressMonitor):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            library.module.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            tell(lambda: phases.start(phase_name, parent_phase, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            return tell(lambda: phases.step(phase_name, step))

        def phase_finish(self, phase_name: str) -> None:
            tell(lambda: phases.finish(phase_name))

    return cast('trt.IProgressMonitor', Monitor()), raised
