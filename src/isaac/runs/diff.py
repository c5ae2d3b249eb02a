"""What a curation changed, for people: chosen, sorted, and written as a table or a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..corpus.records import dumps
from ..curation.curate import Curation
from ..errors import RecipeError, require_extra
from ..runtime.atomic_files import atomic_write
from ..text import make_printable
from .changes import Change, iter_changes
from .reports.rendering import render_template

ChangeOrder = Literal["id", "trust", "fit", "distance"]

FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters of a cell, after spaces, that spreadsheets take for a formula."""


class ChangeQuery(NamedTuple):
    """Which changes to show, and in which order.

    ``action`` is replaced or dropped; None means both. Changes without a value to sort by come
    last.
    """

    action: str | None = None
    sort: ChangeOrder = "id"
    descending: bool = False
    limit: int | None = None


class FoundChanges(NamedTuple):
    """Changes in the order asked for, and how many there are in all."""

    changes: list[Change]
    total: int


def find_changes(curation: Curation, query: ChangeQuery) -> FoundChanges:
    """Find the changes of a curation."""
    found = [c for c in iter_changes(curation) if query.action in (None, c.action)]
    if query.sort != "id" or query.descending:
        sign = -1 if query.descending else 1
        values = [getattr(change, query.sort) for change in found]
        order = sorted(
            range(len(found)),
            key=lambda n: (values[n] is None, sign * (values[n] or 0), found[n].id),
        )
        found = [found[n] for n in order]
    return FoundChanges(found[: query.limit], len(found))


def write_changes(changes: Sequence[Change], path: Path) -> None:
    """Write changes to a file: .csv, .xlsx, .html or .jsonl, by its suffix.

    Texts that a spreadsheet would take for a formula are written so that it doesn't. Raises
    `RecipeError` for another suffix, and `MissingExtraError` for .xlsx without the extra.
    """
    writers = {".csv": _to_csv, ".html": _to_html, ".jsonl": _to_lines}
    suffix = path.suffix.lower()
    if suffix == ".xlsx":
        _write_workbook(changes, path)
        return
    if suffix not in writers:
        known = ", ".join(sorted([*writers, ".xlsx"]))
        raise RecipeError(f"expected a file ending in {known}, got {path.name}")
    with atomic_write(path) as out:
        out.write(writers[suffix](changes))


def _to_csv(changes: Iterable[Change]) -> str:
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(Change._fields)
    for change in changes:
        rows.writerow([_disarm(value) for value in change])
    return text.getvalue()


def _disarm(value: Any) -> Any:
    """A cell of a CSV file; a text that starts like a formula gets an apostrophe before it."""
    is_formula = isinstance(value, str) and value.lstrip().startswith(FORMULA_STARTS)
    return f"'{value}" if is_formula else value


def _to_html(changes: Sequence[Change]) -> str:
    return render_template("diff.html.jinja", {"changes": changes}, autoescape=True)


def _to_lines(changes: Iterable[Change]) -> str:
    return "".join(dumps(change._asdict()) + "\n" for change in changes)


def _write_workbook(changes: Iterable[Change], path: Path) -> None:
    openpyxl = require_extra("openpyxl", f"writing {path.name}", "xlsx")
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("changes")
    sheet.freeze_panes = "A2"
    sheet.append(Change._fields)
    for change in changes:
        sheet.append([_make_cell(openpyxl, sheet, value) for value in change])
    with atomic_write(path, "wb") as out:
        book.save(out)


def _make_cell(openpyxl: Any, sheet: Any, value: Any) -> Any:
    """A cell of a workbook; a text stays a text, whatever it starts with."""
    if not isinstance(value, str):
        return value
    cell = openpyxl.cell.WriteOnlyCell(sheet, make_printable(value)[:MAX_CELL])
    cell.data_type = "s"
    return cell


MAX_CELL = 32_767
"""Characters that a cell of a workbook can have."""
