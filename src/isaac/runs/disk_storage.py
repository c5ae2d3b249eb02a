"""The store of a run: each finished step of a curation is a complete file with a checksum.

``checksums.sha256`` has one line per file, in the format of the command sha256sum. A file without
a checksum, or with a wrong one, counts as missing: it is computed again.
"""

from __future__ import annotations

import functools
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
from ..curation.storage import REDRAW_KEYS, SHARD_PREFIX, Storage
from ..curation.unique_texts import TextFile
from ..curation.vectors import Embeddings
from ..errors import RunError
from ..runtime.arrays import Ints, Ragged
from ..runtime.atomic_files import (
    MirroredFolder,
    damaged_as_run_error,
    file_sha256,
    is_writable,
    read_json,
    unwritable_error,
)
from ..runtime.storage import Array, MemoryStorage, TextChunks

CHECKSUMS_FILE = "checksums.sha256"


class DiskStorage:
    """A store in a run folder; see `Storage` for its methods.

    Names are paths relative to the folder, without the suffix. With ``finished=True`` the store
    only reads, and a missing or damaged file raises `RunError` instead of being computed again;
    only the files of ``may_add`` may be added, by default those of `REDRAW_KEYS`. If the folder of
    a finished run cannot be written, they stay in memory. Large arrays are memory-mapped.
    """

    def __init__(self, folder: MirroredFolder, *, finished: bool = False) -> None:
        self.folder, self.path, self.finished = folder, folder.path, finished
        self.may_add: tuple[str, ...] = REDRAW_KEYS
        self.checksums = _read_checksums(self.path / CHECKSUMS_FILE)
        self.checked: set[str] = set()
        self.unsaved: MemoryStorage[Embeddings, Clusters] | None = None
        if finished and not is_writable(self.path):
            self.unsaved = MemoryStorage()

    def array(self, name: str, make: Callable[[], Array], /) -> Array:
        """Load the array stored under ``name``, or compute and store it."""
        return self.stacked(name, -1, lambda: [make()])

    def stacked(self, name: str, rows: int, make: Callable[[], Iterable[Array]], /) -> Array:
        """Load the array stored under ``name``, or build it chunk by chunk and store it.

        The chunks have ``rows`` rows together; -1 means that there is only one chunk.
        """
        file = f"{name}.npy"
        if self._any_missing(file):
            if self.unsaved is not None:
                return self.unsaved.stacked(name, rows, make)
            self._write(file, lambda out: _write_npy(out, rows, make()))
        with damaged_as_run_error(self.path / file) as path:
            array: Array = np.load(
                path, mmap_mode="r" if path.stat().st_size > MAX_UNMAPPED_BYTES else None
            )
        return array

    def texts(self, name: str, count: int, chunks: Callable[[], TextChunks], /) -> Sequence[str]:
        """Load the ``count`` texts stored under ``name``, or write them to disk chunk by chunk.

        The texts are one UTF-8 file in the order of the chunks; an array (2, count) has the start
        and the length of each in bytes.
        """
        files = f"{name}.txt", f"{name}.npy"
        if self.unsaved is not None and self._any_missing(*files):
            return self.unsaved.texts(name, count, chunks)
        spans = np.zeros((2, count), np.int64)

        def save(out: IO[bytes]) -> None:
            for indices, texts in chunks():
                encoded = [text.encode() for text in texts]
                lengths = np.array([len(data) for data in encoded], np.int64)
                spans[0, indices] = out.tell() + np.cumsum(lengths) - lengths
                spans[1, indices] = lengths
                out.write(b"".join(encoded))

        if self._any_missing(*files):
            self._write(f"{name}.txt", save)
        starts, lengths = self.array(name, lambda: spans)
        with damaged_as_run_error(self.path / f"{name}.txt") as path:
            return TextFile(path, starts, lengths)

    def facts(self, name: str, make: Callable[[], dict[str, Any]], /) -> dict[str, Any]:
        """Load the JSON values stored under ``name``, or compute and store them."""
        file = f"{name}.json"
        if self._any_missing(file):
            if self.unsaved is not None:
                return self.unsaved.facts(name, make)
            self._write(file, lambda out: out.write((dumps(make()) + "\n").encode()))
        return read_json(self.path / file)

    def scratch(self, shape: tuple[int, ...], dtype: type[np.generic], /) -> Array:
        """Allocate a temporary array of zeros on disk; its file disappears with it.

        If the folder cannot be written, the file is in the system's folder for temporary files.
        """
        folder = self.path if self.unsaved is None else None
        size = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                # Reserve the blocks now: a full disk is an error here, not a crash on first use.
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                return np.memmap(file, dtype, "r+", shape=shape)
        except OSError as error:
            raise unwritable_error(self.path / "a temporary file", error) from error

    def has(self, name: str, /) -> bool:
        """Whether intact vectors or clusters are stored under ``name``."""
        if name.startswith(SHARD_PREFIX):
            return not self._any_missing(f"{name}.parquet")
        return not self._any_missing(f"{name}.npy", f"{name}.json")

    def embedded(self, name: str, make: Callable[[], Embeddings], /) -> Embeddings:
        """Load the vectors stored under ``name``, or compute and store them."""
        if not self.has(name):
            if self.unsaved is not None:
                return self.unsaved.embedded(name, make)
            embedded = make()
            self._write(f"{name}.npy", lambda out: _write_npy(out, -1, [embedded.vectors]))
            self.facts(name, lambda: {"encoder": embedded.encoder, "unknown": embedded.unknown})
        with damaged_as_run_error(self.path / f"{name}.npy") as path:
            vectors = np.load(path, mmap_mode="r")
        return Embeddings(vectors, **self.facts(name, _raise_missing))

    def forget(self, name: str, /) -> None:
        """Delete the vectors stored under ``name``; a finished run keeps them."""
        if not self.finished:
            for suffix in (".json", ".npy"):
                self.folder.remove(f"{name}{suffix}")

    def clusters(self, name: str, make: Callable[[], Clusters], /) -> Clusters:
        """Load the clusters stored under ``name``, or compute and store them."""
        file = f"{name}.parquet"
        if self._any_missing(file):
            if self.unsaved is not None:
                return self.unsaved.clusters(name, make)
            columns = {field: _to_list_array(part) for field, part in make()._asdict().items()}
            self._write(
                file, lambda out: pq.write_table(pa.table(columns), out, compression="zstd")
            )
        with damaged_as_run_error(self.path / file) as path:
            table = pq.read_table(path, use_threads=False)
            return Clusters(*(_to_ragged(table.column(field)) for field in Clusters._fields))

    def fill(self, store: Storage) -> None:
        """Store the vectors and clusters that a store in memory has."""
        for name, value in store.stored.items() if isinstance(store, MemoryStorage) else ():
            if isinstance(value, Embeddings):
                self.embedded(name, functools.partial(_return, value))
            else:
                self.clusters(name, functools.partial(_return, value))

    def _any_missing(self, *files: str) -> bool:
        """Whether a file is missing or does not match its checksum; each is checked once.

        Raises `RunError` if so and the run is finished, because nothing is computed again then.
        """
        for file in files:
            path, checksum = self.path / file, self.checksums.get(file)
            if file in self.checked:
                continue
            if checksum is None or not path.exists() or file_sha256(path) != checksum:
                if self.finished and not file.startswith(self.may_add):
                    raise RunError(
                        f"{path} is damaged or missing; delete manifest.json in the run folder, "
                        "then run the same isaac curate command to rebuild it"
                    )
                return True
            self.checked.add(file)
        return False

    def _write(self, file: str, save: Callable[[IO[bytes]], Any]) -> None:
        """Write a file and then its checksum; if that fails, no file is left."""
        path = self.path / file
        with self.folder.writing(path, "wb") as out:
            save(out)
        self.checksums[file] = file_sha256(path)
        self.checked.add(file)
        self._append_checksum(file)

    def _append_checksum(self, file: str) -> None:
        """Append a file's checksum, on a new line even if the last one was cut off."""
        path = self.path / CHECKSUMS_FILE
        try:
            with path.open("a+b") as sums:
                sums.seek(max(0, path.stat().st_size - 1))
                is_cut_off = sums.read() not in (b"", b"\n")
                sums.write(f"{chr(10) * is_cut_off}{self.checksums[file]}  {file}\n".encode())
        except OSError as error:
            raise unwritable_error(path, error) from error
        self.folder.changed(path)

    def tidy(self) -> None:
        """Rewrite the checksums: one line for each existing file, sorted by name."""
        files = sorted(file for file in self.checksums if (self.path / file).exists())
        with self.folder.writing(self.path / CHECKSUMS_FILE) as sums:
            sums.writelines(f"{self.checksums[file]}  {file}\n" for file in files)


