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
from ..runtime.remote import is_url, list_url_files, open_url_file
from ..text import replace_surrogates, shorten

RECORD_FILE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
COMPRESSED_SUFFIXES = (".gz", ".zst")
ARCHIVE_SUFFIX = ".zip"
SUPPORTED_SUFFIXES = ", ".join((*RECORD_FILE_SUFFIXES, *COMPRESSED_SUFFIXES, ARCHIVE_SUFFIX))

MAX_UNPACKED_BYTES = 2**34
"""Bytes that a zip archive unpacks to at most."""

MIN_UNPACK_LIMIT_BYTES = 2**28
"""Bytes that any zip archive may unpack to."""

MAX_UNPACK_RATIO = 200
"""Times its own size that a larger archive unpacks to at most; dialogues take about 20."""


DAMAGE_ERRORS = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    pa.ArrowException,
    zipfile.BadZipFile,
)
"""What unpacking raises where bytes are wrong or missing."""


@dataclass(frozen=True)
class SourceFile:
    """One file of the input.

    ``path`` is None for standard input, for a dataset of a hub, and for a file behind a ``url``,
    which lies there at ``place``.
    """

    name: str
    path: Path | None
    url: str = ""
    place: str = ""


class InputDigest(NamedTuple):
    """What tells one input from another."""

    name: str
    bytes: int
    sha256: str


def find_sources(source: str) -> list[SourceFile]:
    """Return the files that an INPUT names: a file, a folder, a glob, a URL, ``-`` or ``hf://``.

    Each is named by its path below the folder that all of them share, so that what is said of
    them does not depend on where they lie. The files of a run are no input.
    Raises `CorpusError` if there is none.
    """
    if source == "-":
        return [SourceFile("<stdin>", None)]
    if source.startswith("hf://"):
        return [SourceFile(source, None)]
    if is_url(source):
        return _find_remote_sources(source)
    try:
        paths = _find_paths(source)
    except OSError as error:
        raise CorpusError(f"cannot read {shorten(source)}: {error.strerror}") from None
    base = (
        Path(source) if Path(source).is_dir() else Path(os.path.commonpath(_parent_folders(paths)))
    )
    return [SourceFile(_encode_path(path.relative_to(base)), path) for path in paths]


def _find_remote_sources(url: str) -> list[SourceFile]:
    """Return the files behind a URL, each named by its path below their common folder."""
    paths = list_url_files(url)
    if len(paths) > 1:
        paths = [path for path in paths if _is_data_or_archive(PurePosixPath(path))]
    if not paths:
        raise CorpusError(f"no data behind {url}; known: {SUPPORTED_SUFFIXES}")
    base = posixpath.commonpath([posixpath.dirname(path) for path in paths])
    return [SourceFile(posixpath.relpath(path, base or "."), None, url, path) for path in paths]


def _parent_folders(paths: list[Path]) -> list[Path]:
    return [path.parent for path in paths]


def _encode_path(path: Path) -> str:
    """Return a path as text, whatever bytes its name is made of."""
    return replace_surrogates(path.as_posix())


def _find_paths(source: str) -> list[Path]:
    path = Path(source)
    if source and path.is_dir():
        paths = sorted(_walk_folder(path))
        if not paths:
            raise CorpusError(f"no data in folder {source}; known: {SUPPORTED_SUFFIXES}")
        return paths
    if source and path.exists():
        return [path]
    # pathlib's glob takes no absolute pattern, and hidden files along with the others
    paths = sorted({Path(name) for name in glob.glob(source, recursive=True)})  # noqa: PTH207
    paths = [path for path in paths if path.is_file()]
    if not paths:
        raise CorpusError(f"no such file, folder or pattern: '{source}'")
    return paths


def _walk_folder(folder: Path) -> Iterator[Path]:
    """Yield the data files of a folder; one that cannot be listed is an error, not nothing."""
    for inner, folders, names in os.walk(folder, onerror=_raise_error):
        if {"recipe.yaml", "corpus.parquet"} <= set(names):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(inner, name) for name in names if _is_data_or_archive(Path(name)))


def _raise_error(error: OSError) -> NoReturn:
    raise error


def _is_data_or_archive(path: PurePath) -> bool:
    name = path.name.lower()
    return _is_data_file(path) or (name.endswith(ARCHIVE_SUFFIX) and not name.startswith("."))


def _is_data_file(path: PurePath) -> bool:
    """Say whether a file is one of records and no archive of files."""
    name = path.name.lower()
    for suffix in COMPRESSED_SUFFIXES:
        name = name.removesuffix(suffix)
    return name.endswith(RECORD_FILE_SUFFIXES) and not name.startswith(".")


@contextmanager
def open_source(source: SourceFile) -> Iterator[tuple[BinaryIO, InputDigest]]:
    """Yield the file, decompressed and seekable, and the digest of its bytes as they lie."""
    with _open_seekable(source) as raw:
        digest = _compute_digest(source.name, raw)
        with _open_decompressed(source.name, raw) as file:
            yield file, digest


