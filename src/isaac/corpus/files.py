"""Find the files of an input, open and unpack them; compression is detected from their bytes."""

from __future__ import annotations

import bz2
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
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any, BinaryIO, NamedTuple, cast

import pyarrow as pa

from ..errors import CorpusError
from ..runtime.remote import is_url, open_url_file, resolve_url
from ..text import hide_url_secrets, replace_surrogates, shorten

SPREADSHEET_SUFFIX = ".xlsx"
RECORD_FILE_SUFFIXES = (
    ".jsonl",
    ".ndjson",
    ".json",
    ".csv",
    ".tsv",
    ".parquet",
    ".arrow",
    ".feather",
    SPREADSHEET_SUFFIX,
)
COMPRESSED_SUFFIXES = (".gz", ".zst", ".xz", ".bz2")
ARCHIVE_SUFFIX = ".zip"
TAR_SUFFIXES = (".tar", ".tgz")
SUPPORTED_SUFFIXES = ", ".join(
    (*RECORD_FILE_SUFFIXES, *COMPRESSED_SUFFIXES, ARCHIVE_SUFFIX, *TAR_SUFFIXES)
)

SIDE_FILES = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "croissant.json"}
)
"""Files beside the data of a dataset, which are left out if a folder is read."""

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


@dataclass(frozen=True)
class SourceFile:
    """One file of the input.

    ``path`` is None for standard input, for a hub dataset, and for a remote file, which is at
    ``remote_path`` in the file system of ``url``.
    """

    name: str
    path: Path | None
    url: str = ""
    remote_path: str = ""


class InputDigest(NamedTuple):
    """A file's name, size in bytes and SHA-256: its identity as an input."""

    name: str
    bytes: int
    sha256: str


def find_sources(source: str) -> list[SourceFile]:
    """List the files of an input: a file, a folder, a glob, a URL, ``-`` or ``hf://dataset``.

    A file's name is its path relative to the folder that contains all files, so neither the names
    nor anything that depends on them changes when you move the folder. Hidden files, hidden folders
    and run folders are skipped. Raises `CorpusError` if there is no file.
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
    folder = Path(source)
    base = folder if folder.is_dir() else Path(os.path.commonpath([path.parent for path in paths]))
    return [SourceFile(_encode_path(path.relative_to(base)), path) for path in paths]


def _find_remote_sources(url: str) -> list[SourceFile]:
    system, root = resolve_url(url)
    base = None
    try:
        if any(character in root for character in "*?["):
            paths = sorted(system.glob(root), key=PurePosixPath)
            if len(paths) > 1:  # a pattern matches folders and other files too
                paths = [path for path in paths if _is_data_or_archive(PurePosixPath(path))]
        elif system.isdir(root):
            paths, base = sorted(_walk_folder(system, root), key=PurePosixPath), root
        else:
            paths = [root]
    except Exception as error:  # each file system raises its own error types
        raise CorpusError(hide_url_secrets(f"cannot read {url}: {error}")) from error
    if not paths:
        url = hide_url_secrets(url)
        raise CorpusError(f"no data files at {url}; supported: {SUPPORTED_SUFFIXES}")
    base = base or posixpath.commonpath([posixpath.dirname(path) for path in paths]) or "."
    names = [posixpath.relpath(path, base) for path in paths]
    if url.lower().startswith(("http://", "https://")):
        # The query of a signed URL is a secret, and names are written to the run.
        names = [name.partition("?")[0] for name in names]
    return [SourceFile(name, None, url, path) for name, path in zip(names, paths, strict=True)]


def _encode_path(path: Path) -> str:
    """A path as text that can be printed and stored; a file name may be any bytes."""
    return replace_surrogates(path.as_posix())


def _find_paths(source: str) -> list[Path]:
    path = Path(source)
    if source and path.is_dir():
        from fsspec.implementations.local import LocalFileSystem

        folder = path.absolute()
        names = _walk_folder(LocalFileSystem(), folder.as_posix())
        paths = sorted(path / Path(name).relative_to(folder) for name in names)
        if not paths:
            raise CorpusError(f"no data files in folder {source}; supported: {SUPPORTED_SUFFIXES}")
        return paths
    if source and path.exists():
        return [path]
    # pathlib's glob rejects absolute patterns and finds hidden files; fsspec's also finds hidden
    # files, and does not follow links to folders.
    paths = sorted({Path(name) for name in glob.glob(source, recursive=True)})  # noqa: PTH207
    paths = [path for path in paths if path.is_file()]
    if not paths:
        raise CorpusError(f"no file matches '{source}'")
    return paths


def _walk_folder(system: Any, folder: str) -> Iterator[str]:
    """Yield the data files below a folder of any file system, local or remote.

    Hidden files, hidden folders and run folders are skipped. A folder that cannot be listed raises
    an error; fsspec's own ``find`` and ``walk`` would leave out its files silently.
    """
    entries = {PurePosixPath(entry["name"]): entry for entry in system.ls(folder, detail=True)}
    entries.pop(PurePosixPath(folder), None)  # object stores may list the folder in itself
    if {"recipe.yaml", "corpus.parquet"} <= {path.name for path in entries}:
        return
    for path, entry in entries.items():
        kind = entry["type"]
        if kind not in ("file", "directory"):  # a link, or what is no file, such as a pipe
            kind = _find_kind(Path(path), Path(folder))
        if kind == "directory":
            if not path.name.startswith("."):
                yield from _walk_folder(system, entry["name"].rstrip("/"))
        elif kind == "file" and _is_data_or_archive(path) and path.name not in SIDE_FILES:
            yield str(entry["name"])


def _find_kind(path: Path, folder: Path) -> str:
    """What a link leads to: a file, a folder that does not contain the link, or neither."""
    if path.is_file() or (path.is_symlink() and not path.exists()):
        return "file"  # opening a link that leads nowhere says so
    target = path.resolve()
    is_loop = target == folder.resolve() or target in folder.resolve().parents
    return "directory" if path.is_dir() and not is_loop else "other"


def find_left_out(source: str) -> list[str]:
    """The files directly in an input folder, and links and pipes in it, that are not read."""
    folder = Path(source)
    if not source or is_url(source) or source.startswith("hf://") or not folder.is_dir():
        return []
    return sorted(
        replace_surrogates(path.name)
        for path in folder.iterdir()
        if not path.name.startswith(".")
        and not path.is_dir()
        and not (path.is_file() and _is_data_or_archive(path) and path.name not in SIDE_FILES)
    )


def _is_data_or_archive(path: PurePath) -> bool:
    name = path.name.lower()
    is_archive = name.endswith((ARCHIVE_SUFFIX, *TAR_SUFFIXES)) or any(
        name.endswith(f".tar{suffix}") for suffix in COMPRESSED_SUFFIXES
    )
    return _is_data_file(path) or (is_archive and not name.startswith("."))


def _is_data_file(path: PurePath) -> bool:
    """Whether a file contains records, judged by its name; false for archives."""
    name = path.name.lower()
    for suffix in COMPRESSED_SUFFIXES:
        name = name.removesuffix(suffix)
    return name.endswith(RECORD_FILE_SUFFIXES) and not name.startswith(".")


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
    return _is_data_file(path) and not hidden and path.name not in SIDE_FILES


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
