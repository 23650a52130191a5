"""`perception_ros bag`: look into bags, cut them, and make labelled ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
import typer

from perception_ros.bags import need_library
from perception_ros.cli.answers import give
from perception_ros.cli.bag_options import End, Source, Start
from perception_ros.cli.faults import Faults
from perception_ros.cli.main import split_names, warn
from perception_ros.cli.progress import progress
from perception_ros.core.errors import BagError

need_library()

from perception_ros.bags.bag import Bag, Message, open_bag  # noqa: E402 - needs the library
from perception_ros.bags.cut import cut as cut_bag  # noqa: E402
from perception_ros.bags.frames import image_topics  # noqa: E402
from perception_ros.bags.survey import survey, TopicSurvey  # noqa: E402
from perception_ros.faults.inject import Injector, Touch  # noqa: E402
from perception_ros.faults.plan import read_faults  # noqa: E402
from perception_ros.recording import KINDS, record, RecordOptions  # noqa: E402

bag = typer.Typer(no_args_is_help=True, help='Look into bags, cut them, and make labelled ones.')

_MOST_FRAMES = 3
OUTPUT_HELP = 'What to write: a .mcap or a .db3; another name becomes a folder.'
Output = Annotated[Path, typer.Argument(help=OUTPUT_HELP, metavar='OUTPUT')]
Overwrite = Annotated[bool, typer.Option('--overwrite', help='Replace what is there.')]


@bag.command()
def info(
    path: Source,
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Write it to this file; -: to stdout.')
    ] = None,
) -> None:
    """Say what is in a bag and what is wrong with it, after reading all of it once.

    A damaged bag is read as far as it goes. The exit status is 1 if something in it is damaged.
    """
    with open_bag(path) as opened:
        topics = survey(opened, _bar(opened, 'reading'))
        about = _about(opened, topics)
    give(about, json_file, lambda: _print(Console(), about, topics))
    _end(about['problems'])


@bag.command()
def cut(
    path: Source,
    output: Output,
    start: Start = None,
    end: End = None,
    topics: Annotated[str, typer.Option(help='Topics to take, with commas; default: all.')] = '',
    exclude: Annotated[str, typer.Option(help='Topics to leave out, with commas.')] = '',
    faults: Faults = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a part of a bag as a bag of ROS 2: a span of time, some topics, or both.

    Latched messages from before the span, such as /tf_static, are put at its start. With faults
    any player shows them. The exit status is 1 if something was damaged and is left out.
    """
    plan = read_faults(faults) if faults else None
    if start is not None and end is not None and end <= start:
        raise BagError(f'expected an end after the start of {start:g} s, got {end:g} s')
    if output.resolve() == path.resolve():
        raise BagError(f'{output} is the bag that is read; name another place')
    touched: Counter[str] = Counter()

    def record(touch: Touch) -> None:
        touched[touch.fault] += 1

    with open_bag(path) as opened:
        read = None
        if plan:
            injector = Injector(plan, opened, image_topics(opened))
            read = partial(injector.messages, record=record)
        kept = set(split_names(topics) or opened.topics) - set(split_names(exclude))
        counts = cut_bag(
            opened, output, topics=kept, overwrite=overwrite, read=read,
            start_ns=None if start is None else opened.start_ns + round(start * 1e9),
            end_ns=None if end is None else opened.start_ns + round(end * 1e9),
            track=_bar(opened, 'cutting'),
        )
        problems = list(opened.problems)
    _print_counts(Console(), output, counts)
    for fault in plan.faults if plan else ():
        typer.echo(f'{fault.name}: {touched[fault.name]} messages')
    _end(problems)