MAX_UNMAPPED_BYTES = 2**20
"""Largest array file that is read into memory; larger ones are memory-mapped."""


def _return(value: Any) -> Any:
    return value


def _raise_missing() -> Any:
    raise RunError(
        "the .json file of the vectors disappeared while they were read; run the command again"
    )


def _read_checksums(file: Path) -> dict[str, str]:
    """Read the checksums of each file by name; cut-off and malformed lines are ignored."""
    if not file.exists():
        return {}
    lines = file.read_bytes().decode(errors="replace").split("\n")[:-1]
    pairs = (line.partition("  ") for line in lines)
    return {name: digest for digest, _, name in pairs if len(digest) == 64}


def _write_npy(out: IO[bytes], rows: int, blocks: Iterable[npt.NDArray[Any]]) -> None:
    """Write chunks of rows as one .npy file; ``rows`` is their total, -1 if there is one chunk.

    Unlike `np.save`, plain writes raise errors that name their cause, such as a full disk.
    """
    has_header = False
    for block in blocks:
        if not has_header:
            shape = (rows, *block.shape[1:]) if rows >= 0 else block.shape
            dtype = np.lib.format.dtype_to_descr(block.dtype)
            header = {"descr": dtype, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(out, header)
            has_header = True
        out.write(np.ascontiguousarray(block).data)


def _to_list_array(part: Ragged) -> pa.Array:
    return pa.LargeListArray.from_arrays(pa.array(part.offsets), pa.array(part.values, pa.int32()))


def _to_ragged(column: pa.ChunkedArray) -> Ragged:
    lists = column.combine_chunks()
    lists = lists if isinstance(lists, pa.Array) else lists.chunk(0)  # by version of pyarrow
    values: Ints = lists.values.to_numpy().astype(np.int64)
    return Ragged(values, lists.offsets.to_numpy().astype(np.int64))
