"""A table in a Parquet file, read piece by piece: what of a corpus need not be in memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..runtime.arrays import Ints


class ParquetTable:
    """A table on disk that answers like a `pyarrow.Table`, a row group in memory at a time.

    Of the schema a file may lack the ``optional`` columns, its last: they are null.
    """

    def __init__(self, path: Path, schema: pa.Schema, optional: tuple[str, ...] = ()) -> None:
        self.file = pq.ParquetFile(path, memory_map=False)
        names = self.file.schema_arrow.names
        self.lacking = [name for name in schema.names if name not in names and name in optional]
        if [*names, *self.lacking] != schema.names:
            raise pa.ArrowInvalid(f"columns are {', '.join(names)}")
        self.schema = schema
        groups = (self.file.metadata.row_group(i) for i in range(self.file.num_row_groups))
        self.starts = np.cumsum([0, *(group.num_rows for group in groups)])
        self.held: tuple[int, tuple[str, ...], pa.Table] | None = None
        self.replaced_columns: dict[str, pa.Array] = {}

    def with_column(self, name: str, values: pa.Array) -> ParquetTable:
        """Return the table with other values in one of its columns, which are in memory."""
        other = copy.copy(self)
        other.held, other.replaced_columns = None, {**self.replaced_columns, name: values}
        return other

    @property
    def num_rows(self) -> int:
        """Return the number of rows."""
        return int(self.starts[-1])

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column, whole."""
        kind = self.schema.field(name).type
        chunks = [part.column(name).cast(kind) for part in self.parts([name])]
        return pa.chunked_array([chunk for part in chunks for chunk in part.chunks], kind)

    def parts(self, columns: list[str]) -> Iterator[pa.Table]:
        """Yield the rows in order, with some columns, a row group at a time."""
        for number in range(self.file.num_row_groups):
            yield self._read(number, columns)

    def take(self, rows: Ints, columns: list[str]) -> pa.Table:
        """Return some rows with some columns; those in the order of the file cost least."""
        group = np.searchsorted(self.starts, rows, side="right") - 1
        wanted, found = np.unique(group), []
        for number in wanted.tolist():
            inside = rows[group == number] - self.starts[number]
            found.append(self._read_cached_group(number, columns).take(pa.array(inside)))
        place = np.argsort(np.argsort(group, kind="stable"), kind="stable")
        table = pa.concat_tables(found).unify_dictionaries() if found else self.schema.empty_table()
        return table.select(columns).take(pa.array(place))

    def _read_cached_group(self, number: int, columns: list[str]) -> pa.Table:
        """Return a row group, that of the last call if it is the same."""
        asked = (number, tuple(columns))
        if self.held is None or self.held[:2] != asked:
            self.held = (*asked, self._read(number, columns))
        return self.held[2]

    def _read(self, number: int, columns: list[str]) -> pa.Table:
        """Return a row group, nulls in the columns that the file lacks."""
        there = [name for name in columns if name not in self.lacking]
        # of a column that is left alone only its number of rows is known
        table = self.file.read_row_group(number, columns=there or self.schema.names[:1])
        for name in set(columns) & set(self.lacking):
            field = self.schema.field(name)
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
        for name in set(columns) & set(self.replaced_columns):
            rows = self.replaced_columns[name][self.starts[number] : self.starts[number + 1]]
            table = table.set_column(table.column_names.index(name), name, rows)
        return table.select(columns)
