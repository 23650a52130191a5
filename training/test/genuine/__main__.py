"""Prints the table of docs/bundles.md: each export, and how far its bundle is from its library."""

from __future__ import annotations

from importlib.metadata import version
import logging
from pathlib import Path
import sys
import tempfile
import warnings

from genuine.case import Genuine
from genuine.cases import CASES
from genuine.measure import measure, Result

HEAD = """\
| model | made by | exporter | family | batch | boxes | side, px | score | mask | cells |
|---|---|---|---|---|---|---|---|---|---|"""


def line(name: str, case: Genuine, result: Result) -> str:
    """Return a row; of the three batch sizes the greatest differences."""
    found = list(result.by_batch.values())
    made_by = 'ours, as published' if case.library == 'ours' else (
        f'{case.library} {version(case.library)}')
    batch = 'looped' if 'image by image' in ' '.join(result.told) else 'dynamic'
    cells = [name, made_by, case.exporter, case.family, batch]
    if case.boxes:
        masks = any(row.output == 'masks' for row in result.proof.rows)
        lonely = max(item.lonely for item in found)
        cells += [
            f'{found[-1].boxes}' + (f', {lonely} unpaired' if lonely else ''),
            f'{max(item.px for item in found):.0e}', f'{max(item.score for item in found):.0e}',
            f'{max(item.mask for item in found):.0e}' if masks else '']
    else:
        cells += ['with the original' if case.half else '', '', '', '']
    cells.append(f'{max(item.cells for item in found):.3%}' if case.heads else '')
    return f'| {" | ".join(cells)} |'


def main() -> None:
    """Print all rows, or those of the models that are named."""
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    print(HEAD)
    for name in sys.argv[1:] or CASES:
        with tempfile.TemporaryDirectory() as folder:
            print(line(name, CASES[name], measure(CASES[name], Path(folder))), flush=True)


main()
