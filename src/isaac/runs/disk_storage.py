"""A store in a folder: what a curation finishes is a file, whole and with its checksum.

``checksums.sha256`` has a line for each, as the command sha256sum writes and checks them. A file
without its checksum, or of another one, counts as not there: it is made again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ..corpus.records import dumps
from ..curation.clusters import Clusters
from ..curation.unique_texts import TextFile
from ..curation.vectors import Embeddings
from ..errors import RunError
from ..runtime.arrays import Ints, Ragged
from ..runtime.atomic_files import (
    MirroredFolder,
    damaged_as_run_error,
    file_sha256,
    read_json,
    unwritable_error,
)
from ..runtime.storage import Array, TextChunks

CHECKSUMS_FILE = "checksums.sha256"


class DiskStorage:
    """A store in a run's folder; of a finished run it only reads, and makes nothing.

    Arrays are memory-mapped. Names are paths below the folder, without what a file's name ends in.
    """

    def __init__(self, folder: MirroredFolder, *, finished: bool = False) -> None:
        self.folder, self.path, self.finished = folder, folder.path, finished
        self.checksums = _read_checksums(self.path / CHECKSUMS_FILE)
        self.checked: set[str] = set()

    def array(self, name: str, make: Callable[[], Array], /) -> Array:
        """Return the numbers kept under a name, made and kept now if they are not there."""
        return self.stacked(name, -1, lambda: [make()])

    def stacked(self, name: str, rows: int, make: Callable[[], Iterable[Array]], /) -> Array:
        """Return so many rows of numbers kept under a name, written portion by portion."""
        file = f"{name}.npy"
        if self._any_missing(file):
            self._write(file, lambda out: _write_npy(out, rows, make()))
        with damaged_as_run_error(self.path / file) as path:
            numbers: Array = np.load(
                path, mmap_mode="r" if path.stat().st_size > MAX_UNMAPPED_BYTES else None
            )
        return numbers

    def texts(self, name: str, count: int, pieces: Callable[[], TextChunks], /) -> Sequence[str]:
        """Return so many texts kept under a name, taken from pieces now if they are not there."""
        places = np.zeros((2, count), np.int64)

        def save(out: IO[bytes]) -> None:
            for numbers, texts in pieces():
                encoded = [text.encode() for text in texts]
                lengths = np.array([len(data) for data in encoded], np.int64)
                places[0, numbers] = out.tell() + np.cumsum(lengths) - lengths
                places[1, numbers] = lengths
                out.write(b"".join(encoded))

        if self._any_missing(f"{name}.txt", f"{name}.npy"):
            self._write(f"{name}.txt", save)
        starts, lengths = self.array(name, lambda: places)
        with damaged_as_run_error(self.path / f"{name}.txt") as path:
            return TextFile(path, starts, lengths)

    def facts(self, name: str, make: Callable[[], dict[str, Any]], /) -> dict[str, Any]:
        """Return the plain values kept under a name, made and kept now if they are not there."""
        file = f"{name}.json"
        if self._any_missing(file):
            self._write(file, lambda out: out.write((dumps(make()) + "\n").encode()))
        return read_json(self.path / file)

    def scratch(self, shape: tuple[int, ...], kind: type[np.generic], /) -> Array:
        """Return room on the disk for numbers that are needed for a while, zeros."""
        size = max(1, int(np.prod(shape)) * np.dtype(kind).itemsize)
        try:
            with tempfile.TemporaryFile(dir=self.path) as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                return np.memmap(file, kind, "r+", shape=shape)
        except OSError as error:
            raise unwritable_error(self.path / "a temporary file", error) from error

    def has(self, name: str, /) -> bool:
        """Say whether vectors or neighbourhoods of that name are kept, and sound."""
        if name.startswith("shards/"):
            return not self._any_missing(f"{name}.parquet")
        return not self._any_missing(f"{name}.npy", f"{name}.json")

    def embedded(self, name: str, make: Callable[[], Embeddings], /) -> Embeddings:
        """Return the vectors kept under a name, made and kept now if they are not there."""
        if not self.has(name):
            made = make()
            self._write(f"{name}.npy", lambda out: _write_npy(out, -1, [made.vectors]))
            self.facts(name, lambda: {"encoder": made.encoder, "unknown": made.unknown})
        with damaged_as_run_error(self.path / f"{name}.npy") as path:
            vectors = np.load(path, mmap_mode="r")
        return Embeddings(vectors, **self.facts(name, _raise_missing))

    def forget(self, name: str, /) -> None:
        """Drop the vectors kept under a name."""
        if not self.finished:
            for suffix in (".json", ".npy"):
                self.folder.remove(f"{name}{suffix}")

    def clusters(self, name: str, make: Callable[[], Clusters], /) -> Clusters:
        """Return the neighbourhoods kept under a name, made and kept now if they are not there."""
        file = f"{name}.parquet"
        if self._any_missing(file):
            columns = {name: _to_list_array(part) for name, part in make()._asdict().items()}
            self._write(
                file, lambda out: pq.write_table(pa.table(columns), out, compression="zstd")
            )
        with damaged_as_run_error(self.path / file) as path:
            table = pq.read_table(path, use_threads=False)
            return Clusters(*(_to_ragged(table.column(name)) for name in Clusters._fields))

    def _any_missing(self, *files: str) -> bool:
        """Say whether one of some files is not there as it was written; each is checked once.

        Raises `RunError` if nothing may be made.
        """
        for file in files:
            path, known = self.path / file, self.checksums.get(file)
            if file in self.checked:
                continue
            if known is None or not path.exists() or file_sha256(path) != known:
                if self.finished and not file.startswith(REDRAW_NAMES):
                    raise RunError(
                        f"{path} is damaged or missing; remove manifest.json there, and the same "
                        "isaac curate command makes it again"
                    )
                return True
            self.checked.add(file)
        return False

    def _write(self, file: str, save: Callable[[IO[bytes]], Any]) -> None:
        """Write a file and then its checksum, or nothing."""
        path = self.path / file
        with self.folder.writing(path, "wb") as out:
            save(out)
        self.checksums[file] = file_sha256(path)
        self.checked.add(file)
        self._append_checksum(file)

    def _append_checksum(self, file: str) -> None:
        """Add a file's checksum, behind a line that may have been cut off."""
        path = self.path / CHECKSUMS_FILE
        try:
            with path.open("a+b") as sums:
                sums.seek(max(0, path.stat().st_size - 1))
                begun = sums.read() not in (b"", b"\n")
                sums.write(f"{chr(10) * begun}{self.checksums[file]}  {file}\n".encode())
        except OSError as error:
            raise unwritable_error(path, error) from error
        self.folder.changed(path)

    def tidy(self) -> None:
        """Leave one line for each file that is there, in order of name."""
        files = sorted(file for file in self.checksums if (self.path / file).exists())
        with self.folder.writing(self.path / CHECKSUMS_FILE) as sums:
            sums.writelines(f"{self.checksums[file]}  {file}\n" for file in files)


