"""A curated corpus in Python: its records, its changes, and how to save it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from html import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from ..corpus import Corpus, read_corpus
from ..corpus.in_memory import Data
from ..curation.curate import Curation, prepare
from ..curation.lineage import ACTIONS, first_targets
from ..curation.resources import Tools
from ..errors import require_extra
from ..recipe import Recipe
from ..text import shorten
from .changes import Change, iter_changes
from .jobs import save_run
from .outputs import iter_curated_lines
from .reports.diagnosis import diagnose
from .run import Run

if TYPE_CHECKING:
    import datasets
    import pandas as pd

SHOWN_CHANGES = 5
"""Number of changes that a notebook shows."""


class CuratedCorpus(Curation):
    """A corpus with what was decided about each of its rows; `curate` returns one."""

    @classmethod
    def of(cls, curation: Curation) -> CuratedCorpus:
        """Wrap a curation, such as that of a run: ``CuratedCorpus.of(Run("run").curation())``."""
        values = {
            field.name: getattr(curation, field.name) for field in dataclasses.fields(curation)
        }
        return cls(**values)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the curated records, as the lines of ``curated.jsonl`` in a run have them.

        They have the schema of the input, and the columns ``isaac_id`` and ``isaac_action``.
        """
        for line in iter_curated_lines(self):
            yield json.loads(line)

    def changes(self) -> list[Change]:
        """List what was changed, in order of id: the response before and after, and why."""
        return list(iter_changes(self))

    def to_pandas(self) -> pd.DataFrame:
        """Collect the curated records in a data frame.

        Raises `MissingExtraError` if pandas is not installed.
        """
        pandas = require_extra("pandas", "to_pandas", "datasets")
        frame: pd.DataFrame = pandas.DataFrame(self.records())
        return frame

    def to_dataset(self) -> datasets.Dataset:
        """Collect the curated records in a `datasets.Dataset`.

        Raises `MissingExtraError` if datasets is not installed.
        """
        library = require_extra("datasets", "to_dataset", "datasets")
        dataset: datasets.Dataset = library.Dataset.from_list(list(self.records()))
        return dataset

    def save(self, path: str | Path, *, force: bool = False) -> Run:
        """Save the curation as a run, which every command reads; nothing is embedded again.

        If the method does not apply, the run has a report but no curated corpus, unless ``force``.
        Raises `RunError` if the folder is not empty.
        """
        return save_run(self, path, force=force)

    def __repr__(self) -> str:
        """The number of exchanges, what happened to them, and the verdict."""
        counts = self._count_actions()
        listed = ", ".join(f"{count:,} {action}" for action, count in counts.items())
        verdict = diagnose(self).verdict
        return f"<CuratedCorpus: {len(self.corpus):,} exchanges, {listed}; verdict: {verdict}>"

    def _repr_html_(self) -> str:
        """The same for notebooks, with the first changes."""
        names = ("id", "message", "before", "after", "why")
        header = "".join(f"<th>{name}</th>" for name in names)
        rows = []
        for change in islice(iter_changes(self), SHOWN_CHANGES):
            texts = change._replace(after=change.after or "(dropped)")
            cells = (escape(shorten(str(getattr(texts, name)), 200)) for name in names)
            rows.append("".join(f"<td>{cell}</td>" for cell in cells))
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        head = f"<thead><tr>{header}</tr></thead>"
        return f"<p>{escape(repr(self))}</p><table>{head}<tbody>{body}</tbody></table>"

    def _count_actions(self) -> dict[str, int]:
        column = first_targets(self.lineage).column("action")
        counts = {pair["values"]: pair["counts"] for pair in pc.value_counts(column).to_pylist()}
        return {action: counts[action] for action in ACTIONS if action in counts}


def curate(
    data: Corpus | str | Path | Data, recipe: Recipe | None = None, tools: Tools | None = None
) -> CuratedCorpus:
    """Curate a corpus: keep what is trusted, redraw the rest where a response fits, or drop it.

    ``data`` is what `read_corpus` reads, or a corpus that it returned: a path, a list of records,
    an Arrow table, a data frame, or a dataset. Labels play no part: the method uses the texts and,
    if the recipe names a group, the group of each. Raises `CorpusError` if there is nothing to
    curate and `EncoderError` if an encoder fails.
    """
    corpus = data if isinstance(data, Corpus) else read_corpus(data, recipe)
    curation = CuratedCorpus.of(prepare(corpus, recipe, tools))
    curation.decide()
    return curation
