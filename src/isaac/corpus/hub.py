"""Read datasets of the Hugging Face hub: by isaac's own readers where possible."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..errors import CorpusError, require_extra
from ..runtime.remote import resolve_url
from .files import open_source
from .json_stream import ParsedRecord, replace_nan
from .records import read_records
from .sources import COMPRESSED_SUFFIXES, RECORD_FILE_SUFFIXES, SourceFile


def read_hub_dataset(source: str) -> Iterator[ParsedRecord]:
    """Yield the rows of ``hf://owner/name?split=train&config=...&revision=...``.

    The default split is ``train``; the line of a record is its row number, from 1. Raises
    `CorpusError` if the dataset cannot be loaded.
    """
    datasets = require_extra("datasets", "reading hf:// datasets", "datasets")
    parts = urlsplit(source)
    query = parse_qs(parts.query.replace("+", "%2B"))  # a + in a revision is not a space
    unknown = sorted(set(query) - {"split", "config", "revision"})
    if unknown:
        raise CorpusError(
            f"{source}: unknown parameter {', '.join(unknown)}; available: split, config, revision"
        )
    parameters = {key: values[-1] for key, values in query.items()}
    path, config = parts.netloc + parts.path, parameters.get("config")
    split, revision = parameters.get("split", "train"), parameters.get("revision")
    try:
        files = _find_hub_files(datasets, path, config, split, revision)
        if not files:
            rows = datasets.load_dataset(path, config, split=split, revision=revision)
    except Exception as error:
        raise CorpusError(f"cannot load {source}: {error}") from error
    if files:
        records = itertools.chain.from_iterable(map(_read_hub_file, files))
        for number, record in enumerate(records, start=1):
            yield record._replace(file=source, line=number)
        return
    for number, value in enumerate(rows, start=1):
        yield ParsedRecord(source, number, b"", replace_nan(dict(value)))


def _find_hub_files(
    datasets: Any, path: str, config: str | None, split: str, revision: str | None
) -> list[str]:
    """The files of a split if all of them are of types that isaac reads itself; else none.

    The JSON loader of datasets 5.2 returns JSON source for every text of a column in which one
    text, in a later block of 10 MB or a later file, is a list; so isaac's own reader comes first.
    """
    builder = datasets.load_dataset_builder(path, config, revision=revision)
    files = [str(file) for file in (builder.config.data_files or {}).get(split, [])]
    return files if all(name.lower().endswith(HUB_SUFFIXES) for name in files) else []


HUB_SUFFIXES = tuple(
    f"{suffix}{packed}" for suffix in RECORD_FILE_SUFFIXES for packed in ("", *COMPRESSED_SUFFIXES)
)


def _read_hub_file(url: str) -> Iterator[ParsedRecord]:
    source = SourceFile(url, Path(url))
    if "://" in url:
        source = SourceFile(url, None, url, resolve_url(url)[1])
    with open_source(source) as (file, _):
        yield from read_records(url, file)
