from __future__ import annotations

import datetime
import decimal
import gzip
import hashlib
import io
import itertools
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.corpus.files import open_source
from isaac.corpus.hub import read_hub_dataset
from isaac.corpus.json_stream import ENCODING_HINT
from isaac.corpus.records import (
    MAX_DEPTH,
    FileOptions,
    ParsedRecord,
    dumps,
    parse_json,
    read_records,
)
from isaac.corpus.sources import find_sources
from isaac.errors import CorpusError, IsaacError, MissingExtraError

ROWS = [{"prompt": "Why?", "response": "So."}, {"prompt": '日本, "x"\n', "response": "\t🙂"}]


def lines(*rows: Any) -> bytes:
    return "".join(dumps(row) + "\n" for row in rows).encode()


def parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


CONTAINERS: dict[str, bytes] = {
    ".jsonl": lines(*ROWS),
    ".json": json.dumps(ROWS, indent=2).encode(),
    ".csv": 'prompt,response\nWhy?,So.\n"日本, ""x""\n",\t🙂\n'.encode(),
    ".tsv": 'prompt\tresponse\nWhy?\tSo.\n"日本, ""x""\n"\t"\t🙂"\n'.encode(),
    ".parquet": parquet(pa.Table.from_pylist(ROWS)),
}

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip of two members": lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]),
    "zstd": zstd,
    "zstd of two frames": lambda data: zstd(data[:9]) + zstd(data[9:]),
}


def records(source: str | Path) -> list[ParsedRecord]:
    found: list[ParsedRecord] = []
    for file in find_sources(str(source)):
        with open_source(file) as (stream, _):
            found += read_records(file.name, stream)
    return found


def read(folder: Path, name: str, content: bytes) -> list[ParsedRecord]:
    path = folder / name
    path.write_bytes(content)
    return records(path)


def values(found: list[ParsedRecord]) -> list[Any]:
    assert not [record.problem for record in found if record.problem]
    return [record.value for record in found]


def refused(source: str | Path) -> str:
    with pytest.raises(IsaacError) as error:
        records(source)
    return str(error.value)


def refused_file(folder: Path, name: str, content: bytes) -> str:
    path = folder / name
    path.write_bytes(content)
    message = refused(path)
    assert name in message
    return message


class Pipe(io.BytesIO):
    """Bytes that can be read only once."""

    def seekable(self) -> bool:
        return False


class Stdin:
    """Standard input as a pipe."""

    def __init__(self, content: bytes) -> None:
        self.buffer = Pipe(content)


# Finding and opening files.


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("suffix", CONTAINERS)
def test_every_format_is_read_plain_and_compressed(
    tmp_path: Path, suffix: str, packer: str
) -> None:
    content = PACKERS[packer](CONTAINERS[suffix])
    ending = {"g": ".gz", "z": ".zst", "p": ""}[packer[0]]
    assert values(read(tmp_path, f"in{suffix}{ending}", content)) == ROWS
    assert values(read(tmp_path, f"IN{suffix.upper()}", content)) == ROWS


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("suffix", CONTAINERS)
def test_standard_input_can_be_any_format(
    monkeypatch: pytest.MonkeyPatch, suffix: str, packer: str
) -> None:
    content = PACKERS[packer](CONTAINERS[suffix])
    monkeypatch.setattr(sys, "stdin", Stdin(content))
    found = records("-")
    assert values(found) == ROWS
    assert {record.file for record in found} == {"<stdin>"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are not everywhere")
def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(lines(*ROWS),))
    writer.start()
    assert values(records(pipe)) == ROWS
    writer.join()


def test_without_a_known_suffix_the_first_bytes_decide(
    tmp_path: Path,
) -> None:
    for suffix, content in CONTAINERS.items():
        assert values(read(tmp_path, f"in{suffix}.old", content)) == ROWS


def test_a_folder_is_its_data_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "b" / ".cache").mkdir(parents=True)
    for name in (
        "b/1.jsonl",
        "a.JSONL.gz",
        "c.csv",
        ".hidden.jsonl",
        "b/.cache/x.jsonl",
        "read.me",
    ):
        (tmp_path / name).write_bytes(lines(ROWS[0]))
    names = [source.name for source in find_sources(str(tmp_path))]
    assert names == ["a.JSONL.gz", "b/1.jsonl", "c.csv"]


