"""The files that an input names, opened, unpacked and told apart by their bytes."""

from __future__ import annotations

import errno
import glob
import gzip
import hashlib
import lzma
import os
import posixpath
import shutil
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, BinaryIO, NamedTuple, NoReturn, cast

import pyarrow as pa

from ..errors import CorpusError
from ..runtime.remote import is_url, listed, opened_url
from ..text import encodable, short

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
COMPRESSED = (".gz", ".zst")
PACKED = ".zip"
KNOWN = ", ".join((*SUFFIXES, *COMPRESSED, PACKED))

MOST = 2**34
"""Bytes that a zip archive unpacks to at most."""

LEAST = 2**28
"""Bytes that any zip archive may unpack to."""

RATIO = 200
"""Times its own size that a larger archive unpacks to at most; dialogues take about 20."""


DAMAGE = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    pa.ArrowException,
    zipfile.BadZipFile,
)
"""What unpacking raises where bytes are wrong or missing."""


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
        raise CorpusError(f"no data behind {url}; known: {KNOWN}")
    base = posixpath.commonpath([posixpath.dirname(path) for path in paths])
    return [Source(posixpath.relpath(path, base or "."), None, url, path) for path in paths]


def _parents(paths: list[Path]) -> list[Path]:
    return [path.parent for path in paths]


def _named(path: Path) -> str:
    """Return a path as text, whatever bytes its name is made of."""
    return encodable(path.as_posix())


def _paths(source: str) -> list[Path]:
    path = Path(source)
    if source and path.is_dir():
        paths = sorted(_in_folder(path))
        if not paths:
            raise CorpusError(f"no data in folder {source}; known: {KNOWN}")
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
    return _is_plain_data(path) or (name.endswith(PACKED) and not name.startswith("."))


def _is_plain_data(path: PurePath) -> bool:
    """Say whether a file is one of records and no archive of files."""
    name = path.name.lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return name.endswith(SUFFIXES) and not name.startswith(".")


@contextmanager
def opened(source: Source) -> Iterator[tuple[BinaryIO, Digest]]:
    """Yield the file, decompressed and seekable, and the digest of its bytes as they lie."""
    with _seekable(source) as raw:
        digest = _digest(source.name, raw)
        with _decompressed(source.name, raw) as file:
            yield file, digest


@contextmanager
def _decompressed(name: str, raw: BinaryIO) -> Iterator[BinaryIO]:
    """Yield the bytes of a seekable file, unpacked if they are one compressed stream."""
    magic = raw.read(4)
    raw.seek(0)
    if magic[:2] == b"\x1f\x8b":
        with gzip.open(raw) as plain, _unpacked(name, cast(BinaryIO, plain)) as file:
            yield file
    elif magic == b"\x28\xb5\x2f\xfd":
        with pa.CompressedInputStream(raw, "zstd") as plain, _unpacked(name, plain) as file:
            yield file
    else:
        yield raw


def members(
    name: str,
    file: BinaryIO,
    beside: Callable[[str], bool] | None = None,
    first: Callable[[str], bool] | None = None,
) -> Iterator[tuple[str, BinaryIO]]:
    """Yield the file, or the data files in it if it is a zip archive, each with its name.

    Of several in an archive those that ``beside`` knows as no records are left out, and those
    that ``first`` knows come before the others. They are unpacked one after the other to files
    without a name: what they are called is only shown.
    Raises `CorpusError` for an archive that is damaged, encrypted, or too large once unpacked.
    """
    magic = file.read(4)
    file.seek(0)
    if magic not in (b"PK\x03\x04", b"PK\x05\x06"):
        yield name, file
        return
    try:
        with zipfile.ZipFile(file) as archive:
            found = _chosen(name, archive, beside)
            for info in sorted(found, key=lambda one: first is None or not first(one.filename)):
                inner = f"{name}/{short(info.filename, 200)}"
                with (
                    archive.open(info) as packed,
                    _unpacked(inner, cast(BinaryIO, packed)) as raw,
                    _decompressed(inner, raw) as plain,
                ):
                    yield inner, plain
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OSError) as error:
        # zipfile's ways to say that a header is damaged or the way of packing is not known
        if getattr(error, "errno", None) not in (None, errno.EINVAL):  # a place before the file
            raise
        raise CorpusError(f"{name} is cut off or damaged: {error}; fetch it again") from None


def _chosen(
    name: str, archive: zipfile.ZipFile, beside: Callable[[str], bool] | None
) -> list[zipfile.ZipInfo]:
    """Return the members of an archive to read, in order of name."""
    there = [info for info in archive.infolist() if not info.filename.endswith("/")]
    found = [info for info in there if _is_member(info.filename)]
    if len(found) > 1 and beside is not None:
        found = [info for info in found if not beside(info.filename)]
    if not found:
        names = ", ".join(short(info.filename, 40) for info in there[:10]) or "nothing"
        known = ", ".join((*SUFFIXES, *COMPRESSED))
        raise CorpusError(f"no data in {name}; known: {known}; in it: {names}")
    locked = next((info.filename for info in found if info.flag_bits & 1), None)
    if locked is not None:
        raise CorpusError(
            f"{name}: {short(locked)} is encrypted; unpack it with its password first"
        )
    _refuse_bomb(name, archive, sum(info.file_size for info in found))
    return sorted(found, key=lambda info: info.filename)


def _is_member(name: str) -> bool:
    """Say whether a name in an archive is that of data, and not a system's note on it."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(("__MACOSX", ".")) and part != ".." for part in path.parts)
    return _is_plain_data(path) and not hidden


def _refuse_bomb(name: str, archive: zipfile.ZipFile, size: int) -> None:
    """Raise `CorpusError` if an archive's files are larger than can be meant."""
    file = cast(BinaryIO, archive.fp)
    most = min(MOST, max(LEAST, RATIO * file.seek(0, os.SEEK_END)))
    if size > most:
        raise CorpusError(
            f"{name} would unpack to {size >> 20:,} MiB, which is more than the {most >> 20:,} MiB "
            "that are taken from an archive of its size; unpack it yourself and give the folder"
        )


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
def _unpacked(name: str, packed: BinaryIO) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as copy:
        try:
            shutil.copyfileobj(packed, copy)
        except DAMAGE as error:
            if getattr(error, "errno", None):
                raise
            raise CorpusError(f"{name} is cut off or damaged: {error}; fetch it again") from None
        copy.seek(0)
        yield cast(BinaryIO, copy)


def _digest(name: str, file: BinaryIO) -> Digest:
    sha = hashlib.sha256()
    while block := file.read(2**20):
        sha.update(block)
    size = file.tell()
    file.seek(0)
    return Digest(name, size, sha.hexdigest())
