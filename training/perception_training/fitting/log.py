"""What a run says while it goes: lines, numbers, a bar, and curves."""

from collections.abc import Mapping
from contextlib import suppress
import json
from pathlib import Path
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typing_extensions import Self

from perception_ros.core.files import write_text
from perception_training.errors import TrainingError

METRICS = 'metrics.jsonl'


class Log:
    """`log.txt`, `metrics.jsonl`, a progress bar on a terminal, and TensorBoard on demand."""

    def __init__(self, run_dir: Path, steps: int, tensorboard: bool, silent: bool,
                 console: Console | None = None) -> None:
        """
        Open them.

        :param silent: for all processes but the first: nothing is written or shown.
        :param console: where it is shown; None: the terminal.
        :raises TrainingError: TensorBoard is asked for and not installed.
        """
        self._dir, self._silent = run_dir, silent
        self._curves = _curves(run_dir / 'tensorboard') if tensorboard and not silent else None
        console = console or Console()
        self._bar = Progress(
            TextColumn('step'), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn(),
            TextColumn('{task.fields[said]}'), console=console,
            disable=silent or not console.is_terminal)
        self._task = self._bar.add_task('fit', total=steps, said='')

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *what: object) -> None:
        self._bar.stop()
        if self._curves is not None:
            self._curves.close()

    def say(self, text: str) -> None:
        """Add a line to `log.txt`, and show it."""
        if self._silent:
            return
        line = f'{time.strftime("%Y-%m-%dT%H:%M:%S")} {text}'
        self._show(line)
        self._append('log.txt', line)

    def at(self, step: int, said: str = '') -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=step, **({'said': said} if said else {}))

    def numbers(self, step: int, values: Mapping[str, Any]) -> None:
        """Add a line to `metrics.jsonl`; plain numbers become curves too."""
        if self._silent:
            return
        self._append(METRICS, json.dumps({'step': step, **values}))
        if self._curves is not None:
            for name, value in _flat(values):
                self._curves.add_scalar(name, value, step)

    def pictures(self, step: int, pictures: Mapping[str, NDArray[np.uint8]]) -> None:
        """Add pictures `[H, W, 3]` RGB to TensorBoard."""
        if self._curves is not None:
            for name, picture in pictures.items():
                self._curves.add_image(name, picture, step, dataformats='HWC')

    def forget_after(self, step: int) -> None:
        """Drop the numbers of steps that a resumed run does again."""
        path = self._dir / METRICS
        if self._silent or not path.exists():
            return
        kept = [entry for entry in read_numbers(self._dir) if entry['step'] <= step]
        # In one step: where there is no room, what stood there stays.
        write_text(path, ''.join(json.dumps(entry) + '\n' for entry in kept))

    def _show(self, line: str) -> None:
        self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _append(self, name: str, line: str) -> None:
        try:
            with (self._dir / name).open('a', encoding='utf-8') as file:
                file.write(line + '\n')
        except OSError as error:
            # No reason to end the run: the disk may have room again.
            self._show(f'NOT WRITTEN to {self._dir / name}: {error.strerror}')


def read_numbers(run_dir: Path) -> list[dict[str, Any]]:
    """Read `metrics.jsonl`; a line that was cut off, by a crash or a full disk, is left out."""
    entries = []
    for line in (run_dir / METRICS).read_text(encoding='utf-8').splitlines():
        with suppress(ValueError):
            entries.append(json.loads(line))
    return entries


def _curves(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError('fit.tensorboard: expected the package tensorboard; pip install '
                            'tensorboard, or set fit.tensorboard=false') from error
    return SummaryWriter(str(folder))


def _flat(values: Mapping[str, Any], prefix: str = '') -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _flat(value, f'{prefix}{name}/')
        elif isinstance(value, (int, float)):
            found.append((f'{prefix}{name}', float(value)))
    return found