def test_a_pattern_finds_each_matching_file_once(tmp_path: Path) -> None:
    (tmp_path / "x" / "y").mkdir(parents=True)
    for name in ("x/1.jsonl", "x/y/2.jsonl", "x/y/3.csv"):
        (tmp_path / name).write_bytes(lines(ROWS[0]))
    names = [source.name for source in find_sources(f"{tmp_path}/**/**/*.jsonl")]
    assert names == ["1.jsonl", "y/2.jsonl"]


def test_a_pattern_follows_links_and_skips_hidden_files(tmp_path: Path) -> None:
    for name in ("data/a/1.jsonl", "data/a/.2.jsonl", "elsewhere/3.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(lines(ROWS[0]))
    (tmp_path / "data" / "b").symlink_to(tmp_path / "elsewhere")
    names = [source.name for source in find_sources(f"{tmp_path}/data/*/*.jsonl")]
    assert names == ["a/1.jsonl", "b/3.jsonl"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    assert values(read(tmp_path, "in[1]*.jsonl", lines(*ROWS))) == ROWS


def test_the_digest_is_of_the_bytes_as_stored(tmp_path: Path) -> None:
    path, content = tmp_path / "in.jsonl.gz", gzip.compress(lines(*ROWS))
    path.write_bytes(content)
    with open_source(find_sources(str(path))[0]) as (_, digest):
        assert digest == (path.name, len(content), hashlib.sha256(content).hexdigest())


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    assert "no file matches 'none.jsonl'" in refused("none.jsonl")
    assert "no file matches ''" in refused("")
    assert "no file matches" in refused(tmp_path / "*.jsonl")
    assert "File name too long" in refused("x" * 5_000)


def test_a_folder_without_data_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no data")
    assert "no data files in folder" in refused(tmp_path)
    assert ".parquet, .arrow, .feather, .xlsx, .gz" in refused(tmp_path)


def test_a_folder_with_a_file_that_cannot_be_opened_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(*ROWS))
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "gone.jsonl")
    assert f"cannot read {tmp_path / 'b.jsonl'}: No such file" in refused(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch(mode=0)
    assert "a.jsonl: Permission denied" in refused(tmp_path)


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "a.jsonl").touch()
    monkeypatch.setattr(Path, "open", deny)
    assert refused(tmp_path) == f"cannot read {tmp_path / 'a.jsonl'}: Permission denied"


def test_a_folder_that_cannot_be_listed_is_not_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", deny)
    assert refused(tmp_path) == f"cannot read {tmp_path}: Permission denied"


# Damage.


def middle_broken(data: bytes) -> bytes:
    half = len(data) // 2
    return data[:half] + bytes(255 - byte for byte in data[half : half + 20]) + data[half + 20 :]


LONG = lines(*({"prompt": f"{n * n}", "response": f"{n**3}"} for n in range(3_000)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.jsonl.gz", gzip.compress(LONG, mtime=0)[:-200]),
        ("broken.jsonl.gz", middle_broken(gzip.compress(LONG, mtime=0))),
        ("more.jsonl.gz", gzip.compress(LONG, mtime=0) + b"more"),
        ("sum.jsonl.gz", gzip.compress(LONG, mtime=0)[:-8] + b"\1" * 8),
        ("head.jsonl.gz", b"\x1f\x8b\x08"),
        ("block.jsonl.gz", gzip.compress(LONG, mtime=0)[:10] + b"\xff" * 20),
        ("cut.jsonl.zst", zstd(LONG)[:-200]),
        ("broken.jsonl.zst", zstd(LONG)[:8] + b"\xff\xff" + zstd(LONG)[10:]),
        ("more.jsonl.zst", zstd(LONG) + b"more"),
        ("head.jsonl.zst", b"\x28\xb5\x2f\xfd"),
    ],
)
def test_a_damaged_archive_is_a_clear_error(tmp_path: Path, name: str, content: bytes) -> None:
    message = refused_file(tmp_path, name, content)
    assert "is cut off or damaged" in message
    assert message.endswith("download it again")


