"""The page: what the template shows, made of what a run has left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from perception_ros.bundles.bundle import Bundle
from perception_ros.core.config import load_config
from perception_ros.core.errors import PerceptionError, ReplayError
from perception_ros.core.files import write_text
from perception_ros.core.overlay import Palette
from perception_ros.pages.page import render
from perception_ros.pages.plots import curves, Line
from perception_ros.pages.tables import Cell, NONE, number, share, Table, text
from perception_ros.replay.answers import Key
from perception_ros.replay.compare import CHANGES, figures
from perception_ros.replay.parts import is_run, RunFolder
from perception_ros.replay.report import pictures, times
from perception_ros.replay.report.pictures import Shot
from perception_ros.replay.report.reasons import Reason, reasons
from perception_ros.replay.verdict import LEVELS

REPORT = 'report.html'
DETAILS = 'details.json'
"""Curves and worst frames of a run, by model."""

_WORST_FIRST = 5
"""Broken limits in the first screen; the others stand below."""

_DAMAGED = (LookupError, TypeError, AttributeError, ValueError, OSError, pa.ArrowException)
"""What files raise that another version has written, or nobody."""

Json = Mapping[str, Any]


def write_report(
    folder: Path, summary: Json, *, bag: Path | None = None,
    baseline: tuple[Path, Json] | None = None,
) -> Path:
    """Write the report of a finished run into its folder, and return where it lies.

    :param bag: what was replayed; default: where it lay. Without it there are no pictures.
    :param baseline: folder and summary of the run that `summary['comparison']` is about.
    :raises PerceptionError: the run is damaged, or the page cannot be written.
    """
    try:
        page = _page(folder, summary, bag, baseline)
    except _DAMAGED as error:
        raise ReplayError(
            f'{folder}: expected what a replay of this version has written; '
            f'{type(error).__name__}: {str(error).partition(chr(10))[0]}. Replay the bag anew'
        ) from error
    try:
        write_text(folder / REPORT, page)
    except OSError as error:
        raise ReplayError(f'{folder / REPORT}: cannot be written; {error.strerror}') from error
    return folder / REPORT


def _page(
    folder: Path, summary: Json, bag: Path | None, baseline: tuple[Path, Json] | None
) -> str:
    run = RunFolder(folder)
    about = run.read_about() if is_run(folder) else None  # of several bags
    if bag and about is not None:
        # It decides about nothing in the run, but the next report wants its pictures too.
        about['bag_path'] = str(bag.resolve())
        run.write_about(about)
    place = Path((about or {}).get('bag_path', summary['bag']['name']))
    details = _read_details(folder)
    shots, why_none = _shots(folder, summary, details, about, place, baseline)
    length_ns = summary['bag']['end_ns'] - summary['bag']['start_ns']
    found = reasons(summary, baseline[1] if baseline else None)
    broken = [item for item in found if not item.is_kept]
    return render(
        'perception_ros.replay.report', 'report.html.j2', summary=summary, folder=folder.name,
        verdict=_verdict(found, broken, summary), first=broken[:_WORST_FIRST],
        more=len(broken[_WORST_FIRST:]), tiles=_tiles(summary, baseline), limits=_limits(found),
        what=_what(summary), accuracy=_accuracy(summary, details), shots=shots,
        why_none=why_none, colors=pictures.COLORS, latency=times.latency_by_camera(folder),
        latency_plots=times.latency_plots(folder, length_ns) if about else [],
        realtime=_realtime(summary), drops=_drops(summary),
        drop_plots=times.drop_plots(folder, length_ns) if about else [],
        comparison=_comparison(summary, baseline), faults=_faults(summary),
        settings=yaml.safe_dump(summary['config'], sort_keys=False, allow_unicode=True, width=96),
    )


def _read_details(folder: Path) -> dict[str, Any]:
    path = folder / DETAILS
    try:
        details = json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise ReplayError(f'{path}: expected what a replay has written; {error}') from error
    return details if isinstance(details, dict) else {}


def _verdict(found: Sequence[Reason], broken: Sequence[Reason], summary: Json) -> dict[str, str]:
    """Return what the page says first: a look, a sign, a word and a sentence."""
    if broken:
        are = 'is' if len(broken) == 1 else 'are'
        said = f'{len(broken)} of {_count(len(found), "limit")} {are} broken'
        return {'look': 'fail', 'sign': '✗', 'word': 'FAIL', 'said': said}
    if not summary['frames']['inferred']:
        return {'look': 'none', 'sign': '–', 'word': 'NOTHING REPLAYED',
                'said': 'no frame was inferred'}
    if not found:
        return {'look': 'none', 'sign': '–', 'word': 'NO VERDICT',
                'said': 'no limits were set: --limits FILE'}
    said = 'the only limit is kept' if len(found) == 1 else f'all {len(found)} limits are kept'
    return {'look': 'pass', 'sign': '✓', 'word': 'PASS', 'said': said}


def _count(count: int, what: str) -> str:
    return f'{count} {what}{"" if count == 1 else "s"}'


def _tiles(summary: Json, baseline: tuple[Path, Json] | None) -> list[tuple[str, str, str]]:
    """Return large figures: value, name, and what it was in the baseline."""
    both = figures(baseline[1], summary) if baseline else {}
    tiles = [
        (f'{summary[key]:.3f}', key, f'{both[key][0]:.3f} in the baseline' if key in both else '')
        for key in ('mAP50', 'mAP', 'mIoU') if summary.get(key) is not None
    ]
    frames = summary['frames']
    tiles.append((f'{frames["inferred"]:,}', 'frames inferred',
                  f'in {_count(summary["frame_sets"], "set")}'))
    tiles.append((f'{frames["dropped"]:,}', 'frames dropped', ', '.join(
        f'{count} {reason}' for reason, count in summary['frames_dropped'].items() if count)))
    if infer := summary['latency'].get('infer'):
        key = 'latency.infer.p50_ms'
        before = f', median {both[key][0]:.1f} ms in the baseline' if key in both else ''
        tiles.append((f'{infer["p50_ms"]:.1f}', 'ms, median of the engine',
                      f'p99 {infer["p99_ms"]:.1f} ms{before}'))
    return tiles


def _limits(found: Sequence[Reason]) -> Table | None:
    if not found:
        return None
    rows = [[
        text(item.key, 'head'), Cell(item.wanted, number=True), Cell(item.got, number=True),
        text('✓ kept', 'good') if item.is_kept else text('✗ BROKEN', 'bad'), text(item.why),
    ] for item in found]
    return Table(['limit', 'wanted', 'got', '', 'why'], rows)


def _what(summary: Json) -> Table:
    bag, machine = summary['bag'], summary['environment']
    span = [summary[key] for key in ('start_s', 'end_s')]
    rows = [
        ('bag', f'{bag["name"]}, {(bag["end_ns"] - bag["start_ns"]) / 1e9:.1f} s, '
                f'{bag["messages"]} messages'),
        ('part', '' if span == [None, None] else f'{span[0] or 0:g} s to '
                 f'{"the end" if span[1] is None else f"{span[1]:g} s"}'),
        ('cameras', ', '.join(f'{name}: {topic}' for name, topic in summary['cameras'].items())),
        *((f'model {name}', _model(name, item, summary))
          for name, item in summary['bundles'].items()),
        ('labels', ', '.join(_references(summary)) or 'of the bag'),
        ('perception_ros',
         f'{machine["perception_ros"]}, commit {machine["commit"] or "not known"}'),
        ('hardware', f'{machine["cpu"]}, {_count(machine["cores"], "core")}, '
                     f'{machine["memory_bytes"] / 2**30:.0f} GiB'
                     f'{"".join(", " + name for name in machine["gpus"])}'),
        ('versions', ', '.join([machine['python'], machine['system'], *(
            f'{name} {version}' for name, version in machine['packages'].items())])),
    ]
    return Table(['', ''], [[text(name, 'head'), text(said)] for name, said in rows if said])


def _references(summary: Json) -> list[str]:
    known = summary.get('ground_truth') or {}
    return [str(item) for item in known.get('references', [])] if isinstance(known, dict) else []


def _model(name: str, item: Json, summary: Json) -> str:
    engine = (summary.get('engines') or {}).get(name)
    runs = '' if not engine else (
        f', {engine["precision"]}, {engine["backend"]} on {engine["device"]}, batch of up to '
        f'{engine["max_batch"]}'
    )
    return f'bundle {item["name"]}{runs}, sha256 {item["sha256"]}'


def _accuracy(summary: Json, details: Json) -> list[dict[str, Any]]:
    found = []
    for model, item in summary['accuracy'].items():
        tables = []
        if item['classes']:
            tables.append(('Boxes by class', Table(
                ['class', 'true boxes', 'found', 'false', 'AP50', 'AP50-95'],
                [[text(name, 'head'), number(row['n']), number(row['found']),
                  number(row['false']), share(row['AP50']), share(row['AP'])]
                 for name, row in item['classes'].items()],
            )))
        for head, masks in item['heads'].items():
            pixels = sum(row['pixels'] for row in masks['classes'].values())
            tables.append((f'Mask {head} by class', Table(
                ['class', 'of the pixels', 'IoU'],
                [[text(name, 'head'), Cell(
                    f'{row["pixels"] / pixels:.1%}' if pixels else NONE, number=True,
                ), share(row['IoU'])] for name, row in masks['classes'].items()],
            )))
        if item['cameras']:
            keys = ('mAP50', 'mAP', 'mIoU')
            tables.append(('By camera', Table(['camera', *keys], [
                [text(name, 'head'), *(share(row[key]) for key in keys)]
                for name, row in {**item['cameras'], 'all': item}.items()
            ])))
        if distances := item.get('distances'):
            tables.append(('By distance', Table(['', 'true boxes', 'recall', 'mAP50'], [
                [text(name.replace('_', ' '), 'head'), number(row['n']), share(row['recall']),
                 share(row['mAP50'])] for name, row in distances.items()
            ])))
        found.append({
            'model': model, 'images': item['images'], 'tables': tables,
            'plots': _curves(details.get(model, {}).get('curves', {})),
            'not_measured': item['not_measured'],
        })
    return found


def _curves(classes: Json) -> times.Plots:
    plots = []
    for key, x, y in (('precision', 'recall', 'precision'), ('f1', 'score threshold', 'F1')):
        lines = [Line(name, LEVELS, item[key]) for name, item in classes.items() if item[key]]
        if lines:
            title = f'{y[0].upper()}{y[1:]} at each {x}, IoU 0.5'
            plots.append((title, curves(lines, x, y, share=True, share_x=True)))
    return plots


def _drops(summary: Json) -> Table | None:
    by_camera = summary['frames_dropped_by_camera']
    reasons_found = sorted({reason for found in by_camera.values() for reason in found})
    missing = summary['frames_missing']
    cameras = sorted({*by_camera, *missing})
    if not cameras:
        return None
    return Table(['camera', *reasons_found, 'missing in a set'], [
        [text(camera, 'head'),
         *(number(by_camera.get(camera, {}).get(reason, 0)) for reason in reasons_found),
         number(missing.get(camera, 0))] for camera in cameras
    ])


def _comparison(summary: Json, baseline: tuple[Path, Json] | None) -> dict[str, Any] | None:
    if not (found := summary.get('comparison')):
        return None
    both = figures(baseline[1], summary) if baseline else {}
    rows = [[
        text(key, 'head'), number(both[key][0] if key in both else None, 3),
        number(both[key][1] if key in both else None, 3), Cell(f'{value:+.3f}', number=True),
    ] for key, value in found['difference'].items()]
    return {
        'baseline': found['baseline'],
        'figures': Table(['figure', 'baseline', 'this run', 'difference'], rows) if rows else None,
        'counts': ', '.join(f'{found[kind]} {kind}' for kind in CHANGES),
        'models': [(model, Table(['class', 'same', *CHANGES], [
            [text(name, 'head'), *(number(counts[kind]) for kind in ('same', *CHANGES))]
            for name, counts in item['classes'].items()
        ])) for model, item in found['models'].items()],
    }


def _faults(summary: Json) -> Table | None:
    """Return what was to go wrong; a fault that struck nothing has no verdict."""
    if not (faults := summary.get('faults')):
        return None
    met = {
        True: text('✓ met', 'good'), False: text('✗ NOT MET', 'bad'), None: text('struck nothing'),
    }
    return Table(['fault', 'kind', 'cameras', 'messages', 'expected', 'measured', ''], [[
        text(item['name'], 'head'), text(item['kind']), text(', '.join(item['cameras'])),
        number(item['messages']), text(item['expected']),
        text(', '.join(f'{count} {name.replace("_", " ")}'
                       for name, count in item['measured'].items() if count)),
        met[item['is_met']],
    ] for item in faults])


def _realtime(summary: Json) -> dict[str, Any] | None:
    if not (found := summary.get('realtime')):
        return None
    pace, shown = found['pace'], ('p50_ms', 'p95_ms', 'p99_ms', 'max_ms')
    counts = ('published', 'inferred', 'dropped', 'superseded')
    rows = []
    for camera, item in found['cameras'].items():
        times_ms = item.get('end_to_end') or {}
        rows.append([
            text(camera, 'head'), *(number(item[key]) for key in counts),
            number(item['achieved_hz'], 2), *(number(times_ms.get(key), 1) for key in shown),
        ])
    head = ['camera', *counts, 'Hz', *(f'{key[:-3]} ms' for key in shown)]
    return {
        'table': Table(head, rows), 'is_kept': pace['is_kept'], 'rate': pace['rate'],
        'late': (pace.get('late') or {}).get('p99_ms'), 'ended_by': found.get('ended_by', ''),
    }


def _shots(
    folder: Path, summary: Json, details: Json, about: Json | None, bag: Path,
    baseline: tuple[Path, Json] | None,
) -> tuple[dict[str, list[Shot]], str]:
    """Return the pictures below their titles, and why there are none."""
    wanted = [
        (model, item) for model, found in details.items() for item in found['worst']
    ][: pictures.MOST]
    moved = [
        (model, (row['camera'], row['stamp_ns']), row['changes'])
        for model, item in (summary.get('comparison') or {}).get('models', {}).items()
        for row in item['worst_frames'][:4]
    ][: (pictures.MOST - len(wanted)) // 2] if baseline else []
    keys = {(item['camera'], item['stamp_ns']) for _, item in wanted} | {row[1] for row in moved}
    if about is None:
        return {}, (
            'No pictures, as several bags were replayed: the same command with one of them alone, '
            '`--output` its own folder here and `--resume` draws those of that one.'
        )
    if not keys:
        return {}, 'No frame is known to be worse than others: nothing was labelled or is wrong.'
    config = load_config(about['config'])
    try:
        frames = pictures.read_frames(bag, config, about['cameras'], keys)
    except PerceptionError as error:
        return {}, f'No pictures, for the bag cannot be read (--bag names it): {error}'
    shots: dict[str, list[Shot]] = {}
    for model in dict.fromkeys(model for model, _ in wanted):
        bundle = about['config']['models'][model]['bundle'] or model
        mine = [item for name, item in wanted if name == model]
        for title, shot in _worst(folder, model, bundle, mine, frames):
            shots.setdefault(title, []).append(shot)
    for model in dict.fromkeys(row[0] for row in moved):
        counts = {key: count for name, key, count in moved if name == model and key in frames}
        sides = [
            pictures.answers_of(run, model, counts)
            for run in ((baseline[0], folder) if baseline else ())
        ]
        for key, count in counts.items():
            said = f'{key[0]} at {key[1] / 1e9:.3f} s: {_count(count, "change")}'
            shot = pictures.changed(frames[key], sides[0][key], sides[1][key], said)
            shots.setdefault(f'Changed most: {model}', []).append(shot)
    return shots, ''


def _worst(
    folder: Path, model: str, bundle: str, items: Iterable[Json],
    frames: Mapping[Key, pictures.Picture],
) -> Iterable[tuple[str, Shot]]:
    there = [(item, key) for item in items
             if (key := (item['camera'], item['stamp_ns'])) in frames]
    said = pictures.answers_of(folder, model, {key for _, key in there})
    for item, key in there:
        if not pictures.is_mask(item):
            yield f'Worst boxes: {model}', pictures.wrong_boxes(frames[key], item, said[key])
            continue
        head = item['output'].partition('/')[2]
        try:
            manifest = Bundle.load(bundle).manifest
            names = [info.name for info in manifest.semantic[head].classes]
            colors = pictures.class_colors(Palette.of(manifest), head, names)
        except PerceptionError:  # it has gone since
            colors = {}
        shot = pictures.wrong_mask(frames[key], item, said[key], colors)
        yield f'Worst masks {head}: {model}', shot