@contextmanager
def _open_decompressed(name: str, raw: BinaryIO) -> Iterator[BinaryIO]:
    """Yield the bytes of a seekable file, unpacked if they are one compressed stream."""
    magic = raw.read(4)
    raw.seek(0)
    if magic[:2] == b"\x1f\x8b":
        with (
            gzip.open(raw) as plain,
            _unpack_to_temporary_file(name, cast(BinaryIO, plain)) as file,
        ):
            yield file
    elif magic == b"\x28\xb5\x2f\xfd":
        with (
            pa.CompressedInputStream(raw, "zstd") as plain,
            _unpack_to_temporary_file(name, plain) as file,
        ):
            yield file
    else:
        yield raw


def open_members(
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
            found = _select_members(name, archive, beside)
            for info in sorted(found, key=lambda one: first is None or not first(one.filename)):
                inner = f"{name}/{shorten(info.filename, 200)}"
                with (
                    archive.open(info) as packed,
                    _unpack_to_temporary_file(inner, cast(BinaryIO, packed)) as raw,
                    _open_decompressed(inner, raw) as plain,
                ):
                    yield inner, plain
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OSError) as error:
        # zipfile's ways to say that a header is damaged or the way of packing is not known
        if getattr(error, "errno", None) not in (None, errno.EINVAL):  # a place before the file
            raise
        raise CorpusError(f"{name} is cut off or damaged: {error}; fetch it again") from None


def _select_members(
    name: str, archive: zipfile.ZipFile, beside: Callable[[str], bool] | None
) -> list[zipfile.ZipInfo]:
    """Return the members of an archive to read, in order of name."""
    there = [info for info in archive.infolist() if not info.filename.endswith("/")]
    found = [info for info in there if _is_data_member(info.filename)]
    if len(found) > 1 and beside is not None:
        found = [info for info in found if not beside(info.filename)]
    if not found:
        names = ", ".join(shorten(info.filename, 40) for info in there[:10]) or "nothing"
        known = ", ".join((*RECORD_FILE_SUFFIXES, *COMPRESSED_SUFFIXES))
        raise CorpusError(f"no data in {name}; known: {known}; in it: {names}")
    locked = next((info.filename for info in found if info.flag_bits & 1), None)
    if locked is not None:
        raise CorpusError(
            f"{name}: {shorten(locked)} is encrypted; unpack it with its password first"
        )
    _check_unpacked_size(name, archive, sum(info.file_size for info in found))
    return sorted(found, key=lambda info: info.filename)


def _is_data_member(name: str) -> bool:
    """Say whether a name in an archive is that of data, and not a system's note on it."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(("__MACOSX", ".")) and part != ".." for part in path.parts)
    return _is_data_file(path) and not hidden


def _check_unpacked_size(name: str, archive: zipfile.ZipFile, size: int) -> None:
    """Raise `CorpusError` if an archive's files are larger than can be meant."""
    file = cast(BinaryIO, archive.fp)
    most = min(
        MAX_UNPACKED_BYTES,
        max(MIN_UNPACK_LIMIT_BYTES, MAX_UNPACK_RATIO * file.seek(0, os.SEEK_END)),
    )
    if size > most:
        raise CorpusError(
            f"{name} would unpack to {size >> 20:,} MiB, which is more than the {most >> 20:,} MiB "
            "that are taken from an archive of its size; unpack it yourself and give the folder"
        )


@contextmanager
def _open_seekable(source: SourceFile) -> Iterator[BinaryIO]:
    """Yield the bytes of a source, copied first if they can be read only once."""
    with ExitStack() as stack:
        if source.url:
            file: IO[bytes] = stack.enter_context(open_url_file(source.url, source.place))
        elif source.path is None:
            file = sys.stdin.buffer
        else:
            file = stack.enter_context(_open_path(source.path))
            if file.seekable():
                yield cast(BinaryIO, file)
                return
        copy = stack.enter_context(tempfile.TemporaryFile())
        shutil.copyfileobj(file, copy)
        copy.seek(0)
        yield cast(BinaryIO, copy)


def _open_path(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise CorpusError(f"cannot read {shorten(str(path), 200)}: {error.strerror}") from None


@contextmanager
def _unpack_to_temporary_file(name: str, packed: BinaryIO) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as copy:
        try:
            shutil.copyfileobj(packed, copy)
        except DAMAGE_ERRORS as error:
            if getattr(error, "errno", None):
                raise
            raise CorpusError(f"{name} is cut off or damaged: {error}; fetch it again") from None
        copy.seek(0)
        yield cast(BinaryIO, copy)


def _compute_digest(name: str, file: BinaryIO) -> InputDigest:
    sha = hashlib.sha256()
    while block := file.read(2**20):
        sha.update(block)
    size = file.tell()
    file.seek(0)
    return InputDigest(name, size, sha.hexdigest())
