"""The tables of a run: what became of each frame, what was found in it, and how long that took.

One more has the messages that faults have touched, if there were any. All but the times hold
nothing of the machine or the hour: the same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from perception_ros.core.errors import ReplayError
from perception_ros.core.passage import STAGES

DETECTIONS = 'detections'
FAULTS = 'faults'
FRAMES = 'frames'
TIMINGS = 'timings'

INFERRED = 'inferred'
DROPPED = 'dropped'
MISSING = 'missing'
"""Outcomes of a row of `frames`; the last is no frame, but one that a set had been waiting for."""

ON_THE_WAY = ('late', 'to_node', 'from_node', 'end_to_end', 'age')
"""What is known of a frame that was played in real time, and null of others: how late it was
played; from there to the node's receipt, and from the node's last word of it to its last result,
which may come before that, both null of a node that tells nothing; from played to its last result,
which is `to_node`, `total` and `from_node` together; and how old it was then, since its stamp."""

TIMED = (*(stage for stage in STAGES if stage != 'transport'), *ON_THE_WAY)

_FRAME = [('camera', pa.string()), ('stamp_ns', pa.int64()), ('model', pa.string())]

SCHEMAS: Mapping[str, pa.Schema] = {
    DETECTIONS: pa.schema([
        *_FRAME, ('class', pa.string()), ('score', pa.float32()),
        ('x1', pa.float32()), ('y1', pa.float32()), ('x2', pa.float32()), ('y2', pa.float32()),
    ]),
    FRAMES: pa.schema([
        *_FRAME, ('outcome', pa.string()), ('reason', pa.string()), ('detail', pa.string()),
        ('set', pa.int64()), ('width', pa.int32()), ('height', pa.int32()),
        ('detections', pa.int32()),
    ]),
    TIMINGS: pa.schema([*_FRAME, *((f'{name}_ns', pa.int64()) for name in TIMED)]),
    FAULTS: pa.schema([
        ('fault', pa.string()), ('camera', pa.string()), ('topic', pa.string()),
        ('what', pa.string()), ('origin_ns', pa.int64()), ('time_ns', pa.int64()),
        ('was_ns', pa.int64()), ('stamp_ns', pa.int64()),
    ]),
}

_GROUP_ROWS = 1 << 16
"""Rows of a group: so many are in memory at once."""

Row = tuple[Any, ...]
"""The values of a row, in the order of its table's schema."""


def write_rows(path: Path, name: str, rows: list[Row]) -> None:
    """Write a table.

    :raises ReplayError: it cannot be written.
    """
    schema = SCHEMAS[name]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    table = pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)],
        schema=schema,
    )
    try:
        pq.write_table(table, path, compression='zstd')
    except OSError as error:
        raise ReplayError(f'{path}: cannot be written; {error}') from error


def write_tables(folder: Path, tables: Mapping[str, list[Row]]) -> None:
    """Write tables into a folder, each into a file of its name.

    :raises ReplayError: one cannot be written.
    """
    for name, rows in tables.items():
        write_rows(folder / f'{name}.parquet', name, rows)


def join(paths: Iterable[Path], name: str, target: Path) -> None:
    """Write the rows of several tables as one, which is the same however they were cut.

    :raises ReplayError: one cannot be read, or the whole not be written.
    """
    schema = SCHEMAS[name]
    try:
        with pq.ParquetWriter(target, schema, compression='zstd') as writer:
            rest = schema.empty_table()
            for path in paths:
                rest = pa.concat_tables([rest, pq.read_table(path, schema=schema)])
                while rest.num_rows >= _GROUP_ROWS:
                    writer.write_table(rest.slice(0, _GROUP_ROWS).combine_chunks())
                    rest = rest.slice(_GROUP_ROWS)
            if rest.num_rows:
                writer.write_table(rest.combine_chunks())
    except (OSError, pa.ArrowException) as error:
        raise ReplayError(f'{target}: cannot be written; {error}') from error


def join_runs(paths: Mapping[str, Path], name: str, target: Path) -> None:
    """Write the rows of several runs as one table, whose first column `bag` has their names.

    :raises ReplayError: one cannot be read, or the whole not be written.
    """
    schema = SCHEMAS[name].insert(0, pa.field('bag', pa.string()))
    try:
        with pq.ParquetWriter(target, schema, compression='zstd') as writer:
            for bag, path in paths.items():
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(_GROUP_ROWS):
                        names = pa.array([bag] * batch.num_rows, pa.string())
                        writer.write_batch(
                            pa.RecordBatch.from_arrays([names, *batch.columns], schema=schema)
                        )
    except (OSError, pa.ArrowException) as error:
        raise ReplayError(f'{target}: cannot be written; {error}') from error


def read_rows(path: Path, columns: Iterable[str]) -> Iterator[Row]:
    """Yield some columns of a table row by row.

    :raises ReplayError: it is not there, or no such table.
    """
    names = list(columns)
    try:
        with pq.ParquetFile(path) as file:
            if absent := set(names) - set(file.schema_arrow.names):
                raise ReplayError(f'{path}: expected columns {", ".join(sorted(absent))} in it')
            for batch in file.iter_batches(columns=names):
                by_name = dict(zip(batch.schema.names, batch.columns, strict=True))
                yield from zip(*(by_name[name].to_pylist() for name in names), strict=True)
    except (OSError, pa.ArrowException) as error:
        raise ReplayError(f'{path}: expected a table of a replay; {error}') from error