NUMBERS = parquet(pa.table({"prompt": [str(n) for n in range(5_000)]}))


@pytest.mark.parametrize(
    "content", [NUMBERS[:-9], NUMBERS[:99], b"PAR1", middle_broken(NUMBERS), b"PAR1" * 9]
)
def test_a_damaged_parquet_file_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    assert "is a damaged Parquet file" in refused_file(tmp_path, "in.parquet", content)


@pytest.mark.parametrize("content", [b"", b"prompt,response\n", b"\0\0\0\0", lines(*ROWS)])
def test_a_file_that_is_not_parquet_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    message = refused_file(tmp_path, "in.parquet", content)
    assert "is not a Parquet file: it does not start with PAR1" in message


def test_a_repeated_parquet_column_is_a_clear_error(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"])
    message = refused_file(tmp_path, "in.parquet", parquet(table))
    assert "the column 'prompt' appears twice; rename one" in message


def test_parquet_text_that_is_not_utf_8_spoils_only_its_value(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.array([0, 1], pa.int32()).buffers()[1], pa.py_buffer(b"\xff")]
    )
    table = pa.table({"prompt": ["a"], "other": broken})
    assert values(read(tmp_path, "in.parquet", parquet(table))) == [
        {"prompt": "a", "other": "\udcff"}
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv"])
def test_a_byte_order_mark_is_not_part_of_the_data(tmp_path: Path, suffix: str) -> None:
    content = b"\xef\xbb\xbf" + CONTAINERS[suffix]
    assert values(read(tmp_path, f"in{suffix}", content)) == ROWS


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".txt"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_characters_are_read_with_their_encoding(
    tmp_path: Path, suffix: str, encoding: str
) -> None:
    content = CONTAINERS[".csv" if suffix == ".csv" else ".jsonl"].decode().encode(encoding)
    message = refused_file(tmp_path, f"in{suffix}", content)
    assert f"is not UTF-8; add --encoding {encoding}" in message
    found = list(read_records(f"in{suffix}", io.BytesIO(content), FileOptions(encoding)))
    assert values(found) == ROWS


# Lines of JSON.


BAD_LINES: dict[bytes, str] = {
    b'{"a": 1': "broken JSON: Expecting ',' delimiter at character 8",
    b"{'a': 1}": "broken JSON: Expecting property name enclosed in double quotes at character 2",
    b'{"a": "b': "broken JSON: Unterminated string starting at character 7",
    b'{"a": "\x01"}': "broken JSON: Invalid control character at character 8",
    b'{"a": 1} {"a": 2} x': "broken JSON: Extra data at character 10",
    b"hello": "broken JSON: Expecting value at character 1",
    b"\0\0\0": "broken JSON: Expecting value at character 1",
    b'{"a": "\xff"}': f"invalid UTF-8 at byte 8 of the line; {ENCODING_HINT}",
    b'{"a": "\xed\xa0\x80"}': f"invalid UTF-8 at byte 8 of the line; {ENCODING_HINT}",
    b"[1, 2]": "JSON that is a list, not an object",
    b"17": "JSON that is a number, not an object",
    b"1.5": "JSON that is a number, not an object",
    b"NaN": "JSON that is a number, not an object",
    b'"text"': "JSON that is text, not an object",
    b"true": "JSON that is true or false, not an object",
    b"null": "JSON that is null, not an object",
    b'{"a": 1, "a": 1}': "the key 'a' appears twice in one object",
    b'{"a": {"b": 1, "b": 2}}': "the key 'b' appears twice in one object",
    b'{"\\u001b": 1, "\\u001b": 2}': "the key '␛' appears twice in one object",
    b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": "JSON nested too deeply",
    b'{"a": ' * 200 + b"1" + b"}" * 200: "JSON nested too deeply",
    b'{"a": ' + b"9" * 5_000 + b"}": "a number with too many digits",
}


@pytest.mark.parametrize(("line", "problem"), BAD_LINES.items(), ids=itertools.count())
def test_a_bad_line_is_kept_with_its_line_number_and_reason(
    tmp_path: Path, line: bytes, problem: str
) -> None:
    good = lines(ROWS[0])
    _, bad, last = read(tmp_path, "in.jsonl", good + b"\n" + line + b"\r\n" + good)
    assert bad == ParsedRecord("in.jsonl", 3, line, None, problem)
    assert (last.line, last.value) == (4, ROWS[0])


def test_a_list_on_the_first_line_does_not_hide_the_other_lines(tmp_path: Path) -> None:
    for name in ("in.jsonl", "in.json", "in"):
        first, second = read(tmp_path, name, b"\n[1, 2]\n\n" + lines(ROWS[0]))
        assert (first.line, first.problem) == (2, "JSON that is a list, not an object")
        assert (second.line, second.value) == (4, ROWS[0])


def test_a_depth_that_can_be_written_back_is_read(tmp_path: Path) -> None:
    deep: Any = "x"
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    wide = {"many": [[n] for n in range(1_000)]}
    assert values(read(tmp_path, "in.jsonl", lines({"a": deep}, wide))) == [{"a": deep}, wide]
    (bad,) = read(tmp_path, "in.jsonl", lines({"a": [deep]}))
    assert bad.problem == "JSON nested too deeply"
    (bad,) = read(tmp_path, "in.json", b"[" + lines({"a": [deep]}) + b"]")
    assert bad.problem == "JSON nested too deeply"


def test_nan_and_infinity_never_leave(tmp_path: Path) -> None:
    (record,) = read(tmp_path, "in.jsonl", b'{"a": NaN, "b": [-Infinity]}\n')
    assert dumps(record.value) == '{"a": null, "b": [null]}'


def test_half_a_surrogate_pair_is_read_and_written_escaped(tmp_path: Path) -> None:
    (record,) = read(tmp_path, "in.jsonl", b'{"a": "\\ud800"}\n')
    assert record.value == {"a": "\ud800"}
    assert dumps(record.value) == '{"a": "\\ud800"}'


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".txt", ".jsonl.gz"])
@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n\n  \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_empty_file_has_no_records(tmp_path: Path, suffix: str, content: bytes) -> None:
    assert read(tmp_path, f"in{suffix}", content) == []


