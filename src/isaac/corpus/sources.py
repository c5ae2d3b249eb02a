"""Find the files of an input, by their names: files, folders, globs and URLs."""

from __future__ import annotations

import glob
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from ..errors import CorpusError
from ..runtime.remote import is_url, resolve_url
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
    return is_data_file(path) or (is_archive and not name.startswith("."))


def is_data_file(path: PurePath) -> bool:
    """Whether a file contains records, judged by its name; false for archives."""
    name = path.name.lower()
    for suffix in COMPRESSED_SUFFIXES:
        name = name.removesuffix(suffix)
    return name.endswith(RECORD_FILE_SUFFIXES) and not name.startswith(".")
