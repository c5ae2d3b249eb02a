"""Read Excel workbooks, sheet by sheet; this needs the extra ``xlsx``."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from ..errors import CorpusError, require_extra
from .csv_files import name_columns
from .files import check_unpacked_size
from .json_stream import ParsedRecord, find_duplicate


def read_spreadsheet(name: str, file: BinaryIO, *, header: bool) -> Iterator[ParsedRecord]:
    """Yield the rows of every sheet of a workbook; a formula is read as its last value.

    The first row of a sheet that is not empty names its columns, unless ``header`` is false. The
    line of a record is the number of its row. Raises `CorpusError` if the workbook is damaged or
    too large when unpacked, and `MissingExtraError` without the extra.
    """
    openpyxl = require_extra("openpyxl", f"reading {name}", "xlsx")
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(info.file_size for info in archive.infolist())
            check_unpacked_size(name, archive, size)
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        sheets = book.worksheets
        for sheet in sheets:
            place = name if len(sheets) == 1 else f"{name}/{sheet.title}"
            yield from _read_sheet(place, sheet.iter_rows(values_only=True), has_header=header)
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError) as error:
        raise CorpusError(f"{name} is not a workbook, or is damaged: {error}") from None


def _read_sheet(
    name: str, rows: Iterator[tuple[Any, ...]], *, has_header: bool
) -> Iterator[ParsedRecord]:
    header: list[str] | None = None
    for line, row in enumerate(rows, start=1):
        cells = [_convert(cell) for cell in row]
        while cells and cells[-1] in (None, ""):
            cells.pop()
        if not cells:
            continue
        if header is None and has_header:
            header = _read_header(f"{name} row {line}", cells)
            continue
        header = header or name_columns(len(cells))
        if len(cells) > len(header):
            problem = f"the row has {len(cells)} cells, but the header has {len(header)}"
            raw = json.dumps(cells, ensure_ascii=False).encode()
            yield ParsedRecord(name, line, raw, problem=problem)
            continue
        cells += [None] * (len(header) - len(cells))
        yield ParsedRecord(name, line, b"", dict(zip(header, cells, strict=True)))


def _read_header(place: str, cells: list[Any]) -> list[str]:
    names = ["" if cell is None else str(cell) for cell in cells]
    if (repeated := find_duplicate(names)) is not None:
        raise CorpusError(f"{place}: the column '{repeated}' appears twice; rename one")
    return names


def _convert(cell: Any) -> Any:
    """A cell as a JSON value; a date as text."""
    if hasattr(cell, "isoformat"):
        return cell.isoformat()
    return cell if isinstance(cell, str | int | float | bool | None) else str(cell)
