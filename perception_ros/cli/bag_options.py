"""Which bag a command reads, and which span of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BAG_HELP = 'A .mcap, .db3 or .bag, one of the first two in .zstd, or a folder of such files.'
Source = Annotated[Path, typer.Argument(help=BAG_HELP, metavar='BAG')]
Start = Annotated[float | None, typer.Option(min=0, help='Seconds after the first message.')]
End = Annotated[
    float | None, typer.Option(min=0, help='Seconds after the first message, not included.')
]
