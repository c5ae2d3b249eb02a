"""Open and unpack the files of an input; compression is detected from their bytes."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import lzma
import os
import shutil
import struct
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, NamedTuple, cast

import pyarrow as pa

from ..errors import CorpusError
from ..runtime.remote import open_url_file
from ..text import shorten
from .sources import (
    COMPRESSED_SUFFIXES,
    RECORD_FILE_SUFFIXES,
    SIDE_FILES,
    SPREADSHEET_SUFFIX,
    SourceFile,
    is_data_file,
)

MAX_UNPACKED_BYTES = 2**34
"""Largest unpacked size of any zip archive, in bytes."""

MIN_UNPACK_LIMIT_BYTES = 2**28
"""Unpacked size, in bytes, that is allowed for every zip archive, however small it is."""

MAX_UNPACK_RATIO = 200
"""Largest ratio of unpacked to packed size beyond that minimum; for dialogues it is about 20."""

DAMAGE_ERRORS = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    pa.ArrowException,
    zipfile.BadZipFile,
)
"""Errors that unpacking raises if bytes are wrong or missing."""


class InputDigest(NamedTuple):
    """A file's name, size in bytes and SHA-256: its identity as an input."""

    name: str
    bytes: int
    sha256: str


@contextmanager
def open_source(source: SourceFile) -> Iterator[tuple[BinaryIO, InputDigest]]:
    """Open a file decompressed and seekable, and compute the digest of its bytes as stored."""
    with _open_seekable(source) as raw:
        digest = _compute_digest(source.name, raw)
        with _open_decompressed(source.name, raw) as file:
            yield file, digest


@contextmanager
def _open_decompressed(name: str, raw: BinaryIO) -> Iterator[BinaryIO]:
    """Open a seekable file, decompressed if its first bytes are those of gzip or zstd.

    fsspec's decompressors would vary with the packages that happen to be installed, and one of
    them returns a shortened zstd file without an error (docs/experiments.md).
    """
    magic = raw.read(6)
    size = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    opener = next((opener for start, opener in OPENERS.items() if magic.startswith(start)), None)
    if opener is None:
        yield raw
        return
    limit = max(MIN_UNPACK_LIMIT_BYTES, MAX_UNPACK_RATIO * size)
    with opener(raw) as plain, _unpack_to_temporary_file(name, plain, limit) as file:
        yield file


OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x28\xb5\x2f\xfd": lambda raw: pa.CompressedInputStream(raw, "zstd"),
}
"""What opens a compressed file, by the bytes that it starts with."""


def open_members(
    name: str,
    file: BinaryIO,
    is_skipped: Callable[[str], bool] | None = None,
    is_first: Callable[[str], bool] | None = None,
) -> Iterator[tuple[str, BinaryIO]]:
    """Yield the file itself, or each data file in it if it is a zip archive, with its name.

    If an archive has several data files, those for which ``is_skipped`` is true are left out, and
    those for which ``is_first`` is true come before the others. Each is unpacked to an unnamed
    temporary file, so that no name in an archive can become a path on the disk.
    Raises `CorpusError` for an archive that is damaged, encrypted, or too large when unpacked.
    """
    if is_tar(file):
        yield from _open_tar_members(name, file, is_skipped, is_first)
        return
    magic = file.read(4)
    file.seek(0)
    if magic not in (b"PK\x03\x04", b"PK\x05\x06") or name.lower().endswith(SPREADSHEET_SUFFIX):
        yield name, file
        return
    try:
        with zipfile.ZipFile(file) as archive:
            members = _select_members(name, archive, is_skipped)
            if is_first is not None:
                members.sort(key=lambda info: not is_first(info.filename))
            for info in members:
                inner = f"{name}/{shorten(info.filename, 200)}"
                with (
                    archive.open(info) as packed,
                    _unpack_to_temporary_file(inner, packed, info.file_size) as raw,
                    _open_decompressed(inner, raw) as plain,
                ):
                    yield inner, plain
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OSError) as error:
        # zipfile raises all of these for a damaged header or an unknown compression method,
        # EINVAL for an offset before the start of the file.
        if getattr(error, "errno", None) not in (None, errno.EINVAL):
            raise
        raise _damage_error(name, error) from None


def is_tar(file: BinaryIO) -> bool:
    """Whether a seekable file is a tar archive."""
    file.seek(TAR_MAGIC_OFFSET)
    magic = file.read(5)
    file.seek(0)
    return magic == b"ustar"


TAR_MAGIC_OFFSET = 257