REDRAW_NAMES = ("vectors/ridge", "vectors/wanted")
"""What another draw may need for the first time."""

MAX_UNMAPPED_BYTES = 2**20
"""Bytes up to which an array is read rather than mapped."""


def _raise_missing() -> Any:
    raise RunError("what was kept is gone")


def _read_checksums(file: Path) -> dict[str, str]:
    """Return the checksums in a file; a line that was cut off counts for nothing."""
    if not file.exists():
        return {}
    lines = file.read_bytes().decode(errors="replace").split("\n")[:-1]
    pairs = (line.partition("  ") for line in lines)
    return {name: digest for digest, _, name in pairs if len(digest) == 64}


def _write_npy(out: IO[bytes], rows: int, blocks: Iterable[npt.NDArray[Any]]) -> None:
    """Write rows as .npy by plain writes: unlike np.save's, their errors name a cause."""
    begun = False
    for block in blocks:
        if not begun:
            shape = (rows, *block.shape[1:]) if rows >= 0 else block.shape
            kind = np.lib.format.dtype_to_descr(block.dtype)
            header = {"descr": kind, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(out, header)
            begun = True
        out.write(np.ascontiguousarray(block).data)


def _to_list_array(part: Ragged) -> pa.Array:
    return pa.LargeListArray.from_arrays(pa.array(part.offsets), pa.array(part.values, pa.int32()))


def _to_ragged(column: pa.ChunkedArray) -> Ragged:
    lists = column.combine_chunks()
    lists = lists if isinstance(lists, pa.Array) else lists.chunk(0)
    values: Ints = lists.values.to_numpy().astype(np.int64)
    return Ragged(values, lists.offsets.to_numpy().astype(np.int64))
