"""A table in a Parquet file, read one row group at a time: for corpora larger than memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..runtime.arrays import Ints


class ParquetTable:
    """A table on disk with part of the interface of `pyarrow.Table`, one row group in memory.

    The ``optional`` columns must come last in the schema. If the file lacks them, they are read as
    null. Raises `pyarrow.ArrowInvalid` if any other column differs from the schema.
    """

    def __init__(self, path: Path, schema: pa.Schema, optional: tuple[str, ...] = ()) -> None:
        self.file = pq.ParquetFile(path, memory_map=False)
        names = self.file.schema_arrow.names
        self.missing_columns = [
            name for name in schema.names if name not in names and name in optional
        ]
        if [*names, *self.missing_columns] != schema.names:
            raise pa.ArrowInvalid(f"columns are {', '.join(names)}")
        self.schema = schema
        groups = (self.file.metadata.row_group(i) for i in range(self.file.num_row_groups))
        # the first row of each row group, then the number of rows: (num_row_groups + 1,)
        self.starts = np.cumsum([0, *(group.num_rows for group in groups)])
        self.cached: tuple[int, tuple[str, ...], pa.Table] | None = None
        self.replaced_columns: dict[str, pa.Array] = {}

    def with_column(self, name: str, values: pa.Array) -> ParquetTable:
        """Copy the table with new values, held in memory, in one of its columns."""
        other = copy.copy(self)
        other.cached, other.replaced_columns = None, {**self.replaced_columns, name: values}
        return other

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return int(self.starts[-1])

    def column(self, name: str) -> pa.ChunkedArray:
        """Load one whole column into memory."""
        data_type = self.schema.field(name).type
        columns = [part.column(name).cast(data_type) for part in self.parts([name])]
        return pa.chunked_array([chunk for column in columns for chunk in column.chunks], data_type)

    def parts(self, columns: list[str]) -> Iterator[pa.Table]:
        """Yield the rows in order, one row group at a time, with only these columns."""
        for number in range(self.file.num_row_groups):
            yield self._read(number, columns)

    def take(self, rows: Ints, columns: list[str]) -> pa.Table:
        """Select rows, in any order and with repeats, and columns; fastest in ascending order."""
        # the row group of each row: (len(rows),)
        groups = np.searchsorted(self.starts, rows, side="right") - 1
        tables = []
        for number in np.unique(groups).tolist():
            offsets = rows[groups == number] - self.starts[number]
            tables.append(self._read_cached_group(number, columns).take(pa.array(offsets)))
        if not tables:
            return self.schema.empty_table().select(columns)
        # the tables have the rows sorted by group: find the position of each row in that order
        positions = np.argsort(np.argsort(groups, kind="stable"), kind="stable")
        return pa.concat_tables(tables).unify_dictionaries().take(pa.array(positions))

    def _read_cached_group(self, number: int, columns: list[str]) -> pa.Table:
        """Read a row group, or reuse the last one if group and columns are the same."""
        key = (number, tuple(columns))
        if self.cached is None or self.cached[:2] != key:
            self.cached = (*key, self._read(number, columns))
        return self.cached[2]

    def _read(self, number: int, columns: list[str]) -> pa.Table:
        """Read a row group, with nulls in missing columns and the new values in replaced ones."""
        present = [name for name in columns if name not in self.missing_columns]
        # if all columns are missing, read any other one for the number of rows
        table = self.file.read_row_group(number, columns=present or self.schema.names[:1])
        for name in set(columns) & set(self.missing_columns):
            field = self.schema.field(name)
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
        for name in set(columns) & set(self.replaced_columns):
            rows = self.replaced_columns[name][self.starts[number] : self.starts[number + 1]]
            table = table.set_column(table.column_names.index(name), name, rows)
        return table.select(columns)