def _open_tar_members(
    name: str,
    file: BinaryIO,
    is_skipped: Callable[[str], bool] | None,
    is_first: Callable[[str], bool] | None,
) -> Iterator[tuple[str, BinaryIO]]:
    """Yield the data files of a tar archive in order of their names; links are left out."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            files = [info for info in archive.getmembers() if info.isfile()]
            members = [info for info in files if _is_data_member(info.name)]
            if len(members) > 1 and is_skipped is not None:
                members = [info for info in members if not is_skipped(info.name)]
            if not members:
                raise _no_data_error(name, [info.name for info in files])
            members.sort(key=lambda info: info.name)
            if is_first is not None:
                members.sort(key=lambda info: not is_first(info.name))
            for info in members:
                inner = f"{name}/{shorten(info.name, 200)}"
                packed = cast(BinaryIO, archive.extractfile(info))
                with (
                    _unpack_to_temporary_file(inner, packed, info.size) as raw,
                    _open_decompressed(inner, raw) as plain,
                ):
                    yield inner, plain
    except tarfile.TarError as error:
        raise _damage_error(name, error) from None


def _no_data_error(name: str, files: list[str]) -> CorpusError:
    names = ", ".join(shorten(file, 40) for file in files[:10]) or "nothing"
    supported = ", ".join((*RECORD_FILE_SUFFIXES, *COMPRESSED_SUFFIXES))
    return CorpusError(f"no data files in {name}; supported: {supported}; found: {names}")


def _damage_error(name: str, error: Exception) -> CorpusError:
    return CorpusError(f"{name} is cut off or damaged: {error}; download it again")


def _select_members(
    name: str, archive: zipfile.ZipFile, is_skipped: Callable[[str], bool] | None
) -> list[zipfile.ZipInfo]:
    """Select and sort the members of an archive to read; raises what `open_members` raises."""
    files = [info for info in archive.infolist() if not info.filename.endswith("/")]
    members = [info for info in files if _is_data_member(info.filename)]
    if len(members) > 1 and is_skipped is not None:
        members = [info for info in members if not is_skipped(info.filename)]
    if not members:
        raise _no_data_error(name, [info.filename for info in files])
    encrypted = next((info.filename for info in members if info.flag_bits & 1), None)
    if encrypted is not None:
        raise CorpusError(
            f"{name}: {shorten(encrypted)} is encrypted; unpack it with its password first"
        )
    check_unpacked_size(name, archive, sum(info.file_size for info in members))
    return sorted(members, key=lambda info: info.filename)


def _is_data_member(name: str) -> bool:
    """Whether a member of an archive is a data file, and not hidden or a macOS resource fork."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(("__MACOSX", ".")) and part != ".." for part in path.parts)
    return is_data_file(path) and not hidden and path.name not in SIDE_FILES


def check_unpacked_size(name: str, archive: zipfile.ZipFile, size: int) -> None:
    """Raise `CorpusError` if an archive would unpack to more bytes than its size allows."""
    file = cast(BinaryIO, archive.fp)
    limit = min(
        MAX_UNPACKED_BYTES,
        max(MIN_UNPACK_LIMIT_BYTES, MAX_UNPACK_RATIO * file.seek(0, os.SEEK_END)),
    )
    if size > limit:
        raise CorpusError(
            f"{name} would unpack to {size >> 20:,} MiB, which is more than the "
            f"{limit >> 20:,} MiB allowed for an archive of its size; "
            "unpack it yourself and give the folder"
        )


@contextmanager
def _open_seekable(source: SourceFile) -> Iterator[BinaryIO]:
    """Open a source so that it can be read again: a pipe or a remote file is copied first.

    A local file is opened without fsspec, which cannot open a named pipe.
    """
    with ExitStack() as stack:
        if source.url:
            file: IO[bytes] = stack.enter_context(open_url_file(source.url, source.remote_path))
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
def _unpack_to_temporary_file(name: str, packed: IO[bytes], limit: int) -> Iterator[BinaryIO]:
    """Unpack at most ``limit`` bytes to a file without a name."""
    with tempfile.TemporaryFile() as copy:
        try:
            while block := packed.read(2**20):
                copy.write(block)
                if copy.tell() > limit:
                    raise CorpusError(
                        f"{name} unpacks to more than the {limit >> 20:,} MiB allowed for a file "
                        "of its size; unpack it yourself"
                    )
        except DAMAGE_ERRORS as error:
            if getattr(error, "errno", None):  # an error of the system, such as a full disk
                raise
            raise _damage_error(name, error) from None
        copy.seek(0)
        yield cast(BinaryIO, copy)


def _compute_digest(name: str, file: BinaryIO) -> InputDigest:
    sha = hashlib.sha256()
    while block := file.read(2**20):
        sha.update(block)
    size = file.tell()
    file.seek(0)
    return InputDigest(name, size, sha.hexdigest())