def test_a_file_without_rows_has_no_records(tmp_path: Path) -> None:
    assert read(tmp_path, "in.csv", b"prompt,response\n") == []
    assert read(tmp_path, "in.json", b"[]\n") == []
    assert read(tmp_path, "in.parquet", parquet(pa.table({"a": pa.array([], pa.string())}))) == []


def test_the_last_line_needs_no_line_break(tmp_path: Path) -> None:
    assert values(read(tmp_path, "in.jsonl", lines(*ROWS).rstrip(b"\n"))) == ROWS
    assert values(read(tmp_path, "in.csv", b"a,b\r\n1,2")) == [{"a": "1", "b": "2"}]


def test_a_line_that_is_too_long_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isaac.corpus.records.MAX_LINE_BYTES", 2**20)
    message = refused_file(tmp_path, "in.jsonl", lines(ROWS[0]) + b"{" * 2**20)
    assert "in.jsonl line 2 is longer than 1 MiB" in message
    assert "one record per line" in message


# Arrays of JSON.


def test_the_elements_of_an_array_have_line_numbers(tmp_path: Path) -> None:
    content = b'\n[\n {"a":\n 1},\n\n 17, {"a": 2}\n]\n'
    found = read(tmp_path, "in.json", content)
    assert [record.line for record in found] == [3, 6, 6]
    assert [record.raw for record in found] == [b'{"a":\n 1}', b"17", b'{"a": 2}']
    assert found[1].problem == "JSON that is a number, not an object"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[\n{"a": 1},\n{"a": }\n]', "in.json line 3: broken JSON: Expecting value in the array"),
        (b'[\n{"a": 1},\n', "in.json line 3: broken JSON: Expecting value in the array"),
        (b'[\n{"a": "b', "in.json line 2: broken JSON: Unterminated string starting in the array"),
        (b'[\n{"a": 1}\n] more', "in.json line 3: there is more after the end of the array"),
        (b'[\n{"a": "\xff"}]', f"in.json line 2: invalid UTF-8; {ENCODING_HINT}"),
        (b'[\n{"a": 1, "a": 2}]', "in.json line 2: the key 'a' appears twice in one object"),
        (b"[\n" * 100_000, "in.json line 2: JSON nested too deeply in the array"),
        (b"[\n\n" + b"9" * 5_000 + b"]", "line 3: a number with too many digits in the array"),
    ],
    ids=itertools.count(),
)
def test_a_broken_array_is_a_clear_error(tmp_path: Path, content: bytes, words: str) -> None:
    message = refused_file(tmp_path, "in.json", content)
    assert words in message
    if "UTF-8" not in words:
        assert "fix it there, or write one record per line (JSON Lines)" in message


