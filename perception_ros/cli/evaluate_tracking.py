"""`perception_ros evaluate-tracking`: how well things keep their ids, with frames lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
import typer

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bundles import Bundle
from perception_ros.cli.answers import give, writable
from perception_ros.cli.progress import progress
from perception_ros.core.errors import ConfigError
from perception_ros.core.model import Model
from perception_ros.core.types import Detections, Frame
from perception_ros.evaluation.following import follow_clip, follow_traffic, Followed
from perception_ros.evaluation.linking import link
from perception_ros.evaluation.tracks import library, TrackFigures
from perception_ros.evaluation.traffic import traffic
from perception_ros.labelling.pictures import cameras_of, check, pictures

_SURE_SCORE, _LEAST_HEIGHT_PX = 0.5, 16.0
_RATE_HELP = 'Pictures a second of the clips.'


def evaluate_tracking(
    clips: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar='[CLIP]...',
            help='Videos, or folders of pictures in order, of one camera; without any a made-up '
            'street, whose truth is exact.',
        ),
    ] = None,
    lost: Annotated[str, typer.Option(help='Shares of the frames that are lost.')] = '0,0.1,0.3',
    seconds: Annotated[float, typer.Option(min=1, help='Of the street.')] = 20.0,
    seed: Annotated[int, typer.Option(help='Of the street, and of what is lost.')] = 0,
    bundle: Annotated[str, typer.Option(help='Whose boxes of a clip are followed.')] = 'roadscene',
    teacher: Annotated[
        str, typer.Option(help='Whose boxes become pseudo-labels; default: the same.')
    ] = '',
    rate_hz: Annotated[float, typer.Option(min=1, help=_RATE_HELP)] = 25.0,
    backend: Annotated[str, typer.Option(help='auto, onnxruntime, openvino ...')] = 'auto',
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Write the figures to this file; -: to stdout.')
    ] = None,
) -> None:
    """Measure MOTA, IDF1, HOTA and switches of ids, with none and with some frames lost.

    A clip has no labels: they are made of a bundle's boxes, linked with hindsight. Such figures
    say how well the tracker does without hindsight, not how well the boxes are found.
    """
    library()  # before minutes of work
    writable(json_file)
    shares = _shares(lost)
    measured: dict[str, list[Followed]] = {}
    if not clips:
        moments = traffic(seed, seconds)
        measured[f'street {seed}'] = [follow_traffic(moments, share, seed) for share in shares]
    check(clips or [])
    for clip in clips or []:
        if len(cameras := cameras_of(clip)) > 1:
            raise ConfigError(
                f'{clip}: expected pictures of one camera, got {", ".join(cameras)}; '
                'perception_ros bag cut --topics takes one out'
            )
    for clip in clips or []:
        found, threshold = _found(clip, bundle, backend)
        of_teacher = _found(clip, teacher, backend)[0] if teacher else found
        truth = link(of_teacher, rate_hz, _SURE_SCORE, _LEAST_HEIGHT_PX)
        if not any(item.is_clear.any() for item in truth):
            raise ConfigError(
                f'{clip}: expected something to be followed, surely found for half a second and '
                f'{_LEAST_HEIGHT_PX:g} px high; there is nothing of the kind in {len(found)} '
                f'pictures. Give a longer clip, or its --rate-hz'
            )
        measured[clip.name] = [
            follow_clip(found, truth, rate_hz, threshold, share, seed) for share in shares
        ]
    answers = {
        name: [item.model_dump() for item in items] for name, items in measured.items()
    }
    give(answers, json_file, lambda: _print(Console(), measured))


def _shares(text: str) -> list[float]:
    try:
        shares = [float(item) for item in text.split(',')]
    except ValueError:
        shares = [-1.0]
    if not all(0 <= share < 1 for share in shares):
        raise ConfigError(f'--lost: expected shares from 0 to below 1 such as 0,0.1, got {text!r}')
    return shares


def _found(clip: Path, bundle: str, backend: str) -> tuple[list[Detections], float]:
    """Return what a bundle finds in each picture of a clip, and its threshold.

    :raises PerceptionError: the bundle or the clip cannot be used.
    """
    opened, console = Bundle.load(bundle), Console(stderr=True)
    if opened.manifest.detection is None:
        raise ConfigError(f'{opened.manifest.name} finds no boxes: name a bundle that does')
    found = []
    with open_engine(opened, backend, EngineOptions(max_batch=1)) as engine:
        model = Model(opened.manifest.name, opened.manifest, engine)
        told = progress(pictures(clip, 1, console.print), clip.name, console=console)
        for index, picture in told:
            result, = model.infer([Frame('clip', index + 1, 1, picture.image)])
            assert result.detections is not None, 'a model with boxes in its manifest gives boxes'
            found.append(result.detections)
    return found, opened.manifest.detection.score_threshold


def _print(console: Console, measured: Mapping[str, Sequence[Followed]]) -> None:
    for name, items in measured.items():
        console.print(f'\n{name}', style='bold', highlight=False)
        in_images = [(item.lost, item.images, ()) for item in items]
        console.print(_table('in images', in_images, ()))
        if in_space := [
            (item.lost, item.space, (item.velocity_p50_m_s, item.velocity_p90_m_s))
            for item in items if item.space
        ]:
            console.print(_table('in space', in_space, ('m/s off', 'p90')))


def _table(
    title: str,
    rows: Sequence[tuple[float, TrackFigures, tuple[float | None, ...]]],
    more: Sequence[str],
) -> Table:
    table = Table(title, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in (
        'MOTA', 'IDF1', 'HOTA', 'switches', 'boxes', 'missed', 'false', *more
    ):
        table.add_column(column, justify='right')
    for lost, item, others in rows:
        figures: list[Any] = [
            *(f'{value:.3f}' for value in (item.mota, item.idf1, item.hota)), item.switches,
            item.boxes, item.missed, item.false,
            *('-' if value is None else f'{value:.2f}' for value in others),
        ]
        table.add_row(f'{lost:.0%} lost', *map(str, figures))
    return table
