from __future__ import annotations

import datetime
import zipfile
from pathlib import Path

import pytest

from isaac import CorpusError, MissingExtraError, read_corpus
from isaac.corpus import files as corpus_files
from tests.corpus.test_maps import pairs

openpyxl = pytest.importorskip("openpyxl", reason="the extra 'xlsx' is not installed")


def write_book(file: Path, sheets: dict[str, list[list[object]]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(file)
    return file


def test_every_sheet_is_read_with_its_rows_and_types(tmp_path: Path) -> None:
    when = datetime.datetime(2026, 1, 2)
    sheets: dict[str, list[list[object]]] = {
        "one": [
            [],
            ["Question", "Answer", "When", "N"],
            ["why", "so", when, 3],
            [],
            ["how", "thus"],
        ],
        "two": [["question", "answer"], ["who", "me"]],
    }
    corpus = read_corpus(write_book(tmp_path / "book.xlsx", sheets))
    assert pairs(corpus) == [
        ("why", "so"),
        ("how", "thus"),
        ("who", "me"),
    ]
    assert corpus.table.column("line").to_pylist() == [3, 5, 2]
    files = corpus.table.column("file").to_pylist()
    assert files == ["book.xlsx/one", "book.xlsx/one", "book.xlsx/two"]
    assert corpus.table.column("record").to_pylist()[0] == (
        '{"Question": "why", "Answer": "so", "When": "2026-01-02T00:00:00", "N": 3}'
    )


def test_rows_with_too_many_cells_are_rejected_and_a_header_may_be_missing(tmp_path: Path) -> None:
    wide: list[list[object]] = [["question", "answer"], ["why", "so", "extra"], ["how", "thus"]]
    corpus = read_corpus(write_book(tmp_path / "wide.xlsx", {"s": wide}))
    assert [row.reason for row in corpus.rejected] == ["the row has 3 cells, but the header has 2"]
    bare = write_book(tmp_path / "bare.xlsx", {"s": [["why", "so"]]})
    corpus = read_corpus(bare, header=False, context="column_1", response="column_2")
    assert corpus[0].response == "so"


def test_a_damaged_or_too_large_workbook_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.xlsx").write_text("question,answer\n")
    with pytest.raises(CorpusError, match=r"text\.xlsx is not a workbook"):
        read_corpus(tmp_path / "text.xlsx")
    with zipfile.ZipFile(tmp_path / "zip.xlsx", "w") as archive:
        archive.writestr("a.txt", "no sheet")
    with pytest.raises(CorpusError, match=r"zip\.xlsx is not a workbook"):
        read_corpus(tmp_path / "zip.xlsx")
    book = write_book(tmp_path / "book.xlsx", {"s": [["question", "answer"], ["why", "so"]]})
    monkeypatch.setattr(corpus_files, "MIN_UNPACK_LIMIT_BYTES", 10)
    monkeypatch.setattr(corpus_files, "MAX_UNPACK_RATIO", 0)
    with pytest.raises(CorpusError, match="would unpack to"):
        read_corpus(book)


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = write_book(tmp_path / "book.xlsx", {"s": [["question", "answer"], ["why", "so"]]})
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(MissingExtraError, match=r"reading book.xlsx needs an extra: .*\[xlsx\]"):
        read_corpus(book)