# Tables of text.


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"a", "the row has 1 cells, but the header has 2"),
        (b"a,b,c", "the row has 3 cells, but the header has 2"),
        (b'"a"b,c', "broken CSV: ',' expected after '\"'"),
        (b"a,\xff", f"invalid UTF-8 at byte 3 of the row; {ENCODING_HINT}"),
        (b'a,"b\n\xff"', f"invalid UTF-8 at byte 6 of the row; {ENCODING_HINT}"),
    ],
)
def test_a_bad_row_of_a_table_is_kept_with_its_line_number_and_reason(
    tmp_path: Path, row: bytes, problem: str
) -> None:
    content = b'prompt,response\r\n\r\n"x\r\ny",z\r\n' + row + b"\r\nWhy?,So.\r\n"
    first, bad, last = read(tmp_path, "in.csv", content)
    assert (first.line, first.value) == (3, {"prompt": "x\r\ny", "response": "z"})
    assert first.raw == b'"x\r\ny",z'
    assert bad == ParsedRecord("in.csv", 5, row, None, problem)
    assert last.value == ROWS[0]


def test_a_nul_byte_in_a_table_rejects_its_row_only(tmp_path: Path) -> None:
    bad, good = read(tmp_path, "in.csv", b"prompt,response\na,b\0c\nWhy?,So.\n")
    assert (bad.line, bad.raw, bad.value) == (2, b"a,b\0c", None)
    assert "NUL" in bad.problem
    assert good.value == ROWS[0]


def test_a_quote_that_is_never_closed_rejects_the_rest_of_the_file(
    tmp_path: Path,
) -> None:
    good, bad = read(tmp_path, "in.csv", b'prompt,response\nWhy?,So.\n"a,b\nc,d\n\n')
    assert good.value == ROWS[0]
    assert (bad.line, bad.raw) == (3, b'"a,b\nc,d\n')
    assert "broken CSV: a quote opened here is never closed" in bad.problem


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"a,b,a", "in.csv line 2: the column 'a' appears twice; rename one"),
        (b"a,,b,,c", "in.csv line 2: the column '' appears twice; rename one"),
        (b"a,\xff", "in.csv line 2: invalid UTF-8 at byte 3 of the row"),
        (b"a,b\0", "in.csv line 2: "),
        (b'"a"b,c', "in.csv line 2: broken CSV: ',' expected after '\"'; the first row must name"),
    ],
)
def test_a_bad_header_is_a_clear_error(tmp_path: Path, header: bytes, words: str) -> None:
    assert words in refused_file(tmp_path, "in.csv", b"\n" + header + b"\n1,2,3\n")


def test_lines_may_end_as_on_any_operating_system(tmp_path: Path) -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        content = end.join([b"prompt,response", b"Why?,So.", b""])
        assert values(read(tmp_path, "in.csv", content)) == ROWS[:1]


def test_empty_cells_are_cells(tmp_path: Path) -> None:
    assert values(read(tmp_path, "in.tsv", b"a\tb\n\t\n")) == [{"a": "", "b": ""}]
    assert values(read(tmp_path, "in.csv", b'a\n""\n')) == [{"a": ""}]


# Parquet and JSON.


