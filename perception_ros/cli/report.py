"""`perception_ros report`: the HTML report of a replay, written anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perception_ros.replay import need_libraries

need_libraries()

from perception_ros.replay.compare import against, read_baseline  # noqa: E402
from perception_ros.replay.report.page import write_report  # noqa: E402
from perception_ros.replay.summary import read_summary  # noqa: E402


def report(
    run: Annotated[Path, typer.Argument(help='Folder that a replay has written.')],
    baseline: Annotated[
        Path | None, typer.Option(help='Folder of an earlier replay to show beside it.')
    ] = None,
    bag: Annotated[
        Path | None, typer.Option(help='What was replayed, where it lies elsewhere now.')
    ] = None,
) -> None:
    """Write report.html into the folder of a replay: whether it passed, why not, and the rest.

    Nothing is run or judged again; limits are those that the replay was held against.
    """
    summary = read_summary(run)
    before = None
    if baseline:
        before = baseline, read_baseline(baseline, run, 'run')
        summary['comparison'] = against(baseline, run, summary)
    typer.echo(write_report(run, summary, bag=bag, baseline=before))
