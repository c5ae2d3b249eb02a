"""The files that an input names, opened, unpacked and told apart by their bytes."""

from __future__ import annotations

import glob
import gzip
import hashlib
import os
import posixpath
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, BinaryIO, NamedTuple, NoReturn, cast

import pyarrow as pa

from .errors import CorpusError
from .remote import is_url, listed, opened_url
from .text import short

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
COMPRESSED = (".gz", ".zst")


@dataclass(frozen=True)
class Source:
    """One file of the input.

    ``path`` is None for standard input, for a dataset of a hub, and for a file behind a ``url``,
    which lies there at ``place``.
    """

    name: str
    path: Path | None
    url: str = ""
    place: str = ""


class Digest(NamedTuple):
    """What tells one input from another."""

    name: str
    bytes: int
    sha256: str


def find_sources(source: str) -> list[Source]:
    """Return the files that an INPUT names: a file, a folder, a glob, a URL, ``-`` or ``hf://``.

    Each is named by its path below the folder that all of them share, so that what is said of
    them does not depend on where they lie. The files of a run are no input.
    Raises `CorpusError` if there is none.
    """
    if source == "-":
        return [Source("<stdin>", None)]
    if source.startswith("hf://"):
        return [Source(source, None)]
    if is_url(source):
        return _remote(source)
    try:
        paths = _paths(source)
    except OSError as error:
        raise CorpusError(f"cannot read {short(source)}: {error.strerror}") from None
    base = Path(source) if Path(source).is_dir() else Path(os.path.commonpath(_parents(paths)))
    return [Source(_named(path.relative_to(base)), path) for path in paths]


def _remote(url: str) -> list[Source]:
    """Return the files behind a URL, each named by its path below their common folder."""
    paths = listed(url)
    if len(paths) > 1:
        paths = [path for path in paths if _is_data(PurePosixPath(path))]
    if not paths:
        raise CorpusError(f"no data behind {url}; known: {', '.join((*SUFFIXES, *COMPRESSED))}")
    base = posixpath.commonpath([posixpath.dirname(path) for path in paths])
    return [Source(posixpath.relpath(path, base or "."), None, url, path) for path in paths]


def _parents(paths: list[Path]) -> list[Path]:
    return [path.parent for path in paths]


def _named(path: Path) -> str:
    """Return a path as text, whatever bytes its name is made of."""
    return path.as_posix().encode("utf-8", "replace").decode()


def _paths(source: str) -> list[Path]:
    path = Path(source)
    if source and path.is_dir():
        paths = sorted(_in_folder(path))
        if not paths:
            known = ", ".join((*SUFFIXES, *COMPRESSED))
            raise CorpusError(f"no data in folder {source}; known: {known}")
        return paths
    if source and path.exists():
        return [path]
    # pathlib's glob takes no absolute pattern, and hidden files along with the others
    paths = sorted({Path(name) for name in glob.glob(source, recursive=True)})  # noqa: PTH207
    paths = [path for path in paths if path.is_file()]
    if not paths:
        raise CorpusError(f"no such file, folder or pattern: '{source}'")
    return paths


def _in_folder(folder: Path) -> Iterator[Path]:
    """Yield the data files of a folder; one that cannot be listed is an error, not nothing."""
    for inner, folders, names in os.walk(folder, onerror=_fail):
        if {"recipe.yaml", "corpus.parquet"} <= set(names):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(inner, name) for name in names if _is_data(Path(name)))


def _fail(error: OSError) -> NoReturn:
    raise error


def _is_data(path: PurePath) -> bool:
    name = path.name.lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return name.endswith(SUFFIXES) and not name.startswith(".")


@contextmanager
def opened(source: Source) -> Iterator[tuple[BinaryIO, Digest]]:
    """Yield the file, decompressed and seekable, and the digest of its bytes as they lie."""
    with _seekable(source) as raw:
        digest = _digest(source.name, raw)
        magic = raw.read(4)
        raw.seek(0)
        if magic[:2] == b"\x1f\x8b":
            with gzip.open(raw) as plain, _unpacked(source, cast(BinaryIO, plain)) as file:
                yield file, digest
        elif magic == b"\x28\xb5\x2f\xfd":
            with pa.CompressedInputStream(raw, "zstd") as plain, _unpacked(source, plain) as file:
                yield file, digest
        else:
            yield raw, digest


@contextmanager
def _seekable(source: Source) -> Iterator[BinaryIO]:
    """Yield the bytes of a source, copied first if they can be read only once."""
    with ExitStack() as stack:
        if source.url:
            file: IO[bytes] = stack.enter_context(opened_url(source.url, source.place))
        elif source.path is None:
            file = sys.stdin.buffer
        else:
            file = stack.enter_context(_open(source.path))
            if file.seekable():
                yield cast(BinaryIO, file)
                return
        copy = stack.enter_context(tempfile.TemporaryFile())
        shutil.copyfileobj(file, copy)
        copy.seek(0)
        yield cast(BinaryIO, copy)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise CorpusError(f"cannot read {short(str(path), 200)}: {error.strerror}") from None


@contextmanager
def _unpacked(source: Source, packed: BinaryIO) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as copy:
        try:
            shutil.copyfileobj(packed, copy)
        except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
            if getattr(error, "errno", None):
                raise
            raise CorpusError(
                f"{source.name} is cut off or damaged: {error}; fetch it again"
            ) from None
        copy.seek(0)
        yield cast(BinaryIO, copy)


def _digest(name: str, file: BinaryIO) -> Digest:
    sha = hashlib.sha256()
    while block := file.read(2**20):
        sha.update(block)
    size = file.tell()
    file.seek(0)
    return Digest(name, size, sha.hexdigest())