def test_values_without_a_json_type_are_written_as_text() -> None:
    day = datetime.date(2020, 1, 2)
    value = {"day": day, "raw": b"a\xff", "price": decimal.Decimal("1.50")}
    assert dumps(value) == '{"day": "2020-01-02", "raw": "Yf8=", "price": "1.50"}'


@given(
    st.recursive(st.none() | st.text() | st.floats(allow_nan=False, allow_infinity=False), st.lists)
)
def test_written_json_is_read_back(value: Any) -> None:
    assert parse_json(dumps(value)) == value


# Datasets of a hub.


class Hub:
    """A stand-in for the datasets library."""

    def __init__(self, *rows: Any) -> None:
        self.rows = rows
        self.asked: tuple[Any, ...] = ()

    def load_dataset_builder(self, *_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(config=SimpleNamespace(data_files=None))

    def load_dataset(self, name: str, config: str | None, **rest: Any) -> tuple[Any, ...]:
        self.asked = (name, config, rest)
        return self.rows


def test_a_hub_dataset_yields_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(*ROWS)
    monkeypatch.setitem(sys.modules, "datasets", hub)
    (source,) = find_sources("hf://Owner/Name")
    found = list(read_hub_dataset(source.name))
    assert values(found) == ROWS
    assert [(record.file, record.line) for record in found] == [
        ("hf://Owner/Name", n) for n in (1, 2)
    ]
    assert hub.asked == ("Owner/Name", None, {"split": "train", "revision": None})


def test_a_hub_dataset_has_split_config_and_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub()
    monkeypatch.setitem(sys.modules, "datasets", hub)
    assert list(read_hub_dataset("hf://o/n?split=train[:9]+test&config=en&revision=v%201")) == []
    assert hub.asked == ("o/n", "en", {"split": "train[:9]+test", "revision": "v 1"})


def test_a_hub_dataset_that_fails_to_load_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("no dataset o/n")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset_builder=fail))
    with pytest.raises(CorpusError, match="cannot load hf://o/n: no dataset o/n"):
        list(read_hub_dataset("hf://o/n"))
    message = "unknown parameter splits; available: split, config, revision"
    with pytest.raises(CorpusError, match=message):
        list(read_hub_dataset("hf://o/n?splits=train"))


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install '.*\[datasets\]'"):
        list(read_hub_dataset("hf://o/n"))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_datasets_library_reads_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("datasets", reason="the extra 'datasets' is not installed")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl").write_bytes(lines(*ROWS))
    assert values(list(read_hub_dataset(f"hf://{folder}"))) == ROWS
    # a later content in parts must not turn the texts before it into JSON source
    parts = {"prompt": [{"type": "text", "text": "a"}], "response": "b"}
    (folder / "train_2.jsonl").write_bytes(lines(parts))
    assert values(list(read_hub_dataset(f"hf://{folder}"))) == [*ROWS, parts]


def test_an_unsupported_file_type_is_an_error_that_names_the_remedy() -> None:
    for content, words in (
        (b"PK\x03\x04x", "zip archive"),
        (b"Rar!x", "a rar archive"),
    ):
        with pytest.raises(CorpusError, match=f"{words}; unpack or convert it first"):
            list(read_records("in.jsonl", io.BytesIO(content)))


def test_semicolons_separate_cells_too() -> None:
    found = read_records("in.csv", io.BytesIO(b"prompt;response\na, b;c\n"))
    assert [record.value for record in found] == [{"prompt": "a, b", "response": "c"}]


def test_parquet_times_and_numbers_without_a_json_type_are_converted() -> None:
    times = pa.array([1], pa.timestamp("ns"))
    content = parquet(pa.table({"when": times, "score": [float("nan")], "deep": [[float("inf")]]}))
    (record,) = read_records("in.parquet", io.BytesIO(content))
    assert record.value == {"when": "1970-01-01 00:00:00.000000001", "score": None, "deep": [None]}


def test_the_files_of_a_run_are_not_input(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(lines(ROWS[0]))
    for name in ("recipe.yaml", "corpus.parquet", "curated.jsonl"):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).touch()
    assert [source.name for source in find_sources(str(tmp_path))] == ["in.jsonl"]