@bag.command()
def make(
    data: Annotated[
        str,
        typer.Argument(
            metavar='KIND:PATH[@SPLIT]',
            help=f'What to record: {", ".join(KINDS)}. SPLIT is a folder inside, such as val.',
        ),
    ],
    output: Output,
    camera: Annotated[
        str, typer.Option(help='Name of the camera, where the data have one that is not named.')
    ] = 'camera',
    rate: Annotated[
        float,
        typer.Option(min=0, max=1000, help='Images a second; 0: the own one, or 10 (CamVid 15).'),
    ] = 0.0,
    start: Annotated[
        float, typer.Option(min=0, help='Stamp of the first image, in s, where data have no time.')
    ] = 1.0,
    transport: Annotated[
        str, typer.Option(help='compressed: files as they are; raw: pixels.')
    ] = 'compressed',
    quality: Annotated[int, typer.Option(min=1, max=100, help='Of JPEGs of videos.')] = 90,
    fov: Annotated[
        float,
        typer.Option(
            min=0, max=179, help='Horizontal field of view in degrees, for the CameraInfo of '
            'cameras that are not calibrated; 0: say so.'
        ),
    ] = 0.0,
    head: Annotated[str, typer.Option(help='Semantic head that label maps are for.')] = 'scene',
    frames: Annotated[int, typer.Option(min=0, help='Most images of a camera; 0: all.')] = 0,
    labels: Annotated[
        str, typer.Option(help='Class names, with commas, of YOLO text that names none.')
    ] = '',
    overwrite: Overwrite = False,
) -> None:
    """Turn pictures, a video or labelled data into a bag, with all that is known of them.

    The same data give the same bytes. docs/bags.md has the topics and frames.
    """
    options = RecordOptions(
        camera=camera, rate_hz=rate, start_ns=round(start * 1e9), transport=transport,
        jpeg_quality=quality, horizontal_fov_deg=fov, head=head, frames=frames,
        labels=split_names(labels),
    )
    counts = record(data, output, options, overwrite=overwrite, track=progress)
    _print_counts(Console(), output, counts)


def _bar(opened: Bag, what: str) -> Callable[[Iterable[Message]], Iterator[Message]]:
    """Return what shows on a terminal how far in time the messages have come."""
    console = Console(stderr=True)

    def through(messages: Iterable[Message]) -> Iterator[Message]:
        if not console.is_terminal:
            yield from messages
            return
        with Progress(console=console, transient=True) as progress:
            span_s = (opened.end_ns - opened.start_ns) / 1e9
            task = progress.add_task(what, total=max(span_s, 1e-9))
            for message in messages:
                progress.update(task, completed=(message.time_ns - opened.start_ns) / 1e9)
                yield message

    return through


def _about(opened: Bag, topics: list[TopicSurvey]) -> dict[str, Any]:
    return {
        'bag': str(opened.path),
        'files': [path.name for path in opened.files],
        'bytes': sum(path.stat().st_size for path in opened.files),
        'compression': opened.compression,
        'start_ns': opened.start_ns,
        'end_ns': opened.end_ns,
        'messages': sum(topic.count for topic in topics),
        'topics': [topic.as_json() for topic in topics],
        'problems': list(opened.problems),
    }


def _print(console: Console, about: dict[str, Any], topics: list[TopicSurvey]) -> None:
    duration_s = (about['end_ns'] - about['start_ns']) / 1e9
    files = f'{len(about["files"])} files, ' if len(about['files']) > 1 else ''
    console.print(
        f'{about["bag"]}: {files}{about["bytes"] / 1e6:.1f} MB'
        f'{", " + about["compression"] if about["compression"] else ""}, '
        f'{about["messages"]} messages in {duration_s:.3f} s from {about["start_ns"] / 1e9:.3f} s',
        style='bold', highlight=False, soft_wrap=True, markup=False,
    )
    table = Table('topic, type and frame', box=SIMPLE_HEAD, pad_edge=False)
    table.columns[0].overflow = 'fold'
    for column in ('messages', 'Hz', 'MB'):
        table.add_column(column, justify='right')
    table.add_column('remarks', overflow='fold')
    for topic in topics:
        latched = 'latched' if topic.is_latched else ''
        said = [topic.content, latched, *topic.remarks]
        kinds = [f'  {kind}'.replace('/msg/', '/') for kind in topic.types]
        table.add_row(
            '\n'.join([topic.name, *kinds, *_frames(topic.frame_ids)]), str(topic.count),
            '-' if topic.rate_hz is None else f'{topic.rate_hz:.2f}',
            f'{topic.bytes / 1e6:.2f}', '; '.join(text for text in said if text),
        )
    console.print(table)


def _frames(frame_ids: tuple[str, ...]) -> list[str]:
    """Return a line for each frame that messages name: of an image, of points, of boxes."""
    named = [f'  in {frame}' for frame in frame_ids[:_MOST_FRAMES] if frame]
    left = len(frame_ids) - _MOST_FRAMES
    return [*named, f'  and in {left} more'] if left > 0 else named


def _print_counts(console: Console, output: Path, counts: Mapping[str, int]) -> None:
    table = Table('topic', box=SIMPLE_HEAD, pad_edge=False)
    table.columns[0].overflow = 'fold'
    table.add_column('messages', justify='right')
    for topic, count in sorted(counts.items()):
        table.add_row(topic, str(count))
    console.print(table)
    console.print(
        f'{output}: {sum(counts.values())} messages', highlight=False, soft_wrap=True,
        markup=False,
    )


def _end(problems: list[str]) -> None:
    for problem in problems:
        warn(problem)
    if problems:
        raise typer.Exit(1)
