"""Datasets for the trainers: the rows of a run, in an Arrow file on disk."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from ..errors import RunError
from ..runs.export import iter_export_rows
from ..runs.run import Run
from ..runtime.atomic_files import atomic_write
from ..text import replace_surrogates

BATCH_ROWS = 1000
"""Rows per Arrow batch."""

MESSAGES_TYPE = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMAS = {
    "sft": pa.schema([("prompt", MESSAGES_TYPE), ("completion", MESSAGES_TYPE)]),
    "dpo": pa.schema(
        [("prompt", MESSAGES_TYPE), ("chosen", MESSAGES_TYPE), ("rejected", MESSAGES_TYPE)]
    ),
    "kto": pa.schema(
        [("prompt", MESSAGES_TYPE), ("completion", MESSAGES_TYPE), ("label", pa.bool_())]
    ),
    "tokens": pa.schema(
        [("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))],
    ),
}
"""Arrow schemas: those of TRL's conversational types, and token ids for encoder-decoder models."""

Json = dict[str, Any]


def iter_training_rows(run: Run, kind: Literal["sft", "dpo", "kto"]) -> Iterator[Json]:
    """Iterate over the rows of a run for one of TRL's trainers, as `export` writes them.

    Raises `RunError` if the run has no curated corpus.
    """
    run.require_corpus()
    for row in iter_export_rows(run.curation(), kind):
        yield row.row


def build_dataset(rows: Iterable[Json], schema: str, file: Path) -> Any:
    """Write rows to an Arrow file and open it as a dataset; raise `RunError` if there are none."""
    import datasets

    count = 0
    with atomic_write(file, "wb") as out, pa.ipc.new_stream(out, SCHEMAS[schema]) as stream:
        for batch in _iter_batches(rows):
            stream.write_batch(
                pa.RecordBatch.from_pylist(_replace_surrogates_in(batch), SCHEMAS[schema])
            )
            count += len(batch)
    if not count:
        raise RunError(
            f"the run has no rows to train '{schema}' on: no response was replaced by a more "
            "typical one or by one of a larger cluster, or every conversation uses tools"
        )
    return datasets.Dataset.from_file(str(file))


def _iter_batches(rows: Iterable[Json]) -> Iterator[list[Json]]:
    remaining = iter(rows)
    while batch := list(itertools.islice(remaining, BATCH_ROWS)):
        yield batch


def _replace_surrogates_in(value: Any) -> Any:
    """Make all text in a JSON value valid Unicode: a lone surrogate becomes a question mark."""
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, list):
        return [_replace_surrogates_in(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _replace_surrogates_in(inner) for key, inner in value.items()}
    return value
